"""Watching Dagster on its real webserver: what is told of daemons, code locations, schedules and runs."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from feature_platform.adapters.orchestrator import DagsterWebserver
from feature_platform.cli.environment import prepare_instance
from feature_platform.core.operations.health import Problem
from feature_platform.local.services import SHIPPED_CONTRACTS
from tests.support.dagster_commands import MODULE, dagster, webserver
from tests.support.processes import read_url, wait_until
from tests.support.shipped_features import today

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def test_dagster_tells_of_dead_daemons_broken_code_stuck_and_failed_runs(local_env: dict[str, str], tmp_path: Path) -> None:
    home = prepare_instance(tmp_path)
    contracts = tmp_path / "contracts"
    contracts.mkdir()
    for file in SHIPPED_CONTRACTS.iterdir():
        (contracts / file.name).write_text(file.read_text())
    (contracts / "user_features.schema.json").write_text("{")
    environment = {**os.environ, **local_env, "DAGSTER_HOME": str(home), "FEATURE_PLATFORM_CONTRACTS_DIR": str(contracts)}

    @dg.op
    def nothing() -> None:
        """It never runs."""

    @dg.job
    def daily() -> None:
        nothing()

    with dg.DagsterInstance.from_config(str(home)) as instance:
        for day, statuses in {
            "2026-01-01": ["FAILURE", "SUCCESS"],
            "2026-01-02": ["SUCCESS", "FAILURE"],
            "2026-01-03": ["STARTING"],
        }.items():
            for status in statuses:
                instance.create_run_for_job(daily, tags={"dagster/partition": day}, status=dg.DagsterRunStatus(status))
        (stuck,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING]))
    with webserver(environment) as url:
        wait_until(lambda: bool(read_url(f"{url}/server_info")), within_s=120, what="Dagster's webserver")
        dagster = DagsterWebserver(url)
        now = datetime.now(UTC)
        found = {problem.code: problem for problem in dagster.problems(now=now)}
        later = {problem.part for problem in dagster.problems(now=now + timedelta(minutes=31)) if problem.code == "run_stuck"}
    assert set(found) == {"daemon_dead", "location_broken", "run_failed"}
    assert "SENSOR (never)" in found["daemon_dead"].told
    assert "user_features.schema.json" in found["location_broken"].told
    assert found["run_failed"].part == "daily 2026-01-02"
    assert found["run_failed"].link is not None
    assert found["run_failed"].link.startswith(f"{url}/runs/")
    assert later == {stuck.run_id}
    (gone,) = DagsterWebserver(url).problems(now=now)
    assert gone.code == "orchestrator_unreachable"


def test_dagster_tells_of_a_schedule_that_is_off_and_of_one_that_started_no_run(local_env: dict[str, str], tmp_path: Path) -> None:
    home, schedule = prepare_instance(tmp_path), "daily_features_at_midnight"
    environment = {**os.environ, **local_env, "FEATURE_PLATFORM_ENV": "dev", "DAGSTER_HOME": str(home)}

    @dg.job
    def daily_features() -> None:
        """The job of the day, as far as its runs' tags go."""

    with dg.DagsterInstance.from_config(str(home)) as instance, webserver(environment) as url:
        wait_until(lambda: bool(read_url(f"{url}/server_info")), within_s=120, what="Dagster's webserver")

        def problems(**later: float) -> dict[str, Problem]:
            """What is told after some time, with daemons that live."""
            now = datetime.now(UTC) + timedelta(**later)
            for kind in instance.get_required_daemon_types():
                instance.add_daemon_heartbeat(DaemonHeartbeat(now.timestamp(), kind, "test", []))
            return {problem.code: problem for problem in DagsterWebserver(url).problems(now=now)}

        assert problems(days=2) == {}, "nobody has switched it on yet"
        dagster(environment, "schedule", "start", schedule, *MODULE)
        assert problems() == {}
        dagster(environment, "schedule", "stop", schedule, *MODULE)
        off = problems()["schedule_off"]
        assert (off.part, off.state, off.remedy[:12]) == (schedule, "degraded", "Switch it on")

        dagster(environment, "schedule", "start", schedule, *MODULE)
        assert problems() == {}
        missed = problems(days=1, minutes=11)["schedule_missed"]
        due = today() + timedelta(days=1)
        assert f"started no run at {due:%Y-%m-%d} 00:00 UTC" in missed.told
        assert "Materialize that day by hand" in missed.remedy
        made = {"dagster/partition": today().date().isoformat()}
        instance.create_run_for_job(daily_features, tags=made, status=dg.DagsterRunStatus.SUCCESS)
        assert problems(days=1, minutes=11) == {}
