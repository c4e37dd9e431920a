"""Runs side by side by Dagster's own daemon and queue: what works at once, what does not, and a backfill whose daemon is ended."""

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from feature_platform.cli.environment import prepare_instance
from feature_platform.core.layout import as_of, version_id
from feature_platform.settings import load_settings
from feature_platform.wiring import Platform, open_platform
from tests.support.dagster_commands import daemon, dagster
from tests.support.platforms import put_events
from tests.support.processes import wait_until

TODAY = datetime.now(UTC).date()
DAYS = [(TODAY - timedelta(days=back)).isoformat() for back in (4, 3, 2, 1)]
VERSIONS = [version_id(as_of(day)) for day in DAYS]
SERVING = ("user_features_latest", "user_features_online")
Interval = tuple[float, float]

pytestmark = pytest.mark.slow


@pytest.fixture
def environment(module_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of every process; three of four days delivered, so that the newest of a backfill has nothing."""
    dagster_home = prepare_instance(tmp_path_factory.mktemp("dagster"))
    variables = {**module_env, "FEATURE_PLATFORM_START_DATE": DAYS[0], "DAGSTER_HOME": str(dagster_home)}
    platform = open_platform(load_settings(variables))
    for day in DAYS[:3]:
        put_events(platform, day)
    return {**os.environ, **variables}


def operations(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    platform: Platform = open_platform(load_settings({k: v for k, v in environment.items() if k.startswith("FEATURE_PLATFORM_")}))
    return [(record.op, record.version) for record in platform.feature_sets.history("user_features").records]


def steps(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, Interval]:
    """When each step that succeeded began and ended."""
    began: dict[str, float] = {}
    found: dict[str, Interval] = {}
    for log in instance.all_logs(run.run_id):
        kind = log.dagster_event.event_type_value if log.dagster_event else ""
        if log.step_key and kind == "STEP_START":
            began[log.step_key] = log.timestamp
        elif log.step_key and kind == "STEP_SUCCESS":
            found[log.step_key] = (began[log.step_key], log.timestamp)
    return found


def under_way(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Interval:
    """From when the queue let a run go to its end."""
    stats = instance.get_run_stats(run.run_id)
    assert stats.launch_time is not None
    assert stats.end_time is not None
    return stats.launch_time, stats.end_time


def launch(environment: Mapping[str, str], day: str) -> None:
    tags = json.dumps({"dagster/partition": day})
    dagster(environment, "job", "launch", "-j", "daily_features", "-w", "workspace.yaml", "--tags", tags)


def overlap(one: Interval, other: Interval) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def finished(instance: dg.DagsterInstance, count: int) -> list[dg.DagsterRun]:
    wait_until(lambda: sum(run.is_finished for run in instance.get_runs()) == count, within_s=250, what=f"{count} runs")
    return [run for run in instance.get_runs() if run.is_finished]


def test_a_backfill_builds_days_side_by_side_goes_on_with_a_new_daemon_and_serves_once_and_runs_never_serve_at_once(
    environment: dict[str, str],
) -> None:
    of_range = ("--from", DAYS[0], "--to", DAYS[3], "-w", "workspace.yaml", "--noprompt")
    dagster(environment, "job", "backfill", "--job", "daily_features", *of_range)
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        with daemon(environment):
            wait_until(lambda: len(instance.get_runs()) == len(DAYS), within_s=120, what="the runs of the backfill")
        with daemon(environment):
            runs = finished(instance, len(DAYS))
            assert sorted(run.tags["dagster/partition"] for run in runs) == DAYS  # none twice
            # A run that worked while the daemon went is a failed one, and re-executed by hand; the queue runs the others.
            done = {run.tags["dagster/partition"]: steps(instance, run) for run in runs if run.is_success}
            assert DAYS[2] in done
            assert [SERVING[0] in done[day] and SERVING[1] in done[day] for day in done] == [day == DAYS[2] for day in done]
            assert [version for op, version in operations(environment) if op == "promote"] == [VERSIONS[2]]
        with ThreadPoolExecutor() as both:
            list(both.map(lambda day: launch(environment, day), DAYS[:2]))
        with daemon(environment):  # which finds both in the queue, and takes both at its first look
            one, other = [run for run in finished(instance, len(DAYS) + 2) if "dagster/backfill" not in run.tags]
        assert overlap(*(under_way(instance, run) for run in (one, other)))
        served, later = steps(instance, one), steps(instance, other)
    assert not any(overlap(served[mine], later[theirs]) for mine in SERVING for theirs in SERVING)
    assert {version for op, version in operations(environment) if op == "commit"} == set(VERSIONS[:3])
