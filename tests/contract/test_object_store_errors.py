"""What each answer of S3 and each failure of its client means, for the answers that no embedded server gives."""

from datetime import UTC, datetime, timedelta, timezone

import botocore.auth
import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    ProfileNotFound,
    ReadTimeoutError,
)

from feature_platform.adapters.object_store.s3 import S3ObjectStore
from feature_platform.adapters.object_store.s3_attempts import AttemptsDeadlineError
from feature_platform.adapters.object_store.s3_errors import Effect, translate
from feature_platform.errors import (
    ConfigurationError,
    ConflictError,
    FeaturePlatformError,
    InvalidDataError,
    StorageError,
    UnknownOutcomeError,
)
from tests.support.services import S3Bucket

NOW = datetime(2026, 1, 17, 12, 0, 5, tzinfo=UTC)
ENDPOINT = "https://me:hunter2@s3.example:9000/?token=hunter2"


def refusal(status: int, code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "told"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")


def meaning(error: Exception, *, effect: Effect = "write", reached_server: bool = True) -> FeaturePlatformError:
    translated = translate(error, uri="s3://bucket/key", endpoint=ENDPOINT, effect=effect, reached_server=reached_server, now=NOW)
    assert "s3://bucket/key" in str(translated)
    assert "hunter2" not in str(translated)
    return translated


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (409, "ConditionalRequestConflict", ConflictError),
        (412, "PreconditionFailed", ConflictError),
        (412, "412", ConflictError),
        # AWS answers so to If-Match where there is no object.
        (404, "NoSuchKey", ConflictError),
        (404, "NoSuchBucket", ConfigurationError),
        (403, "AccessDenied", ConfigurationError),
        (403, "RequestTimeTooSkewed", ConfigurationError),
        (401, "Unauthorized", ConfigurationError),
        (400, "ExpiredToken", ConfigurationError),
        (400, "InvalidToken", ConfigurationError),
        (301, "PermanentRedirect", ConfigurationError),
        (400, "AuthorizationHeaderMalformed", ConfigurationError),
        (400, "EntityTooLarge", StorageError),
        (500, "InternalError", UnknownOutcomeError),
        (503, "SlowDown", UnknownOutcomeError),
        (504, "504", UnknownOutcomeError),
    ],
)
def test_a_refused_write_is_of_one_kind(status: int, code: str, expected: type[Exception]) -> None:
    assert type(meaning(refusal(status, code))) is expected


@pytest.mark.parametrize(("status", "code"), [(500, "InternalError"), (503, "SlowDown"), (400, "InvalidRange")])
def test_a_refused_read_changed_nothing(status: int, code: str) -> None:
    assert type(meaning(refusal(status, code), effect="read")) is StorageError


@pytest.mark.parametrize(
    "error",
    [
        ConnectionClosedError(endpoint_url="https://s3.example"),
        ReadTimeoutError(endpoint_url="https://s3.example"),
        AttemptsDeadlineError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_unanswered_write_is_unknown_unless_no_attempt_reached_the_server(error: Exception) -> None:
    assert type(meaning(error)) is UnknownOutcomeError
    assert type(meaning(error, reached_server=False)) is StorageError
    assert type(meaning(error, effect="read")) is StorageError


def test_a_refused_connection_is_named_without_the_secrets_of_its_url() -> None:
    translated = meaning(EndpointConnectionError(endpoint_url="https://s3.example:9000"), reached_server=False)
    assert str(translated) == (
        "s3://bucket/key: S3 at https://s3.example:9000/ could not be reached (EndpointConnectionError) after all retries. Check that the "
        "endpoint is up and reachable, then run again."
    )


@pytest.mark.parametrize(
    "error", [NoCredentialsError(), NoRegionError(), ProfileNotFound(profile="mine")], ids=lambda error: type(error).__name__
)
def test_what_the_operator_forgot_is_a_configuration_error(error: BotoCoreError) -> None:
    translated = meaning(error, reached_server=False)
    assert type(translated) is ConfigurationError
    assert str(error) in str(translated)


def test_an_impossible_address_is_invalid_data() -> None:
    assert type(meaning(ParamValidationError(report="Invalid bucket name"))) is InvalidDataError


def test_a_profile_that_does_not_exist_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigurationError, match=r"s3://bucket/key: The config profile \(nobody\) could not be found"):
        S3ObjectStore().get("s3://bucket/key")


def test_no_credentials_at_all_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match=r"s3://bucket/key: Unable to locate credentials\. Correct the AWS credentials"):
        S3ObjectStore(endpoint_url="http://127.0.0.1:9").get("s3://bucket/key")


