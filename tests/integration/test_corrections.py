"""Raw data that changes after it was published, on real servers and by the commands that a person has: nothing stays stale in silence."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from feature_platform.cli.app import app
from feature_platform.core.layout import as_of, raw_partition, version_id
from feature_platform.settings import load_settings
from feature_platform.wiring import Platform, open_platform
from tests.support.platforms import MainJob, put_events

TODAY = datetime.now(UTC).date()
DAYS = [(TODAY - timedelta(days=back)).isoformat() for back in (4, 3, 2, 1)]
VERSIONS = [version_id(as_of(day)) for day in DAYS]
CORRECTED = [version_id(as_of(day) + timedelta(seconds=1)) for day in DAYS]


def cli(*arguments: str) -> Result:
    """One command, run in this process."""
    return CliRunner().invoke(app, list(arguments))


def answered(*arguments: str, code: int = 0) -> Any:
    """What a command answers in JSON."""
    result = cli(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.fixture
def platform(module_env: dict[str, str], module_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """Four days in one run, latest online; the second day was not delivered when they were built."""
    monkeypatch.setenv("FEATURE_PLATFORM_START_DATE", DAYS[0])
    platform = open_platform(load_settings({**module_env, "FEATURE_PLATFORM_START_DATE": DAYS[0]}))
    job = MainJob(platform, instance=module_instance)
    for day in (DAYS[0], DAYS[2], DAYS[3]):
        put_events(platform, day, users=(1, 2))
    for first, last in ((DAYS[0], None), (DAYS[2], DAYS[3])):
        run = job.run(first, until=last)
        assert run.success, run.failure
    return platform


def online(user: int) -> Any:
    """One entity's events of the last seven days, as a service reads them."""
    return json.loads(cli("online", "get", "user_features", "--key", f"user_id={user}", "--json").stdout)[0]["f_total_events_7d"]


def test_corrected_late_and_deleted_days_reach_every_version_latest_and_online_by_one_command(platform: Platform) -> None:
    assert answered("refresh", "--plan", "user_features") == []
    assert (online(1), online(3)) == (3, None)
    [status] = answered("status")
    assert (status["agreement"], status["missing_days"]) == ("ok", DAYS[1])

    put_events(platform, DAYS[0], users=(1, 2, 3))  # corrected
    put_events(platform, DAYS[1], users=(1,))  # late
    for info in list(platform.objects.scan(raw_partition(platform.settings.raw_uri, "events", DAYS[2]))):
        platform.objects.delete(info.uri)  # taken back
    planned = answered("refresh", "--plan", code=1)
    changes = [f"{DAYS[0]} (changed)", f"{DAYS[1]} (arrived)", f"{DAYS[2]} (vanished)"]
    assert [(row["partition"], row["version"], row["changed"]) for row in planned] == [
        (DAYS[0], VERSIONS[0], changes[0]),
        (DAYS[1], "never built", changes[1]),
        (DAYS[2], VERSIONS[2], ", ".join(changes)),
        (DAYS[3], VERSIONS[3], ", ".join(changes)),
    ]
    assert (online(1), online(3)) == (3, None)

    [status] = answered("status", code=1)
    told = f"{VERSIONS[3]} rests on raw data that is other now: {', '.join(changes)}"
    assert f"latest {told}; online {told}; {DAYS[1]} arrived and was never built" in status["agreement"]
    assert f"{VERSIONS[0]}, {VERSIONS[2]}, {VERSIONS[3]} rest on raw data that is other now" in status["agreement"]
    drifts = answered("doctor", code=1)
    assert [drift["part"] for drift in drifts] == ["versions", "latest", "online", "versions"]
    assert {"`feature-platform refresh user_features`" in drift["remedy"] for drift in drifts} == {True}
    gone = answered("reproduce", "user_features", VERSIONS[3], code=1)["findings"]
    assert {finding["code"] for finding in gone} == {"source_changed", "source_gone"}
    assert "`feature-platform refresh user_features`" in gone[0]["remedy"]

    done = answered("refresh", "user_features", code=1)
    assert [row["outcome"] for row in done if row["partition"] != DAYS[2]] == [
        f"rebuilt as {version}" for version in (CORRECTED[0], VERSIONS[1], CORRECTED[3])
    ]
    assert f"deliver {DAYS[2]} again" in next(row["outcome"] for row in done if row["partition"] == DAYS[2])
    assert (online(1), online(2), online(3)) == (3, 2, 1)
    assert answered("online", "version", "user_features")["version"] == CORRECTED[3]

    put_events(platform, DAYS[2], users=(1, 2))
    assert [row["outcome"] for row in answered("refresh")] == [
        f"rebuilt as {version}" for version in (CORRECTED[2], version_id(as_of(DAYS[3]) + timedelta(seconds=2)))
    ]
    assert (online(1), online(2), online(3)) == (4, 3, 1)
    assert answered("refresh") == []
    [status] = answered("status")
    assert (status["agreement"], status["missing_days"]) == ("ok", "")
