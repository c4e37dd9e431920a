"""Sources with histories of their own: what Dagster counts, what a run over everything leaves out and says, and jobs of parts."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from feature_platform.definitions import build_definitions
from feature_platform.wiring import Platform
from tests.support.platforms import MainJob, memory_platform, put_events
from tests.support.two_sources import put_orders, two_sources

pytestmark = pytest.mark.slow

EARLY, FIRST, LATER, LAST = "2026-01-10", "2026-01-12", "2026-01-13", "2026-01-14"
"""The environment's first day, and that of source ``orders``."""
EVENTS = ["raw_events", "user_features", "user_features_latest", "user_features_tiles", "validated_events"]
ORDERS = ["raw_orders", "shop_features", "shop_features_latest", "shop_features_tiles", "validated_orders"]


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    platform = memory_platform(tmp_path, contracts=two_sources(tmp_path, first_day=FIRST))
    for day in (EARLY, "2026-01-11", FIRST, LATER, LAST):
        put_events(platform, day)
    return platform


@pytest.fixture
def job(platform: Platform, instance: dg.DagsterInstance) -> MainJob:
    return MainJob(platform, instance=instance, only=[*EVENTS, *ORDERS])


def materialized(run: Any) -> dict[str, list[str]]:
    """Asset → the partitions that a run materialized; an asset without partitions has one that is empty."""
    found: dict[str, list[str]] = {}
    for event in run.result.all_events:
        if event.event_type_value == "ASSET_MATERIALIZATION":
            found.setdefault(event.asset_key.to_user_string(), []).append(event.partition or "")
    return {name: sorted(days) for name, days in sorted(found.items())}


def warnings(run: Any) -> str:
    return "\n".join(entry.user_message for entry in run.instance.all_logs(run.result.run_id) if entry.level == 30)


def test_days_that_a_source_never_had_are_not_counted_as_missing(platform: Platform) -> None:
    repository = build_definitions(platform).get_repository_def()
    first = {
        key.to_user_string(): node.partitions_def.get_first_partition_key()
        for key in repository.asset_graph.get_all_asset_keys()
        if (node := repository.asset_graph.get(key)).partitions_def is not None
    }
    assert first == {
        **dict.fromkeys(("raw_events", "validated_events", "user_features_tiles", "user_features"), EARLY),
        **dict.fromkeys(("raw_orders", "validated_orders", "shop_features_tiles", "shop_features"), FIRST),
    }


@pytest.mark.parametrize(
    ("name", "first", "assets"),
    [
        ("daily_features", EARLY, {*EVENTS, *ORDERS, "user_features_online", "shop_features_online"}),
        ("daily_source_events", EARLY, {*EVENTS, "user_features_online"}),
        ("daily_set_shop_features", FIRST, {*ORDERS, "shop_features_online"}),
    ],
)
def test_the_job_of_everything_begins_with_the_environment_and_those_of_parts_with_their_source(
    platform: Platform, name: str, first: str, assets: set[str]
) -> None:
    job = build_definitions(platform).resolve_job_def(name)
    assert job.partitions_def is not None
    assert job.partitions_def.get_first_partition_key() == first
    assert {key.to_user_string() for key in job.asset_layer.selected_asset_keys} == assets
    assert job.tags["feature_platform/queue"] == "daily_features"


def test_only_the_schedules_of_everything_and_of_health_run_by_themselves(tmp_path: Path) -> None:
    repository = build_definitions(memory_platform(tmp_path, env="prod")).get_repository_def()
    status = {schedule.name: schedule.default_status.value for schedule in repository.schedule_defs}
    assert [name for name, value in status.items() if value == "RUNNING"] == ["daily_features_at_midnight", "hourly_health_at_quarter_past"]
    assert len(status) == 4


def test_a_day_before_a_sources_first_skips_what_rests_on_it_and_nothing_else(job: MainJob) -> None:
    run = job.run(EARLY)
    assert run.success, run.failure
    assert list(materialized(run)) == EVENTS
    assert f"2026-01-10: the source begins on {FIRST} (first_day, or FEATURE_PLATFORM_START_DATE)." in warnings(run)
    assert (run.summary("raw_orders")["outcome"], run.summary("raw_events")["outcome"]) == ("skipped", "succeeded")


def test_a_day_that_upstream_did_not_deliver_skips_what_rests_on_it_and_is_observed_with_why(job: MainJob) -> None:
    put_orders(job.platform, FIRST, 1.0)
    run = job.run(LATER)
    assert run.success, run.failure
    assert list(materialized(run)) == EVENTS
    (observed,) = [event for event in run.result.all_events if event.event_type_value == "ASSET_OBSERVATION"]
    assert (observed.asset_key.to_user_string(), observed.partition) == ("raw_orders", LATER)
    told = observed.asset_observation_data.asset_observation.metadata["skipped"].value
    assert "No raw objects of source 'orders' for 2026-01-13 below s3://memory/raw_uri/orders/dt=2026-01-13/" in told
    assert "Skipped, and with it what rests on this source" in warnings(run)


def test_a_range_over_everything_gives_each_source_its_own_days(job: MainJob) -> None:
    for day in (FIRST, LATER, LAST):
        put_orders(job.platform, day, 1.5)
    run = job.run(EARLY, until=LAST)
    assert run.success, run.failure
    found = materialized(run)
    assert found["user_features"] == [EARLY, "2026-01-11", FIRST, LATER, LAST]
    assert found["raw_orders"] == found["validated_orders"] == found["shop_features"] == [FIRST, LATER, LAST]
    assert (job.latest(), job.latest("shop_features")) == ("v_20260115T000000", "v_20260115T000000")


def test_a_range_with_a_gap_builds_the_days_there_are_and_names_the_other(job: MainJob) -> None:
    put_orders(job.platform, FIRST, 1.0)
    put_orders(job.platform, LAST, 2.0)
    run = job.run(FIRST, until=LAST)
    assert run.success, run.failure
    assert [job.version_of(day, feature_set="shop_features") for day in (FIRST, LATER, LAST)] == [
        "v_20260113T000000", None, "v_20260115T000000",
    ]  # fmt: skip
    for asset in ("raw_orders", "validated_orders", "shop_features_tiles", "shop_features"):
        assert "for 2026-01-13" in run.partitions(asset)[LATER]["skipped"] or "for that day" in run.partitions(asset)[LATER]["skipped"]
    assert warnings(run).count(f"skipped {LATER}: ") == 4


@pytest.mark.parametrize(("day", "why"), [(EARLY, f"the source begins on {FIRST}"), (LATER, "has no raw objects for that day")])
def test_a_set_asked_for_alone_with_nothing_to_build_says_why(job: MainJob, day: str, why: str) -> None:
    put_orders(job.platform, FIRST, 1.0)
    run = job.run(day, only=["shop_features"])
    assert (run.success, run.count("STEP_UP_FOR_RETRY")) == (False, 0)
    assert "Nothing to build." in run.failure
    assert why in run.failure


def test_a_first_day_in_the_future_leaves_the_source_without_partitions(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    platform = memory_platform(tmp_path, contracts=two_sources(tmp_path, first_day="2999-01-01"))
    put_events(platform, EARLY)
    run = MainJob(platform, instance=instance, only=[*EVENTS, *ORDERS]).run(EARLY)
    assert run.success, run.failure
    assert list(materialized(run)) == EVENTS
