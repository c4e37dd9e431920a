"""Settings: every fault at once, nothing secret in a message, and a README table that says what the code says."""

import re
from datetime import date
from pathlib import Path

import pytest

from feature_platform.errors import ConfigurationError
from feature_platform.settings import AWS_VARIABLES, PREFIX, Settings, aws_environment, load_settings, redacted, variable
from tests.support.settings_table import BEGIN, END, settings_table

EXPECTED_URI = "expected s3://bucket/prefix with a bucket name of 3 to 63 characters"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "FEATURE_PLATFORM_ENV": "dev",
        "FEATURE_PLATFORM_RAW_URI": "s3://raw-events/prefix/",
        "FEATURE_PLATFORM_WORK_URI": "s3://platform/work",
        "FEATURE_PLATFORM_FEATURE_BASE": "s3://platform/features",
        "FEATURE_PLATFORM_REGISTRY_URI": "s3://platform/feast",
        "FEATURE_PLATFORM_REDIS": "redis.internal:6379,db=1,ssl=true,password=hunter2",
        "FEATURE_PLATFORM_CONTRACTS_DIR": str(tmp_path),
        "FEATURE_PLATFORM_START_DATE": "2026-01-10",
    }


def faults(environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ)
    return caught.value.faults


def test_reads_every_setting(environ: dict[str, str], tmp_path: Path) -> None:
    assert load_settings(environ) == Settings(
        env="dev",
        raw_uri="s3://raw-events/prefix",
        work_uri="s3://platform/work",
        feature_base="s3://platform/features",
        registry_uri="s3://platform/feast",
        redis="redis.internal:6379,db=1,ssl=true,password=hunter2",
        contracts_dir=tmp_path,
        start_date=date(2026, 1, 10),
        home=Path(".feature_platform"),
        slack_token=None,
        slack_channel=None,
    )
    assert load_settings(environ).feast_project == "feature_store_dev"


