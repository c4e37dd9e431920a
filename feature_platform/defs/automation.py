"""Sensors: one starts runs when raw data changed, others report runs to Slack. Jobs and schedules do not belong here (``defs.jobs``)."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Final

import dagster as dg

from feature_platform.core.contract.catalog import Catalog
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.deviation import failures
from feature_platform.core.events.raw import incomplete
from feature_platform.core.publishing.decisions import newest_promotable
from feature_platform.core.versions.currency import Outdated, look_back, ranges
from feature_platform.defs.feature_assets import latest_key
from feature_platform.defs.jobs import QUEUE, AssetJob
from feature_platform.defs.serving_assets import online_key
from feature_platform.defs.summary import CAUSE, summaries
from feature_platform.settings import Settings
from feature_platform.use_cases.currency import look
from feature_platform.use_cases.promote import judge
from feature_platform.use_cases.refresh import REASON
from feature_platform.use_cases.validate import begins
from feature_platform.wiring import Platform

_UNDER_WAY: Final = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


_LONGEST_CAUSE: Final = 500


def raw_sensor(
    catalog: Catalog, *, job: AssetJob, settings: Settings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> dg.SensorDefinition:
    """Rebuilds what rests on raw data that changed: corrected, late and deleted deliveries.

    The raw objects that versions record are compared, by key and ETag, with one listing of each day in a window of the look-back, so that
    the first look also finds changes from before the sensor was switched on. Where neither listings nor logs changed since the last look
    nothing else is read. A delivery that is not complete is not compared. While a run of the job is queued or under way the sensor waits,
    because that run may rebuild the day. Where the run of a backfill's newest day failed, which was to move latest, the sensor asks for a
    run that moves it.
    """

    @dg.sensor(
        name="raw_data_changed",
        job=job,
        minimum_interval_seconds=settings.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.STOPPED if settings.env == "local" else dg.DefaultSensorStatus.RUNNING,
        description=(raw_sensor.__doc__ or "").split("\n")[0],
    )
    def changed(context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]) -> dg.SensorResult:
        today = clock().date()
        listed = {name: _listings(platform, source, today=today) for name, source in sorted(catalog.sources.items())}
        heads = {name: platform.feature_sets.history(name).next_sequence for name in sorted(catalog.contracts)}
        state = _digest([listed, heads])
        if context.cursor == state:
            return dg.SensorResult(skip_reason=f"Nothing changed in the last {settings.look_back_days} days.", cursor=state)
        if context.instance.get_runs(dg.RunsFilter(tags=QUEUE, statuses=_UNDER_WAY), limit=1):
            return dg.SensorResult(
                skip_reason="A run is queued or under way; the sensor looks again when it has ended.", cursor=context.cursor
            )
        requests = [
            request
            for contract in catalog.contracts.values()
            for request in (
                *_requests(platform, contract, listed=listed, today=today),
                *_left_behind(platform, contract, context.instance),
            )
        ]
        if requests:
            return dg.SensorResult(run_requests=requests, cursor=state)
        return dg.SensorResult(skip_reason="Every version rests on the raw data as it is now.", cursor=state)

    return changed


def _requests(platform: Platform, contract: Contract, *, listed: Mapping[str, Mapping[str, str]], today: date) -> Iterator[dg.RunRequest]:
    """One run for each unbroken range of partitions to build; it covers the set, its latest and its online asset.

    The source's assets are left out, because a build validates the days of its window that changed, and no others.
    """
    name, first_of_all = contract.feature_set, begins(platform, contract)
    recognised = {part.day_name(day): told for part in contract.parts for day, told in listed[part.source].items()}
    recognised |= {read: str(platform.feature_sets.history(read).next_sequence) for read in contract.feature_sets}
    to_build = {item.partition: item for item in look(platform, contract, today=today, days=platform.look_back_days).to_build}
    for first, last in ranges(day for day, item in to_build.items() if item.is_buildable and day >= first_of_all):
        items = [item for day, item in to_build.items() if first <= day <= last]
        changed = {change for item in items for change in item.changes}
        changes = sorted(str(change) + recognised.get(change.partition.partition("@")[0], "") for change in changed)
        covered = {} if first == last else {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        yield dg.RunRequest(
            partition_key=first if first == last else None,
            # Dagster drops a request whose key it has seen, so a day that cannot be built is not requested again until it changes.
            run_key=f"{name}:{first}..{last}:{_digest(changes)}",
            asset_selection=[dg.AssetKey(name), latest_key(name), online_key(name)],
            tags={**QUEUE, **covered, CAUSE: _cause(items)},
        )


def _left_behind(platform: Platform, contract: Contract, instance: dg.DagsterInstance) -> Iterator[dg.RunRequest]:
    """A run for latest and online, where a backfill left them to the run of its newest day and that run moved neither.

    A version that was committed outside of a backfill, or by one that leaves latest out, is not promoted: a person decided so.
    """
    name, history = contract.feature_set, platform.feature_sets.history(contract.feature_set)
    for version in newest_promotable(history):
        run = instance.get_run_by_id(platform.feature_sets.metadata(name, version.version).run_id)
        selected = run.asset_selection if run and "dagster/backfill" in run.tags else ()
        is_left = selected is None or latest_key(name) in selected
        if is_left and not failures(judge(platform, contract, history, version)):
            yield dg.RunRequest(
                run_key=f"{name}:latest:{history.next_sequence}",
                asset_selection=[latest_key(name), online_key(name)],
                tags={**QUEUE, CAUSE: f"a backfill made {version.version} and ended without moving latest"},
            )
            return


def _cause(items: Sequence[Outdated]) -> str:
    return f"{REASON}: {', '.join(sorted({str(change) for item in items for change in item.changes}))}"[:_LONGEST_CAUSE]


def _listings(platform: Platform, source: SourceContract, *, today: date) -> dict[str, str]:
    """Day → its listing as text, for every day that a version of the look-back reads: as many days however long the history is."""
    longest = max(
        (part.window_days for each in platform.catalog.contracts.values() for part in each.parts if part.source == source.source), default=1
    )
    days = look_back(today, days=platform.look_back_days + longest - 1, first=platform.first_day)
    return {day: _listing(platform, source, day) for day in days}


def _listing(platform: Platform, source: SourceContract, day: str) -> str:
    """A day's keys, ETags and times of writing, and why it is incomplete. With the times, a file that is changed back is a change too."""
    listed = platform.raw.listed(source.source, day)
    lines = [f"{info.uri} {info.etag} {info.modified_at.isoformat()}" for info in listed]
    return "\n".join([*lines, incomplete(listed, source.complete_when, now=datetime.now(UTC)) or ""])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:20]


def slack_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Sensors that report failed and successful runs to Slack; none where Slack is not configured."""
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
        if not summaries(context.dagster_run.tags):
            return  # a run without summaries, such as that of the health job, is not reported
        told = _summary(context.dagster_run)
        sign = ":warning:" if "outcome skipped" in told else ":white_check_mark:"
        WebClient(token=token).chat_postMessage(channel=channel, text=f"{sign} {told}")

    on_failure = make_slack_on_run_failure_sensor(
        channel=channel, slack_token=token, text_fn=failure_text, name="slack_on_run_failure", default_status=dg.DefaultSensorStatus.RUNNING
    )
    return [on_failure, on_success]


def _summary(run: dg.DagsterRun) -> str:
    """One line from the summaries that the run's steps wrote into its tags."""
    told = [f"{step}: " + ", ".join(f"{name} {value}" for name, value in facts.items()) for step, facts in summaries(run.tags).items()]
    return f"{run.job_name} {run.run_id[:8]} {run.status.value} — " + ("; ".join(told) or "no step got as far as a summary")
