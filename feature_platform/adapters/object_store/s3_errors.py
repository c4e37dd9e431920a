"""Translates an error of the S3 client into one of ours, with its message. Making requests does not belong here."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

from feature_platform.adapters.object_store.s3_attempts import AttemptsDeadlineError
from feature_platform.core.layout import split_uri
from feature_platform.errors import (
    ConfigurationError,
    ConflictError,
    FeaturePlatformError,
    InvalidDataError,
    StorageError,
    UnknownOutcomeError,
)

Effect = Literal["read", "write"]

_CREDENTIALS: Final = frozenset({
    "AccessDenied", "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "401", "403",
})  # fmt: skip
_CONFLICT: Final = frozenset({"ConditionalRequestConflict", "OperationAborted", "PreconditionFailed"})
_REGION: Final = frozenset({"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect", "301"})
_SETTINGS: Final = frozenset({
    "CredentialRetrievalError", "InvalidRegionError", "NoAuthTokenError", "NoCredentialsError", "NoRegionError", "PartialCredentialsError",
    "ProfileNotFound", "SSOTokenLoadError", "TokenRetrievalError", "UnauthorizedSSOTokenError", "UnknownCredentialError",
    "UnknownRegionError",
})  # fmt: skip
"""botocore's exceptions that an operator repairs; by name, so that this module stays cheap to import."""
NOT_RESOLVED: Final = "AWS"
"""How messages call the endpoint before the SDK has resolved one."""
_MALFORMED: Final = "(a malformed URL)"
_SKEWED: Final = "RequestTimeTooSkewed"
_ALLOWED_SKEW: Final = timedelta(minutes=15)
"""Source: Amazon S3's list of error codes, RequestTimeTooSkewed."""


def error_code(error: Exception) -> str:
    """The S3 error code of a refusal, its HTTP status where the answer had no body, or the exception's own name."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return type(error).__name__
    code = str(response.get("Error", {}).get("Code", ""))
    return code or str(_status(error))


def is_absent_object(error: Exception) -> bool:
    """True where an answer says that the key does not exist; after a HEAD, whose 404 has no body, it may also be the bucket."""
    return _status(error) == 404 and error_code(error) != "NoSuchBucket"


def translate(error: Exception, *, uri: str, endpoint: str, effect: Effect, reached_server: bool, now: datetime) -> FeaturePlatformError:
    """The typed error for one failed call.

    Args:
        effect: Whether the call would have changed the store.
        reached_server: False where no attempt got as far as the server.
        now: This machine's time, UTC, to compare with the server's.
    """
    where = f"S3 at {without_secrets(endpoint)}"
    return (
        _lost_race(error, uri=uri, where=where, effect=effect)
        or _clock_off(error, uri=uri, where=where, now=now)
        or _misconfigured(error, uri=uri, endpoint=endpoint, where=where)
        or _failed(error, uri=uri, where=where, effect=effect, reached_server=reached_server)
    )


def absent_bucket(uri: str, *, endpoint: str) -> ConfigurationError:
    """The error for a bucket that does not exist."""
    bucket, _ = split_uri(uri)
    return ConfigurationError(
        f"Bucket {bucket!r} does not exist on S3 at {without_secrets(endpoint)} (needed for {uri}). Create it, or correct the URI or the "
        "endpoint in the settings."
    )


def without_secrets(endpoint: str) -> str:
    """An endpoint URL without user name, password and query.

    >>> without_secrets("https://me:secret@s3.example:9000/path?key=1")
    'https://s3.example:9000/path'
    """
    if endpoint in {"", NOT_RESOLVED}:
        return endpoint
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        return _MALFORMED
    if parts.scheme not in {"http", "https"}:
        return _MALFORMED
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _lost_race(error: Exception, *, uri: str, where: str, effect: Effect) -> ConflictError | None:
    code = error_code(error)
    if code in _CONFLICT or _status(error) in (409, 412):
        return ConflictError(f"{uri}: {where} answered {code}: the object is not in the expected state. Read it again and decide again.")
    if effect == "write" and is_absent_object(error):
        return ConflictError(f"{uri} was not written: {where} expected the object of the given ETag and found none. Read it again.")
    return None


def _clock_off(error: Exception, *, uri: str, where: str, now: datetime) -> ConfigurationError | None:
    """The error where two clocks that differ are the reason; an answer to HEAD has no code, but every answer has the server's date."""
    code, there = error_code(error), _server_time(error)
    ahead = now - there if there else None
    if code != _SKEWED and not (_status(error) in (401, 403) and ahead is not None and abs(ahead) > _ALLOWED_SKEW):
        return None
    facts = "this machine's clock and the server's differ too much"
    if ahead is not None and there is not None:
        amount = timedelta(seconds=round(abs(ahead).total_seconds()))
        way = "ahead of" if ahead > timedelta(0) else "behind"
        facts = f"this machine's clock is {amount} {way} the server's ({now:%Y-%m-%dT%H:%M:%SZ} here, {there:%Y-%m-%dT%H:%M:%SZ} there)"
    return ConfigurationError(
        f"{where} refused the request for {uri}: {facts}; expected at most {_ALLOWED_SKEW}. The credentials are not the reason: set the "
        "clock (e.g. by NTP), then run again."
    )