@pytest.mark.parametrize(
    ("status", "error", "headers", "said"),
    [
        (403, {"Code": "RequestTimeTooSkewed", "ServerTime": "2026-01-15T12:00:00Z"}, {}, "2 days, 0:00:05 ahead of the server's"),
        (403, {"Code": "RequestTimeTooSkewed"}, {"date": "Sun, 18 Jan 2026 12:00:05 GMT"}, "1 day, 0:00:00 behind the server's"),
        (403, {"Code": "403"}, {"date": "Sat, 17 Jan 2026 13:00:05 GMT"}, "1:00:00 behind the server's"),
        (403, {"Code": "RequestTimeTooSkewed"}, {"date": "once"}, "this machine's clock and the server's differ too much"),
    ],
)
def test_a_clock_that_is_off_is_named_with_the_difference(status: int, error: dict[str, str], headers: dict[str, str], said: str) -> None:
    answer = {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers}}
    translated = meaning(ClientError(answer, "HeadObject"), effect="read")
    assert type(translated) is ConfigurationError
    assert said in str(translated)
    assert "refused these credentials" not in str(translated)


def test_refused_credentials_under_a_right_clock_are_not_called_a_clock() -> None:
    answer = {
        "Error": {"Code": "403"},
        "ResponseMetadata": {"HTTPStatusCode": 403, "HTTPHeaders": {"date": "Sat, 17 Jan 2026 12:00:00 GMT"}},
    }
    assert "refused these credentials" in str(meaning(ClientError(answer, "HeadObject")))


@pytest.mark.parametrize(("operation", "is_named"), [("DeleteObject", True), ("PutObject", False)])
def test_a_refused_deletion_names_the_right_to_delete(operation: str, is_named: bool) -> None:
    answer = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    assert ("s3:DeleteObject on the prefix" in str(meaning(ClientError(answer, operation)))) is is_named


@pytest.mark.parametrize("days_off", [2, -2])
def test_a_real_server_refuses_a_clock_days_off_and_the_error_says_by_how_much(
    days_off: int, s3: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests are signed with the wrong time, as on a machine whose clock is wrong; HEAD is refused without a code."""
    real, offset = botocore.auth.get_current_datetime, timedelta(days=days_off)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda remove_tzinfo=True: real(remove_tzinfo) + offset)
    monkeypatch.setattr("feature_platform.adapters.object_store.s3.datetime", _ClockOff(offset))
    for ask in (lambda: s3.store.head(f"{s3.uri}x"), lambda: s3.store.get(f"{s3.uri}x"), lambda: list(s3.store.scan(s3.uri))):
        with pytest.raises(
            ConfigurationError, match=rf"clock is (2 days, 0:00:0\d|1 day, 23:59:5\d) {'ahead' if days_off > 0 else 'behind'}"
        ):
            ask()


class _ClockOff:
    """The machine's wrong clock, as the adapter reads it."""

    def __init__(self, offset: timedelta) -> None:
        self._offset = offset

    def now(self, zone: timezone) -> datetime:
        return datetime.now(zone) + self._offset


@pytest.mark.parametrize("endpoint", ["hunter2", "http://me:hunter2@", "http://[hunter2", "s3.example:hunter2"])
def test_an_endpoint_that_is_no_url_is_refused_without_repeating_it(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(ConfigurationError, match="S3 endpoint is no URL") as refusal:
        S3ObjectStore(region="us-east-1").head("s3://bucket/key")
    assert "hunter2" not in str(refusal.value)
    assert "hunter2" not in repr(S3ObjectStore(endpoint_url=endpoint))
