"""Every asset and the sensor called directly, on a platform in memory: no instance, no server, no run."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from feature_platform.adapters.feast.memory import MemoryFeatureRegistry
from feature_platform.adapters.online_store.memory import MemoryOnlineStore
from feature_platform.defs import automation, checks, feature_assets, health_asset, jobs, serving_assets, source_assets
from feature_platform.defs.failures import Retry
from feature_platform.defs.partitions import days_since
from feature_platform.use_cases.build import build
from feature_platform.use_cases.commit import commit
from feature_platform.use_cases.promote import move_latest
from feature_platform.use_cases.serve import serve
from feature_platform.wiring import Platform
from tests.support.platforms import memory_platform, put_events

# Backfill policies and windows before the first partition are beta in the Dagster that uv.lock pins.
pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

DAY = "2026-01-11"
NO_RETRY = Retry(delay_s=0)


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    settings = memory_platform(tmp_path).settings
    online = MemoryOnlineStore()
    registry = MemoryFeatureRegistry(online, project=settings.feast_project)
    platform = memory_platform(tmp_path, online=online, registry=registry)
    put_events(platform, "2026-01-10", users=(1, 2))
    put_events(platform, DAY, users=(2, 3))
    return platform


def call(asset: dg.AssetsDefinition, platform: Platform, *, partition: str | None = None) -> Any:
    """What an asset's body returns."""
    return asset(dg.build_asset_context(partition_key=partition), platform=platform)


def test_a_day_goes_from_raw_objects_to_online_values_by_direct_calls(platform: Platform) -> None:
    contract, source = platform.catalog.contract("user_features"), platform.catalog.sources["events"]
    days = days_since(platform.first_day.isoformat())
    (raw,) = call(source_assets.raw_asset(source, days=days, retry=NO_RETRY), platform, partition=DAY)
    assert raw.data_version.value
    validated = call(source_assets.validated_asset(source, days=days, retry=NO_RETRY), platform, partition=DAY)
    assert validated.data_version.value
    tiles = call(feature_assets.tiles_asset(contract, days=days, retry=NO_RETRY), platform, partition=DAY)
    assert (tiles.metadata["dagster/row_count"], len(tiles.data_version.value)) == (2, 16)
    asset = feature_assets.features_asset(contract, [source], days=days, retry=NO_RETRY)
    builds = call(asset, platform, partition=DAY)
    assert builds[DAY].provenance.partitions == ["2026-01-10", DAY]
    assert builds[DAY].table.to_arrow().column("user_id").to_pylist() == [1, 2, 3]
    version = commit(platform, "user_features", DAY, builds[DAY]).version
    (latest,) = call(feature_assets.latest_asset(contract, retry=NO_RETRY), platform)
    assert (latest.metadata["version"], latest.metadata["has_moved"]) == (version, True)
    online = call(serving_assets.online_asset(contract, retry=NO_RETRY), platform)
    assert online.metadata["version"] == version
    (row,) = platform.registry.read(contract, [{"user_id": 2}], as_of=datetime(2026, 1, 12, tzinfo=UTC))
    assert row["f_total_events_7d"] == 2


def test_health_is_a_row_and_a_check_of_each_set_and_fails_where_readers_get_nothing(platform: Platform) -> None:
    contract, source = platform.catalog.contract("user_features"), platform.catalog.sources["events"]
    asset = health_asset.health_asset(platform.catalog, retry=NO_RETRY, clock=lambda: datetime(2026, 1, 12, 1, tzinfo=UTC))
    empty, check = call(asset, platform)
    assert (check.check_name, check.passed, check.severity) == ("user_features", False, dg.AssetCheckSeverity.ERROR)
    assert "online: nothing is online" in check.description
    assert "| user_features | failing |" in empty.metadata["states"].md_str
    assert "Materialize the online asset" in empty.metadata["states"].md_str

    days = days_since(platform.first_day.isoformat())
    built = call(feature_assets.features_asset(contract, [source], days=days, retry=NO_RETRY), platform, partition=DAY)
    version = commit(platform, "user_features", DAY, built[DAY]).version
    list(call(feature_assets.latest_asset(contract, retry=NO_RETRY), platform))
    call(serving_assets.online_asset(contract, retry=NO_RETRY), platform)
    put_events(platform, "2026-01-10", users=(1, 2, 4))
    degraded, check = call(asset, platform)
    assert check.passed, check.description
    assert check.description.startswith("degraded: versions: ")
    assert f"| user_features | degraded | {version} |" in degraded.metadata["states"].md_str
    assert "feature-platform refresh user_features" in degraded.metadata["states"].md_str


def test_the_sensor_asks_for_the_day_that_ended_by_the_clock_it_is_given(platform: Platform) -> None:
    def clock() -> datetime:
        return datetime(2026, 1, 12, 6, tzinfo=UTC)

    sensor = automation.raw_sensor(platform.catalog, job=jobs.features_job(platform.first_day), settings=platform.settings, clock=clock)
    with dg.DagsterInstance.ephemeral() as instance:
        asked = sensor(dg.build_sensor_context(instance=instance), platform=platform)
    assert [request.partition_key for request in asked.run_requests] == [DAY]


def test_an_unknown_port_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no port named onlime"):
        memory_platform(tmp_path, onlime=MemoryOnlineStore())


def test_parity_looks_again_where_another_run_moved_latest_between_load_and_comparison(platform: Platform) -> None:
    contract = platform.catalog.contract("user_features")
    for day in ("2026-01-10", DAY):
        built = build(platform, contract, day, run_id=day, on_validated=lambda _: None)
        commit(platform, "user_features", day, built)
        if day != DAY:
            move_latest(platform, contract, actor="me", log=lambda _: None)
            serve(platform, "user_features")
    move_latest(platform, contract, actor="another run", log=lambda _: None)
    check = checks.parity_check(contract, asset=serving_assets.online_key("user_features"), retry=NO_RETRY)
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_asset_check_context(instance=instance)
        with pytest.raises(dg.RetryRequested) as raised:
            check(context, platform=platform)
        serve(platform, "user_features")
        assert check(context, platform=platform).passed
    assert "v_20260111T000000 is online, v_20260112T000000 was latest; the next attempt compares them again" in str(raised.value.__cause__)
