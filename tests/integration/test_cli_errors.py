"""What the command line says when it cannot do what it is asked: our error in a sentence or two, an exit code, no secret, no traceback."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from feature_platform.cli.app import app
from feature_platform.local.services import LocalServices
from feature_platform.settings import variable

SECRET = "hunter2"
NEEDING_STORES = [
    ["status"],
    ["status", "user_features"],
    ["doctor"],
    ["verify", "user_features"],
    ["versions", "list", "user_features"],
    ["versions", "show", "user_features"],
    ["gc", "user_features"],
    ["pin", "user_features", "v_20260115T000000", "x"],
    ["unpin", "user_features", "v_20260115T000000", "x"],
    ["rollback", "user_features", "v_20260115T000000", "--reason", "x"],
    ["reproduce", "user_features", "v_20260115T000000"],
]
UNKNOWN_NAMES = [
    ["status", "nobody"],
    ["doctor", "nobody"],
    ["verify", "nobody"],
    ["reproduce", "nobody", "v_20260115T000000"],
    ["rollback", "nobody", "v_20260115T000000", "--reason", "x"],
    ["gc", "nobody"],
    ["pin", "nobody", "v_20260115T000000", "x"],
    ["unpin", "nobody", "v_20260115T000000", "x"],
    ["versions", "list", "nobody"],
    ["versions", "show", "nobody"],
    ["online", "get", "nobody", "--key", "user_id=1"],
    ["online", "version", "nobody"],
    ["online", "repair", "nobody"],
    ["contract", "hash", "nobody"],
    ["contract", "try", "nobody", "--day", "2026-01-14"],
    ["contract", "diff", "nobody"],
    ["refresh", "nobody"],
    ["decommission", "nobody"],
    ["prove", "/nowhere"],
    ["verify", "user_features", "--version", "v_20200101T000000"],
    ["versions", "show", "user_features", "v_20200101T000000"],
    ["reproduce", "user_features", "v_20200101T000000"],
    ["rollback", "user_features", "v_20200101T000000", "--reason", "x"],
    ["pin", "user_features", "v_20200101T000000", "x"],
    ["unpin", "user_features", "v_20200101T000000", "x"],
]


def cli(arguments: list[str], environment: dict[str, str]) -> Result:
    """One command with these variables and, of the platform's and the SDK's, no others."""
    return CliRunner().invoke(app, arguments, env={**environment})


def told(result: Result, *, code: int, secrets: tuple[str, ...] = (SECRET,)) -> str:
    """The error of a command, held to the rules that all of them obey."""
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("feature-platform: ")
    assert "Traceback" not in result.stderr
    assert [secret for secret in secrets if secret in result.stderr] == []
    first_line = result.stderr.removeprefix("feature-platform: ").splitlines()[0]
    assert len([part for part in first_line.split(". ") if part]) <= 3, first_line
    return result.stderr


@pytest.mark.parametrize("arguments", UNKNOWN_NAMES, ids=" ".join)
def test_a_name_that_does_not_exist_is_wrong_usage(arguments: list[str], local_env: dict[str, str]) -> None:
    said = told(cli(arguments, local_env), code=2)
    expected = "there are: user_features", "was never committed", "has no pin 'x'; it has: none", "neither a file nor", "no response log"
    assert [part for part in expected if part in said]


def test_a_path_without_raw_data_or_a_source_that_does_not_exist_is_wrong_usage(local_env: dict[str, str], tmp_path: Path) -> None:
    assert "no contract for source 'nobody'" in told(cli(["raw", "put", str(tmp_path), "--source", "nobody"], local_env), code=2).lower()
    (tmp_path / "events.csv").touch()
    for path in (tmp_path, tmp_path / "events.csv"):
        said = told(cli(["raw", "put", str(path), "--source", "events"], local_env), code=2)
        assert f"{path}: expected directories dt=YYYY-MM-DD, found none; name the day of these files by --day" in said


@pytest.mark.parametrize("arguments", NEEDING_STORES, ids=" ".join)
def test_a_malformed_setting_with_a_secret_in_it_is_named_and_not_repeated(arguments: list[str], local_env: dict[str, str]) -> None:
    uri = f"s3://key:{SECRET}@bucket/raw"
    wrong = dict.fromkeys(("raw_uri", "work_uri", "feature_base", "registry_uri"), uri)
    wrong |= {"redis": f"redis://:{SECRET}@cache:6379", "env": SECRET, "start_date": SECRET, "contracts_dir": uri}
    said = told(cli(arguments, {**local_env, **{variable(field): value for field, value in wrong.items()}}), code=2)
    assert [field for field in wrong if f"  - {variable(field)}: " not in said] == []


@pytest.mark.parametrize("arguments", NEEDING_STORES, ids=" ".join)
def test_an_endpoint_with_a_secret_in_it_is_named_and_not_repeated(arguments: list[str], local_env: dict[str, str]) -> None:
    """One that is no URL, and one whose bucket refuses: both carry a password."""
    malformed = told(cli(arguments, {**local_env, "AWS_ENDPOINT_URL": f"s3.example:{SECRET}"}), code=2)
    assert "The S3 endpoint is no URL" in malformed
    with_user = local_env["AWS_ENDPOINT_URL"].replace("http://", f"http://me:{SECRET}@")
    refused = told(cli(arguments, {**local_env, "AWS_ENDPOINT_URL": with_user, "AWS_SECRET_ACCESS_KEY": SECRET}), code=2)
    assert f"S3 at {local_env['AWS_ENDPOINT_URL']} refused these credentials" in refused


def test_a_wrong_redis_password_is_named_and_not_repeated(local_env: dict[str, str]) -> None:
    address = local_env["FEATURE_PLATFORM_REDIS"].split(",", 1)[0]
    said = told(
        cli(["online", "version", "user_features"], {**local_env, "FEATURE_PLATFORM_REDIS": f"{address},password={SECRET}"}), code=2
    )
    assert f"Redis at {address} refuses this user." in said


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose servers, where any were started, end with the test."""
    yield tmp_path / "home"
    LocalServices(tmp_path / "home").down()


