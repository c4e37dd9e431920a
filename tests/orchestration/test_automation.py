"""When things run by themselves, and who hears of it: schedule, run queue, retries, the sensor of raw data, Slack."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from slack_sdk.web.client import WebClient

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.cli.environment import prepare_instance
from feature_platform.definitions import build_definitions
from feature_platform.wiring import Platform
from tests.support.platforms import MainJob, memory_platform, put_events

SLACK = {"slack_token": "xoxb-test", "slack_channel": "#features"}


def days_ago(count: int) -> str:
    return (datetime.now(UTC).date() - timedelta(days=count)).isoformat()


def recent_platform(home: Path, **given: Any) -> Platform:
    return memory_platform(home, start=datetime.now(UTC).date() - timedelta(days=5), **given)


def evaluate(platform: Platform, cursor: str | None) -> tuple[list[dg.RunRequest], str, str]:
    """What the sensor asks for, its next cursor, and why it asks for nothing."""
    definitions = build_definitions(platform)
    told = (
        definitions.get_repository_def()
        .get_sensor_def("raw_data_changed")
        .evaluate_tick(dg.build_sensor_context(cursor=cursor, definitions=definitions, resources={"platform": platform}))
    )
    return list(told.run_requests or []), told.cursor or "", told.skip_message or ""


# Dagster's own schedule builder calls a function that Dagster deprecates.
@pytest.mark.filterwarnings("ignore:Function `JobDefinition.run_request_for_partition` is deprecated:DeprecationWarning")
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


def test_a_local_instance_runs_the_job_one_at_a_time_and_catches_nothing_up(tmp_path: Path) -> None:
    definitions = build_definitions(memory_platform(tmp_path))
    assert definitions.resolve_job_def("daily_features").tags["feature_platform/queue"] == "daily_features"
    directory = prepare_instance(tmp_path)
    with dg.DagsterInstance.from_config(str(directory)) as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.tag_concurrency_limits == [{"key": "feature_platform/queue", "value": "daily_features", "limit": 1}]
        assert instance.scheduler is not None
        assert getattr(instance.scheduler, "max_catchup_runs", None) == 0
        assert instance.telemetry_enabled is False


def test_every_step_is_retried_once_after_three_minutes(tmp_path: Path) -> None:
    job = build_definitions(memory_platform(tmp_path)).resolve_job_def("daily_features")
    policies = {node.name: node.definition.retry_policy for node in job.graph.nodes if isinstance(node.definition, dg.OpDefinition)}
    assert len(policies) == 7
    assert set(policies.values()) == {dg.RetryPolicy(max_retries=1, delay=180)}


def test_the_first_look_at_raw_data_only_takes_stock(tmp_path: Path) -> None:
    platform = recent_platform(tmp_path)
    put_events(platform, days_ago(2))
    put_events(platform, days_ago(3))
    requests, cursor, message = evaluate(platform, None)
    assert requests == []
    assert message == "Took stock of what there is."
    assert {days_ago(2), days_ago(3)} <= set(json.loads(cursor))
    requests, again, message = evaluate(platform, cursor)
    assert (requests, again) == ([], cursor)
    assert message == "Nothing changed in the last 14 days."


def test_a_corrected_delivery_requests_exactly_its_day_once(tmp_path: Path) -> None:
    platform = recent_platform(tmp_path)
    for back in (2, 3, 4):
        put_events(platform, days_ago(back))
    _, cursor, _ = evaluate(platform, None)
    put_events(platform, days_ago(3), users=(1, 2, 3, 4))
    requests, after, _ = evaluate(platform, cursor)
    assert [(request.partition_key, request.tags["feature_platform/cause"]) for request in requests] == [(days_ago(3), "raw data changed")]
    assert requests[0].run_key == f"{days_ago(3)}:{json.loads(after)[days_ago(3)]}"
    assert json.loads(after)[days_ago(3)] != json.loads(cursor)[days_ago(3)]
    assert evaluate(platform, after)[0] == []


def test_a_file_that_becomes_what_it_was_is_a_change_of_its_own(tmp_path: Path) -> None:
    seconds = iter(range(1_000_000))
    store = MemoryObjectStore(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(seconds)))
    platform = recent_platform(tmp_path, store=store)
    put_events(platform, days_ago(2))
    cursor, keys = evaluate(platform, None)[1], set()
    for users in ((1, 2), (1, 2, 3), (1, 2)):
        put_events(platform, days_ago(2), users=users)
        requests, cursor, _ = evaluate(platform, cursor)
        keys |= {request.run_key for request in requests}
    assert len(keys) == 3


def test_a_day_delivered_late_is_requested_and_the_unfinished_day_is_not(tmp_path: Path) -> None:
    platform = recent_platform(tmp_path)
    put_events(platform, days_ago(4))
    _, cursor, _ = evaluate(platform, None)
    put_events(platform, days_ago(2))
    put_events(platform, days_ago(0))
    put_events(platform, days_ago(6))
    requests, _, _ = evaluate(platform, cursor)
    assert [request.partition_key for request in requests] == [days_ago(2)]


def test_a_day_whose_files_were_seen_before_it_ended_is_left_to_the_schedule(tmp_path: Path) -> None:
    """Otherwise every day would be built twice: by the schedule, and by the sensor that sees it for the first time just after midnight."""
    platform = recent_platform(tmp_path)
    put_events(platform, days_ago(0))
    _, cursor, _ = evaluate(platform, None)
    assert days_ago(0) in json.loads(cursor)


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

    run = MainJob(platform, instance=instance).run("2026-01-10", only=["raw_events"])
    assert not run.success
    failed = instance.get_run_by_id(run.result.run_id)
    assert failed is not None
    event = next(e for e in run.result.all_events if e.event_type_value == "PIPELINE_FAILURE")
    context = dg.build_run_status_sensor_context("slack_on_run_failure", event, instance, failed)
    sensors["slack_on_run_failure"](context.for_run_failure())

    put_events(platform, "2026-01-10")
    run = MainJob(platform, instance=instance).run("2026-01-10", only=["raw_events"])
    done = instance.get_run_by_id(run.result.run_id)
    assert done is not None
    event = next(e for e in run.result.all_events if e.event_type_value == "PIPELINE_SUCCESS")
    sensors["slack_on_run_success"](dg.build_run_status_sensor_context("slack_on_run_success", event, instance, done))

    assert [channel for channel, _ in slack] == ["#features", "#features"]
    failure, success = slack[0][1], slack[1][1]
    assert f"daily_features {failed.run_id[:8]} FAILURE — raw_events: feature_set events, partition 2026-01-10" in failure
    assert "outcome failed" in failure
    assert "SUCCESS — raw_events: feature_set events, partition 2026-01-10" in success
    assert "rows 3, outcome succeeded" in success
    assert SLACK["slack_token"] not in repr(platform.settings) + "".join(text for _, text in slack)
