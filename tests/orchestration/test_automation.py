"""When things run by themselves, and who hears of it: schedule, run queue, retries, the sensor of raw data, Slack."""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.instance.config import PoolGranularity
from slack_sdk.web.client import WebClient

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.cli.environment import prepare_instance
from feature_platform.definitions import build_definitions
from feature_platform.use_cases.build import build
from feature_platform.use_cases.commit import commit
from feature_platform.use_cases.promote import move_latest
from feature_platform.wiring import Platform
from tests.support.platforms import QUIET, RANGE, MainJob, memory_platform, put_events

SLACK = {"slack_token": "xoxb-test", "slack_channel": "#features"}


def days_ago(count: int) -> str:
    return (datetime.now(UTC).date() - timedelta(days=count)).isoformat()


def recent_platform(home: Path, **given: Any) -> Platform:
    return memory_platform(home, start=datetime.now(UTC).date() - timedelta(days=5), **given)


def evaluate(
    platform: Platform, cursor: str | None, *, instance: dg.DagsterInstance | None = None
) -> tuple[list[dg.RunRequest], str | None, str]:
    """What the sensor asks for, its next cursor, and why it asks for nothing."""
    definitions = build_definitions(platform)
    with nullcontext(instance) if instance else dg.DagsterInstance.ephemeral() as known:
        context = dg.build_sensor_context(cursor=cursor, instance=known, definitions=definitions, resources={"platform": platform})
        told = definitions.get_repository_def().get_sensor_def("raw_data_changed").evaluate_tick(context)
    return list(told.run_requests or []), told.cursor, told.skip_message or ""


def asked(requests: Sequence[dg.RunRequest]) -> list[tuple[str, str]]:
    """The partitions of each request, first and last."""
    return [
        (request.partition_key, request.partition_key) if request.partition_key else (request.tags[RANGE[0]], request.tags[RANGE[1]])
        for request in requests
    ]


def published(platform: Platform, *days: str) -> None:
    """Deliver and publish days, oldest first, as runs of the job do."""
    contract = platform.catalog.contract("user_features")
    for day in days:
        put_events(platform, day)
        commit(platform, "user_features", day, build(platform, contract, day, run_id=f"run-{day}", on_validated=lambda _: None))
    move_latest(platform, contract, actor="test", log=lambda _: None)


# Dagster's own schedule builder calls a function that Dagster deprecates.
@pytest.mark.filterwarnings("ignore:Function `UnresolvedAssetJobDefinition.run_request_for_partition` is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("tick", "partition"),
    [
        (datetime(2026, 1, 15, tzinfo=UTC), "2026-01-14"),
        (datetime(2026, 3, 1, tzinfo=UTC), "2026-02-28"),
        (datetime(2026, 3, 29, tzinfo=UTC), "2026-03-28"),
    ],
)
def test_the_schedule_runs_the_day_that_just_ended_at_midnight_utc(tick: datetime, partition: str, tmp_path: Path) -> None:
    definitions = build_definitions(memory_platform(tmp_path))
    schedule = definitions.get_repository_def().get_schedule_def("daily_features_at_midnight")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 0 * * *", "UTC")
    context = dg.build_schedule_context(scheduled_execution_time=tick, repository_def=definitions.get_repository_def())
    requests = schedule.evaluate_tick(context).run_requests
    assert [request.partition_key for request in requests or []] == [partition]


def test_the_schedule_is_on_in_dev_and_prod_and_off_on_a_laptop(tmp_path: Path) -> None:
    found = {}
    for env in ("local", "dev", "prod"):
        repository = build_definitions(memory_platform(tmp_path, env=env)).get_repository_def()
        found[env] = repository.get_schedule_def("daily_features_at_midnight").default_status.value
    assert found == {"local": "STOPPED", "dev": "RUNNING", "prod": "RUNNING"}


