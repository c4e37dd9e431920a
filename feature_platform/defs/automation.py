"""When things run: the daily schedule, the sensor of corrected raw data, and who hears of it. What runs does not belong here."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import dagster as dg

from feature_platform.core.contract.catalog import Catalog
from feature_platform.defs.summary import summaries
from feature_platform.settings import Settings
from feature_platform.wiring import Platform

if TYPE_CHECKING:
    # Dagster returns these and does not export their names.
    from dagster._core.definitions.partitions.partitioned_schedule import UnresolvedPartitionedAssetScheduleDefinition
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition as AssetJob

    PartitionedSchedule = UnresolvedPartitionedAssetScheduleDefinition | dg.ScheduleDefinition

JOB_NAME: Final = "daily_features"
ONE_AT_A_TIME: Final = {"feature_platform/queue": JOB_NAME}
"""Tag that the instance's run queue limits to one run at a time."""
WATCHED_DAYS: Final = 14


def _utc_now() -> datetime:
    return datetime.now(UTC)


def features_job() -> "AssetJob":
    """Everything, for one daily partition."""
    return dg.define_asset_job(
        JOB_NAME,
        selection=dg.AssetSelection.all(),
        tags=ONE_AT_A_TIME,
        description="Raw events to served features, for one day.",
    )


def daily_schedule(job: "AssetJob", *, settings: Settings) -> "PartitionedSchedule":
    """At 00:00 UTC, the day that just ended. It runs in dev and prod; on a laptop it is there to be switched on."""
    status = dg.DefaultScheduleStatus.STOPPED if settings.env == "local" else dg.DefaultScheduleStatus.RUNNING
    return dg.build_schedule_from_partitioned_job(
        job, name="daily_features_at_midnight", hour_of_day=0, minute_of_hour=0, default_status=status
    )


def raw_sensor(catalog: Catalog, *, job: "AssetJob", first_day: date, clock: Callable[[], datetime] = _utc_now) -> dg.SensorDefinition:
    """Rebuilds a day whose raw objects changed after it had been seen: late or corrected deliveries.

    Objects are compared by key and ETag, because a rewritten key does not look newer to a key cursor. The first evaluation only takes
    stock, so that switching the sensor on does not rebuild the past. Of the day that has not ended stock is taken too and nothing more:
    the schedule builds it, and at midnight it is no news.
    """

    @dg.sensor(name="raw_data_changed", job=job, minimum_interval_seconds=300, description=(raw_sensor.__doc__ or "").split("\n")[0])
    def changed(context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]) -> dg.SensorResult:
        seen = json.loads(context.cursor) if context.cursor else None
        today = clock().date()
        found = {day: _fingerprint(platform, sorted(catalog.sources), day) for day in _watched_days(first_day, today=today)}
        found = {day: digest for day, digest in found.items() if digest}
        new = [day for day, digest in found.items() if seen is not None and seen.get(day) != digest and day < today.isoformat()]
        requests = [
            dg.RunRequest(partition_key=day, run_key=f"{day}:{found[day]}", tags={"feature_platform/cause": "raw data changed"})
            for day in new
        ]
        if requests:
            return dg.SensorResult(run_requests=requests, cursor=json.dumps(found))
        why = f"Nothing changed in the last {WATCHED_DAYS} days." if seen is not None else "Took stock of what there is."
        return dg.SensorResult(skip_reason=why, cursor=json.dumps(found))

    return changed


def _watched_days(first_day: date, *, today: date) -> Iterator[str]:
    for back in range(WATCHED_DAYS, -1, -1):
        day = today - timedelta(days=back)
        if day >= first_day:
            yield day.isoformat()


def _fingerprint(platform: Platform, sources: Sequence[str], day: str) -> str | None:
    """A digest of a day's keys and ETags over all sources; None where there is nothing."""
    listed = [f"{info.uri} {info.etag} {info.modified_at.isoformat()}" for source in sources for info in platform.raw.listed(source, day)]
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()[:20] if listed else None


def slack_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Run summaries to Slack, failures first of all; none where Slack is not configured."""
    if settings.slack_token is None or settings.slack_channel is None:
        return []
    from dagster_slack import make_slack_on_run_failure_sensor
    from slack_sdk.web.client import WebClient

    token, channel = settings.slack_token, settings.slack_channel

    def failure_text(context: dg.RunFailureSensorContext) -> str:
        return f":rotating_light: {_summary(context.dagster_run)}\n{context.failure_event.message}"

    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS, name="slack_on_run_success", default_status=dg.DefaultSensorStatus.RUNNING
    )
    def on_success(context: dg.RunStatusSensorContext) -> None:
        WebClient(token=token).chat_postMessage(channel=channel, text=f":white_check_mark: {_summary(context.dagster_run)}")

    on_failure = make_slack_on_run_failure_sensor(
        channel=channel, slack_token=token, text_fn=failure_text, name="slack_on_run_failure", default_status=dg.DefaultSensorStatus.RUNNING
    )
    return [on_failure, on_success]


def _summary(run: dg.DagsterRun) -> str:
    """One line from what the run's steps left in its tags."""
    told = [f"{step}: " + ", ".join(f"{name} {value}" for name, value in facts.items()) for step, facts in summaries(run.tags).items()]
    return f"{run.job_name} {run.run_id[:8]} {run.status.value} — " + ("; ".join(told) or "no step got as far as a summary")
