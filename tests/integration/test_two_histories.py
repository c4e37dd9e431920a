"""Two sources that begin on different days, under Dagster's own commands and its daemon, down to what a service reads."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from feature_platform.cli.environment import prepare_instance
from feature_platform.core.layout import as_of, partition_of, version_id
from feature_platform.settings import load_settings
from feature_platform.wiring import Platform, open_platform
from tests.support.dagster_commands import MODULE, daemon, dagster
from tests.support.platforms import put_events
from tests.support.processes import wait_until
from tests.support.two_sources import put_orders, two_sources

TODAY = datetime.now(UTC).date()
DAYS = [(TODAY - timedelta(days=back)).isoformat() for back in (5, 4, 3, 2, 1)]
FIRST_ORDERS = DAYS[2]


@pytest.fixture(scope="module")
def environment(module_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Events of five days, orders of the last three; nothing published."""
    home = tmp_path_factory.mktemp("two-histories")
    variables = {
        **module_env,
        "FEATURE_PLATFORM_CONTRACTS_DIR": str(two_sources(home, first_day=FIRST_ORDERS)),
        "FEATURE_PLATFORM_START_DATE": DAYS[0],
        "FEATURE_PLATFORM_SENSOR_INTERVAL_S": "5",
        "DAGSTER_HOME": str(prepare_instance(home)),
    }
    platform = opened(variables)
    for day in DAYS:
        put_events(platform, day)
    for day in DAYS[2:]:
        put_orders(platform, day, 1.5, 2.0)
    return {**os.environ, **variables}


def opened(environment: Mapping[str, str]) -> Platform:
    return open_platform(load_settings({name: value for name, value in environment.items() if name.startswith("FEATURE_PLATFORM_")}))


@pytest.fixture(scope="module")
def platform(environment: dict[str, str]) -> Platform:
    """After a run over everything for a day that one source never had, and another over the days that follow."""
    platform = opened(environment)
    dagster(environment, "asset", "materialize", "--select", "*", "--partition", DAYS[0], *MODULE)
    assert (built(platform, "user_features"), built(platform, "shop_features")) == (DAYS[:1], [])
    dagster(environment, "asset", "materialize", "--select", "*", "--partition-range", f"{DAYS[1]}...{DAYS[4]}", *MODULE)
    return platform


def built(platform: Platform, feature_set: str) -> list[str]:
    """The partitions that have a version."""
    return sorted({partition_of(version.as_of) for version in platform.feature_sets.history(feature_set).live})


def online(platform: Platform, feature_set: str) -> str:
    """The version that is served."""
    marker = platform.online.marker(project="feature_store_local", view=feature_set)
    assert marker is not None
    return marker.target.version


def revenue(platform: Platform) -> object:
    """What a service reads of one shop."""
    (row,) = platform.registry.read(platform.catalog.contract("shop_features"), [{"shop": "Łódź 1"}])
    return row["f_revenue_2d"]


def test_a_run_over_everything_does_not_fail_for_days_that_one_source_never_had(environment: dict[str, str], platform: Platform) -> None:
    assert (built(platform, "user_features"), built(platform, "shop_features")) == (DAYS, DAYS[2:])
    assert version_id(as_of(DAYS[4])) == online(platform, "user_features") == online(platform, "shop_features").replace("000001", "000000")
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("raw_orders")) == set(DAYS[2:])


@pytest.mark.slow
def test_the_daemon_backfills_such_days_and_its_sensor_carries_a_correction_to_latest_and_online(
    environment: dict[str, str], platform: Platform
) -> None:
    assert revenue(platform) == 7.0
    range_of = ("--from", DAYS[0], "--to", DAYS[0], "-w", "workspace.yaml", "--noprompt")
    dagster(environment, "job", "backfill", "--job", "daily_features", *range_of)
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance, daemon(environment):
        wait_until(lambda: backfilled(instance) == [dg.DagsterRunStatus.SUCCESS], within_s=100, what="a run of the backfill")
        assert built(platform, "shop_features") == DAYS[2:]

        put_orders(platform, DAYS[3], 10.0, 20.0)
        dagster(environment, "sensor", "start", "raw_data_changed", "-w", "workspace.yaml")
        wait_until(lambda: revenue(platform) == 33.5, within_s=100, what="the correction online")
        wait_until(lambda: all(run.is_finished for run in instance.get_runs()), within_s=60, what="the end of the run")
    corrected = [version_id(as_of(day) + timedelta(seconds=1)) for day in DAYS[3:]]
    history = platform.feature_sets.history("shop_features")
    assert set(corrected) <= {version.version for version in history.live}
    assert history.head is not None
    assert history.head.version == corrected[-1]


def backfilled(instance: dg.DagsterInstance) -> list[dg.DagsterRunStatus]:
    return [run.status for run in instance.get_runs() if "dagster/backfill" in run.tags]