def test_a_local_instance_builds_two_days_at_a_time_serves_by_one_step_and_catches_nothing_up(tmp_path: Path) -> None:
    definitions = build_definitions(memory_platform(tmp_path))
    assert definitions.resolve_job_def("daily_features").tags["feature_platform/queue"] == "daily_features"
    directory = prepare_instance(tmp_path)
    with dg.DagsterInstance.from_config(str(directory)) as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.tag_concurrency_limits == [{"key": "feature_platform/queue", "value": "daily_features", "limit": 2}]
        pools = instance.get_concurrency_config().pool_config
        assert (pools.default_pool_limit, pools.pool_granularity) == (1, PoolGranularity.OP)
        assert instance.scheduler is not None
        assert getattr(instance.scheduler, "max_catchup_runs", None) == 0
        assert instance.telemetry_enabled is False


def test_no_step_has_a_retry_policy_of_dagsters_which_would_retry_what_a_person_ended(tmp_path: Path) -> None:
    job = build_definitions(memory_platform(tmp_path)).resolve_job_def("daily_features")
    assert {node.definition.retry_policy for node in job.graph.nodes if isinstance(node.definition, dg.OpDefinition)} == {None}


def test_the_first_look_finds_what_was_corrected_before_it_and_asks_for_every_version_that_rests_on_it_once(tmp_path: Path) -> None:
    platform = recent_platform(tmp_path)
    published(platform, *(days_ago(back) for back in (5, 4, 3, 2)))
    assert evaluate(platform, None)[0::2] == ([], "Every version rests on the raw data as it is now.")
    put_events(platform, days_ago(4), users=(1, 2, 3, 4))
    requests, cursor, _ = evaluate(platform, None)
    assert asked(requests) == [(days_ago(4), days_ago(2))]
    assert requests[0].tags["feature_platform/cause"] == f"raw data changed: {days_ago(4)} (changed)"
    assert {key.to_user_string() for key in requests[0].asset_selection or []} == {
        "user_features", "user_features_latest", "user_features_online",
    }  # fmt: skip
    assert evaluate(platform, cursor)[0::2] == ([], "Nothing changed in the last 14 days.")


def test_what_the_sensor_asks_for_mends_every_version_and_a_second_look_finds_nothing(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    platform = recent_platform(tmp_path)
    published(platform, days_ago(3), days_ago(2))
    put_events(platform, days_ago(3), users=(1, 2, 3, 4))
    [request] = evaluate(platform, None)[0]
    first, last = asked([request])[0]
    run = MainJob(platform, instance=instance).run(first, until=last, only=["user_features", "user_features_latest"])
    assert run.success, run.failure
    assert run.metadata("user_features_latest")["dagster/row_count"] == 4
    assert evaluate(platform, None)[0::2] == ([], "Every version rests on the raw data as it is now.")


def test_a_file_that_becomes_what_it_was_is_a_change_of_its_own(tmp_path: Path) -> None:
    seconds = iter(range(1_000_000))
    store = MemoryObjectStore(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(seconds)))
    platform = recent_platform(tmp_path, store=store)
    published(platform, days_ago(2))
    keys = set()
    for users in ((1, 2), (1,), (1, 2)):
        put_events(platform, days_ago(2), users=users)
        keys |= {request.run_key for request in evaluate(platform, None)[0]}
    assert len(keys) == 3


def test_a_late_day_is_built_with_those_that_lacked_it_and_the_unfinished_day_is_not(tmp_path: Path) -> None:
    platform = recent_platform(tmp_path)
    published(platform, days_ago(4), days_ago(2))
    put_events(platform, days_ago(3))
    put_events(platform, days_ago(0))
    assert asked(evaluate(platform, None)[0]) == [(days_ago(3), days_ago(2))]


def test_a_day_whose_objects_were_deleted_is_left_out_and_the_days_after_it_are_rebuilt(tmp_path: Path) -> None:
    platform = recent_platform(tmp_path)
    published(platform, days_ago(4), days_ago(3), days_ago(2))
    platform.objects.delete(f"s3://memory/raw_uri/events/dt={days_ago(3)}/part-0.jsonl")
    assert asked(evaluate(platform, None)[0]) == [(days_ago(2), days_ago(2))]