@pytest.fixture(params=["a file", "below a file", "taken inside", "not writable"])
def unusable_home(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A home that no directory can be, or in which nothing can be written, not even by root."""
    (tmp_path / "file").write_text("")
    (tmp_path / "taken").mkdir()
    for name in ("s3", "redis", "dagster", "tmp"):
        (tmp_path / "taken" / name).write_text("")
    homes = {"a file": tmp_path / "file", "below a file": tmp_path / "file" / "home", "taken inside": tmp_path / "taken"}
    return homes.get(request.param, Path("/sys/feature-platform"))


@pytest.mark.parametrize("name", ["up", "demo", "dev"])
def test_a_home_that_cannot_be_used_is_a_sentence(name: str, unusable_home: Path) -> None:
    said = told(cli([name, "--home", str(unusable_home)], {}), code=2)
    assert "cannot hold the platform's files: " in said
    assert "Expected a directory that this user can write" in said
    assert said.count("\n") == 1


def test_a_home_that_cannot_be_used_is_a_sentence_to_what_spools(unusable_home: Path, local_env: dict[str, str]) -> None:
    said = told(cli(["verify", "user_features"], {**local_env, "FEATURE_PLATFORM_HOME": str(unusable_home)}), code=2)
    assert "cannot hold the platform's files: " in said


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("start_date", "", "holds no day as YYYY-MM-DD. Choose the first partition again: feature-platform up --start-date"),
        ("start_date", "soon", "holds no day as YYYY-MM-DD"),
        ("contracts_dir", "/gone", "/gone is no directory any more"),
        ("redis/passwords.json", "{", "does not hold the secrets of an embedded server"),
        ("s3/credentials.json", "[]", "does not hold the secrets of an embedded server"),
    ],
)
def test_a_home_whose_memory_is_damaged_is_a_sentence(file: str, content: str, said: str, home: Path) -> None:
    (home / file).parent.mkdir(parents=True)
    (home / file).write_text(content)
    assert said in told(cli(["up", "--home", str(home)], {}), code=2)


def test_contracts_that_are_no_directory_are_refused_before_anything_starts(home: Path) -> None:
    assert "is no directory" in told(cli(["up", "--home", str(home), "--contracts", "/none"], {}), code=2)
    assert [path.name for path in home.iterdir()] == ["start_date"]


def test_the_version_is_printed() -> None:
    result = cli(["--version"], {})
    assert result.exit_code == 0
    assert re.fullmatch(r"feature-platform \d+\.\d+\.\d+\n", result.stdout)