def test_reads_the_process_environment_where_none_is_given(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert load_settings().raw_uri == "s3://raw-events/prefix"


def test_an_empty_environment_lists_every_missing_setting_with_what_it_means() -> None:
    with pytest.raises(ConfigurationError, match=r"8 setting\(s\) are missing or wrong.*feature-platform up") as caught:
        load_settings({})
    assert [fault.split(":")[0] for fault in caught.value.faults] == [
        "FEATURE_PLATFORM_ENV",
        "FEATURE_PLATFORM_RAW_URI",
        "FEATURE_PLATFORM_WORK_URI",
        "FEATURE_PLATFORM_FEATURE_BASE",
        "FEATURE_PLATFORM_REGISTRY_URI",
        "FEATURE_PLATFORM_REDIS",
        "FEATURE_PLATFORM_CONTRACTS_DIR",
        "FEATURE_PLATFORM_START_DATE",
    ]
    assert caught.value.faults[7] == "FEATURE_PLATFORM_START_DATE: not set; expected: First daily partition, `YYYY-MM-DD`"
    assert all(fault in str(caught.value) for fault in caught.value.faults)


def test_an_empty_value_is_a_missing_one(environ: dict[str, str]) -> None:
    assert faults(environ | {"FEATURE_PLATFORM_ENV": ""})[0].startswith("FEATURE_PLATFORM_ENV: not set; expected: ")
    assert load_settings(environ | {"FEATURE_PLATFORM_HOME": ""}).home == Path(".feature_platform")


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("env", "staging", "FEATURE_PLATFORM_ENV: found 'st…' (7 characters), expected 'local', 'dev' or 'prod'"),
        ("raw_uri", "/data/raw", f"FEATURE_PLATFORM_RAW_URI: {EXPECTED_URI}, found '/da…' (9 characters)"),
        ("raw_uri", "s3://ab/raw", f"FEATURE_PLATFORM_RAW_URI: {EXPECTED_URI}, found 's3:…' (11 characters)"),
        ("registry_uri", "s3://Bucket/raw", f"FEATURE_PLATFORM_REGISTRY_URI: {EXPECTED_URI}, found 's3://…' (15 characters)"),
        ("work_uri", "s3://bucket/a b", f"FEATURE_PLATFORM_WORK_URI: {EXPECTED_URI}, found 's3://…' (15 characters)"),
        ("feature_base", "s3://bucket/a\n", f"FEATURE_PLATFORM_FEATURE_BASE: {EXPECTED_URI}, found 's3:/…' (14 characters)"),
        ("contracts_dir", "/no/such/place", "FEATURE_PLATFORM_CONTRACTS_DIR: expected an existing directory, found '/no/such/place'"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(field: str, value: str, fault: str, environ: dict[str, str]) -> None:
    assert faults(environ | {variable(field): value}) == (fault,)


@pytest.mark.parametrize("value", ["10.01.2026", "yesterday", "2026-01-10T00:00:00", "1768003200", "2026-01-10\n"])
def test_a_start_date_is_a_day(value: str, environ: dict[str, str]) -> None:
    assert faults(environ | {"FEATURE_PLATFORM_START_DATE": value}) == (
        f"FEATURE_PLATFORM_START_DATE: expected a day as YYYY-MM-DD, found {redacted(value)}",
    )


def test_a_start_date_is_a_day_that_exists(environ: dict[str, str]) -> None:
    (fault,) = faults(environ | {"FEATURE_PLATFORM_START_DATE": "2026-13-01"})
    assert fault.startswith("FEATURE_PLATFORM_START_DATE: found '202…' (10 characters), expected")


@pytest.mark.parametrize("value", ["redis://:hunter2@host:6379/0", "host", "host:port,password=hunter2", ":6379"])
def test_a_wrong_connection_string_is_refused_without_repeating_its_password(value: str, environ: dict[str, str]) -> None:
    (fault,) = faults(environ | {"FEATURE_PLATFORM_REDIS": value})
    assert fault.startswith("FEATURE_PLATFORM_REDIS: expected Feast's form host:port[,option=value…]")
    assert "hunter2" not in fault


@pytest.mark.parametrize("field", ["env", "raw_uri", "work_uri", "feature_base", "registry_uri", "redis", "contracts_dir", "start_date"])
@pytest.mark.parametrize("value", ["s3://AKIAEXAMPLE:hunter2-hunter2@bucket/raw", "hunter2", "wJalrXUtnFEMI/hunter2/bPxRfiCYEXAMPLEKEY"])
def test_a_secret_in_the_wrong_variable_is_not_repeated(field: str, value: str, environ: dict[str, str]) -> None:
    """All of them but a directory's name: a path that is not there must be readable."""
    (fault,) = faults(environ | {variable(field): value})
    assert fault.startswith(f"{variable(field)}: ")
    assert ("hunter2" in fault) == (field == "contracts_dir" and "@" not in value)


def test_an_unknown_setting_is_an_error_unless_kubernetes_made_it(environ: dict[str, str]) -> None:
    assert faults(environ | {"FEATURE_PLATFORM_RAW_URL": "s3://bucket"}) == (
        "FEATURE_PLATFORM_RAW_URL: unknown setting; expected one of those in the README (Settings)",
    )
    made = {
        "FEATURE_PLATFORM_SERVICE_HOST": "10.0.0.1",
        "FEATURE_PLATFORM_SERVICE_PORT": "3000",
        "FEATURE_PLATFORM_SERVICE_PORT_HTTP": "3000",
        "FEATURE_PLATFORM_PORT": "tcp://10.0.0.1:3000",
        "FEATURE_PLATFORM_PORT_3000_TCP_ADDR": "10.0.0.1",
        "FEATURE_PLATFORM_DAGSTER_WEBSERVER_SERVICE_HOST": "10.0.0.2",
    }
    assert load_settings(environ | made) == load_settings(environ)


def test_slack_takes_a_token_and_a_channel_or_neither(environ: dict[str, str]) -> None:
    both = {"FEATURE_PLATFORM_SLACK_TOKEN": "xoxb-hunter2", "FEATURE_PLATFORM_SLACK_CHANNEL": "#features"}
    settings = load_settings(environ | both)
    assert (settings.slack_token, settings.slack_channel) == ("xoxb-hunter2", "#features")
    assert "hunter2" not in repr(settings)
    for name, value in both.items():
        assert faults(environ | {name: value}) == (
            "FEATURE_PLATFORM_SLACK_TOKEN and FEATURE_PLATFORM_SLACK_CHANNEL: expected both or neither, found one",
        )


def test_every_fault_is_reported_at_once(environ: dict[str, str]) -> None:
    found = faults(environ | {"FEATURE_PLATFORM_ENV": "x", "FEATURE_PLATFORM_REDIS": "x", "FEATURE_PLATFORM_X": "x"})
    assert [fault.split(":")[0] for fault in found] == ["FEATURE_PLATFORM_X", "FEATURE_PLATFORM_ENV", "FEATURE_PLATFORM_REDIS"]


def test_an_endpoint_is_described_for_every_kind_of_aws_client() -> None:
    given = aws_environment(endpoint_url="http://127.0.0.1:9", region="eu-west-1", access_key_id="id", secret_access_key="key")
    assert given == {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_S3": "",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_SESSION_TOKEN": "",
    }
    assert set(given) <= set(AWS_VARIABLES)


def test_the_readme_documents_the_settings_as_the_code_has_them() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    expected = f"{BEGIN}\n{settings_table()}\n{END}"
    assert expected in readme, f"Put this into README.md:\n\n{expected}\n"


def test_only_the_settings_module_names_environment_variables() -> None:
    naming = re.compile(rf"os\.environ(\[|\.get|\.pop)|os\.getenv|[\"']{PREFIX}[A-Z]")
    offenders = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "feature_platform").rglob("*.py"))
        # The probe is told the name of the variable; reading all settings would cost more than the probe does.
        if path.name not in {"settings.py", "redis_ping.py"} and naming.search(path.read_text(encoding="utf-8"))
    ]
    assert offenders == []
    assert naming.search('os.environ["HOME"]')
    assert naming.search('variable = "FEATURE_PLATFORM_ENV"')
