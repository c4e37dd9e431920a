"""The command line without any server: help, wrong settings, contracts alone."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feature_platform.adapters.machine.account import actor
from feature_platform.adapters.watch_metrics import WatchMetrics
from feature_platform.cli.app import app
from feature_platform.cli.contracts import day_of
from feature_platform.cli.online import parse_keys
from feature_platform.errors import ConfigurationError
from feature_platform.local.services import SHIPPED_CONTRACTS
from feature_platform.use_cases.watch import Watch
from tests.support.platforms import memory_platform

HEAVY = "boto3 botocore dagster duckdb feast pandas polars pyarrow redis s3fs numpy"
HELP = f"""
import sys
from typer.testing import CliRunner
from feature_platform.adapters.machine.account import actor
from feature_platform.cli.app import app

result = CliRunner().invoke(app, sys.argv[1:])
print(result.exit_code, sorted(set({HEAVY.split()!r}) & set(sys.modules)))
"""
READING = [
    ["status"],
    ["versions", "list", "user_features"],
    ["versions", "show", "user_features"],
    ["online", "get", "user_features", "--key", "user_id=1"],
    ["online", "version", "user_features"],
    ["verify", "user_features"],
    ["doctor"],
    ["reproduce", "user_features", "v_20260115T000000"],
    ["online", "repair", "user_features"],
    ["gc", "user_features"],
]


@pytest.mark.parametrize("arguments", [["--help"], ["versions", "--help"], ["online", "get", "--help"], ["demo", "--help"], ["-h"]])
def test_help_loads_no_heavy_library(arguments: list[str]) -> None:
    """What `--help` costs is what it imports; a clock would measure the machine."""
    answer = subprocess.run([sys.executable, "-c", HELP, *arguments], capture_output=True, text=True, check=True)
    assert answer.stdout == "0 []\n"


def test_every_command_has_help_that_says_what_it_does() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    for name in (
        "up",
        "down",
        "demo",
        "dev",
        "status",
        "verify",
        "doctor",
        "rollback",
        "reproduce",
        "pin",
        "unpin",
        "gc",
        "versions",
        "online",
        "contract",
    ):
        assert f" {name} " in shown
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_missing_settings_are_all_listed_and_exit_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments, env={"FEATURE_PLATFORM_ENV": "staging", "FEATURE_PLATFORM_RAW_URI": "/data/raw"})
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("feature-platform: 8 setting(s) are missing or wrong.")
    lines = result.stderr.splitlines()[1:]
    assert [line.split(":")[0].removeprefix("  - FEATURE_PLATFORM_") for line in lines] == [
        "ENV",
        "RAW_URI",
        "WORK_URI",
        "FEATURE_BASE",
        "REGISTRY_URI",
        "REDIS",
        "CONTRACTS_DIR",
        "START_DATE",
    ]
    assert "found 'st…' (7 characters), expected 'local', 'dev' or 'prod'" in result.stderr
    assert "expected s3://bucket/prefix" in result.stderr


def test_contracts_are_checked_without_any_other_setting(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["contract", "check", "--dir", str(SHIPPED_CONTRACTS), "--json"])
    assert result.exit_code == 0
    assert {row["contract"] for row in json.loads(result.stdout)} == {"events", "user_features"}
    (tmp_path / "a.schema.json").write_text('{"feature_set": "b"}')
    (tmp_path / "c.source.json").write_text("{")
    wrong = CliRunner().invoke(app, ["contract", "check", "--dir", str(tmp_path)])
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "a.schema.json: feature_set: found 'b', expected 'a'" in wrong.stderr
    assert "c.source.json: " in wrong.stderr


def test_a_directory_that_is_not_there_is_wrong_usage() -> None:
    assert CliRunner().invoke(app, ["contract", "hash", "--dir", "/nowhere/at/all"]).exit_code == 2
    assert CliRunner().invoke(app, ["contract", "hash"], env={"FEATURE_PLATFORM_CONTRACTS_DIR": "/nowhere"}).exit_code == 2


ORDERS = "order_id,shop_id,ordered_at\na,1,2026-01-14T08:00:00Z\nb,1,2026-01-14T09:00:00Z\n"


def test_a_source_is_called_after_the_file_without_its_day(tmp_path: Path) -> None:
    """docs/first-hour.md goes on with this name."""
    (tmp_path / "orders-2026-01-14.csv").write_text(ORDERS)
    result = CliRunner().invoke(app, ["init", str(tmp_path / "c"), "--sample", str(tmp_path / "orders-2026-01-14.csv"), "--key", "shop_id"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "c" / "orders.source.json").exists()
    assert "--source orders --day" in result.stderr


@pytest.mark.parametrize(
    ("header", "present", "options", "said"),
    [
        ("order_id,shop_id,ordered_at", {}, ["--source", "../evil"], "--source '../evil': expected lower-case letters"),
        ("order_id,shop_id,ordered_at", {}, ["--key", "nosuch"], "'nosuch' cannot be the key"),
        ("order_id,shop_id,ordered_at", {"old.source.json": "{"}, [], "old.source.json"),
    ],
    ids=["a name that is a path", "a column that is not there", "a faulty contract beside it"],
)
def test_init_writes_nothing_where_it_refuses(header: str, present: dict[str, str], options: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(ORDERS.replace("order_id,shop_id,ordered_at", header))
    (tmp_path / "c").mkdir()
    for name, text in present.items():
        (tmp_path / "c" / name).write_text(text)
    result = CliRunner().invoke(app, ["init", str(tmp_path / "c"), "--sample", str(tmp_path / "orders.csv"), *options])
    assert (result.exit_code, said in result.stderr) == (2, True), result.output
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"orders.csv", *(f"c/{name}" for name in present)}


@pytest.mark.parametrize(
    ("given", "entities"),
    [
        (["user_id=1"], [{"user_id": 1}]),
        (["user_id=-7", "user_id=8"], [{"user_id": -7}, {"user_id": 8}]),
    ],
)
def test_a_key_that_comes_again_begins_the_next_entity(given: list[str], entities: list[dict[str, int]]) -> None:
    assert parse_keys(given, types={"user_id": "int64"}) == entities


def test_composite_keys_are_read_in_any_order_and_text_keeps_its_signs() -> None:
    types = {"shop": "string", "item": "int32"}
    assert parse_keys(["shop=a=b", "item=1", "item=2", "shop="], types=types) == [{"shop": "a=b", "item": 1}, {"item": 2, "shop": ""}]


@pytest.mark.parametrize(
    ("given", "faults"),
    [
        (["shop"], ["--key shop: expected column=value with a column of shop, item"]),
        (["shop=a", "item=1.5"], ["--key item=1.5: expected a value of type int32"]),
        (["shop=a", "item=2147483648"], ["--key item=2147483648: expected a value of type int32"]),
        (["shop=a", "item=1", "shop=b"], ["--key: an entity lacks item"]),
        (
            ["shop=a", "item=x", "color=red"],
            ["--key item=x: expected a value of type int32", "--key color=red: expected column=value with a column of shop, item"],
        ),
    ],
)
def test_every_wrong_key_is_named(given: list[str], faults: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_keys(given, types={"shop": "string", "item": "int32"})
    assert list(caught.value.faults) == faults


def test_a_user_id_without_a_name_is_an_actor_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container runs as a number that ``/etc/passwd`` does not hold; ``getpass`` ended there with a traceback."""

    def unnamed(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unnamed)
    assert actor() == f"uid {os.getuid()}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["watch", "--metrics-port", "99999"],
        ["watch", "--interval-s", "1e12"],
        ["health", "--late-after-h", "1e12"],
        ["gc", "user_features", "--keep-days", "1000000"],
        ["gc", "user_features", "--grace", "1e12"],
        ["training-set", "--ttl-days", "1e12"],
    ],
    ids=" ".join,
)
def test_a_number_out_of_range_is_wrong_usage(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, f"Invalid value for '{arguments[-2]}'" in result.stderr) == (2, True), result.output


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_a_day_whose_window_no_calendar_has_is_wrong_usage(day: str) -> None:
    with pytest.raises(ConfigurationError, match="from 1900 to 2999"):
        day_of(day)


def test_a_metrics_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigurationError, match="Cannot listen on 127"):
        WatchMetrics(Watch(memory_platform(tmp_path), [])).serve(taken.getsockname()[1])