def _server_time(error: Exception) -> datetime | None:
    """When the server answered, by its own clock: from the error's body, which AWS fills, or from the answer's Date header."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    told = response.get("Error", {}).get("ServerTime")
    dated = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        if told:
            return datetime.fromisoformat(told).astimezone(UTC)
        return parsedate_to_datetime(dated).astimezone(UTC) if dated else None
    except ValueError:
        return None


def _misconfigured(error: Exception, *, uri: str, endpoint: str, where: str) -> ConfigurationError | None:
    code, status, (bucket, _) = error_code(error), _status(error), split_uri(uri)
    if code == "NoSuchBucket":
        return absent_bucket(uri, endpoint=endpoint)
    if status in (401, 403) or code in _CREDENTIALS:
        delete = ", s3:DeleteObject" if getattr(error, "operation_name", "") == "DeleteObject" else ""
        return ConfigurationError(
            f"{where} refused these credentials for bucket {bucket!r} ({code} for {uri}). Correct the AWS credentials, or grant this "
            f"identity s3:ListBucket on the bucket and s3:GetObject, s3:PutObject{delete} on the prefix."
        )
    if status == 301 or code in _REGION:
        return ConfigurationError(
            f"{where} answered {code} for {uri}: bucket {bucket!r} is in another region. Correct the AWS region or the endpoint."
        )
    if code in _SETTINGS:
        return ConfigurationError(
            f"{where} was not asked for {uri}: {error}. Correct the AWS credentials or configuration that this process runs with."
        )
    return None


def _failed(error: Exception, *, uri: str, where: str, effect: Effect, reached_server: bool) -> FeaturePlatformError:
    status = _status(error)
    if error_code(error) == "ParamValidationError":
        return InvalidDataError(f"{uri} cannot be addressed on S3: {error}")
    if isinstance(error, AttemptsDeadlineError):
        reason = "gave no answer within the deadline"
    elif status is not None:
        reason = f"answered {status} {error_code(error)}"
    elif not reached_server:
        reason = f"could not be reached ({type(error).__name__})"
    else:
        reason = f"did not answer ({type(error).__name__})"
    unanswered = reached_server and (status is None or status >= 500)
    if effect == "write" and unanswered:
        return UnknownOutcomeError(
            f"{uri}: {where} {reason} after all retries; the write may or may not have happened. Read the object back."
        )
    return StorageError(f"{uri}: {where} {reason} after all retries. Check that the endpoint is up and reachable, then run again.")


def _status(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return None
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return int(status) if status is not None else None