def test_while_a_run_is_under_way_the_sensor_waits_and_then_looks_again(tmp_path: Path) -> None:
    """Otherwise every day would be built twice: by the schedule, and by the sensor that looks while the schedule's run is under way."""
    platform = recent_platform(tmp_path)
    put_events(platform, days_ago(1))
    job = build_definitions(platform).resolve_job_def("daily_features")
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=dict(job.tags))
        assert evaluate(platform, None, instance=instance) == (
            [],
            None,
            "A run is queued or under way; the sensor looks again when it has ended.",
        )
        instance.report_run_failed(run)
        assert asked(evaluate(platform, None, instance=instance)[0]) == [(days_ago(1), days_ago(1))]


def test_look_back_and_interval_are_settings(tmp_path: Path) -> None:
    platform = recent_platform(tmp_path, look_back_days=2, sensor_interval_s=60)
    published(platform, days_ago(4), days_ago(3), days_ago(2))
    put_events(platform, days_ago(4), users=(1,))
    assert asked(evaluate(platform, None)[0]) == [(days_ago(2), days_ago(2))]
    assert build_definitions(platform).get_repository_def().get_sensor_def("raw_data_changed").minimum_interval_seconds == 60


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What Slack would be sent; the client's network call is the only thing replaced."""
    sent: list[tuple[str, str]] = []
    monkeypatch.setattr(WebClient, "chat_postMessage", lambda _, **message: sent.append((message["channel"], message["text"])))
    return sent


def test_slack_hears_of_runs_where_it_is_configured(tmp_path: Path, instance: dg.DagsterInstance, slack: list[tuple[str, str]]) -> None:
    platform = memory_platform(tmp_path, **SLACK)
    definitions = build_definitions(platform)
    sensors = {sensor.name: sensor for sensor in definitions.get_repository_def().sensor_defs}
    assert sorted(sensors) == ["raw_data_changed", "slack_on_run_failure", "slack_on_run_success"]
    assert sensors["slack_on_run_failure"].default_status == sensors["slack_on_run_success"].default_status
    assert sensors["slack_on_run_failure"].default_status == dg.DefaultSensorStatus.RUNNING

    run = MainJob(platform, instance=instance).run("2026-01-10", only=["validated_events"])
    assert not run.success
    failed = instance.get_run_by_id(run.result.run_id)
    assert failed is not None
    event = next(e for e in run.result.all_events if e.event_type_value == "PIPELINE_FAILURE")
    context = dg.build_run_status_sensor_context("slack_on_run_failure", event, instance, failed)
    sensors["slack_on_run_failure"](context.for_run_failure())

    for is_delivered in (False, True):
        if is_delivered:
            put_events(platform, "2026-01-10")
        run = MainJob(platform, instance=instance).run("2026-01-10", only=["raw_events"])
        done = instance.get_run_by_id(run.result.run_id)
        assert done is not None
        event = next(e for e in run.result.all_events if e.event_type_value == "PIPELINE_SUCCESS")
        sensors["slack_on_run_success"](dg.build_run_status_sensor_context("slack_on_run_success", event, instance, done))

    looked = definitions.resolve_job_def("hourly_health").execute_in_process(instance=instance, run_config=QUIET)
    done, event = instance.get_run_by_id(looked.run_id), next(e for e in looked.all_events if e.event_type_value == "PIPELINE_SUCCESS")
    assert done is not None
    sensors["slack_on_run_success"](dg.build_run_status_sensor_context("slack_on_run_success", event, instance, done))

    assert [channel for channel, _ in slack] == ["#features"] * 3
    failure, skipped, success = (text for _, text in slack)
    assert skipped.startswith(":warning: ")
    assert "outcome skipped" in skipped
    assert success.startswith(":white_check_mark: ")
    assert f"daily_features {failed.run_id[:8]} FAILURE — validated_events: feature_set events, partition 2026-01-10" in failure
    assert "outcome failed" in failure
    assert "SUCCESS — raw_events: feature_set events, partition 2026-01-10" in success
    assert "objects 1, outcome succeeded" in success
    assert SLACK["slack_token"] not in repr(platform.settings) + "".join(text for _, text in slack)
