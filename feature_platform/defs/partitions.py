"""Partitions: the days of a source, and the days that a run covers. Naming versions does not belong here (``core.layout``)."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, TypeVar

import dagster as dg

from feature_platform.errors import NotFoundError

T = TypeVar("T")
RECOMPUTE = "feature_platform/recompute"
"""Tag of a backfill; ``true`` makes it compute every day, also a finished one."""


class SourceDays(dg.DailyPartitionsDefinition):
    """One partition for each whole UTC day from a source's first day on.

    Dagster shows an asset, and counts its missing partitions, by its own days. It lets assets share a run, a job or a command only where
    their partitions are equal, but sources begin on different days. So these definitions compare equal whatever day they begin with, and a
    run may name a day that some of its sources never had (:func:`each_day` leaves it out).
    """

    @property
    def first_day(self) -> str:
        return self.start.date().isoformat()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SourceDays)

    def __ne__(self, other: object) -> bool:
        return not self == other  # Dagster's class derives from tuple, which defines its own __ne__

    def __hash__(self) -> int:
        return hash(SourceDays)

    def validate_partition_key(self, partition_key: str, context: Any = None) -> None:
        """Accept also days before the first, for which there is nothing to do."""
        try:
            is_early = date.fromisoformat(partition_key).isoformat() < self.first_day
        except ValueError:
            is_early = False
        if not is_early:
            super().validate_partition_key(partition_key, context)

    def get_partition_keys_in_range(self, partition_key_range: dg.PartitionKeyRange) -> Sequence[str]:
        """The days of a range that the source can have."""
        return [day for day in _days(partition_key_range) if day >= self.first_day]

    # Dagster caches the results of these two by equality, which here ignores the first day; so they are not cached.
    _get_first_partition_window = dg.TimeWindowPartitionsDefinition._get_first_partition_window.__wrapped__  # type: ignore[assignment]
    _get_last_partition_window = dg.TimeWindowPartitionsDefinition._get_last_partition_window.__wrapped__  # type: ignore[assignment]


def days_since(first_day: str) -> SourceDays:
    """One partition for each whole UTC day from ``first_day`` on, ``YYYY-MM-DD``."""
    return SourceDays(start_date=first_day, timezone="UTC")


def partitions_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Sequence[str]:
    """The days that a run covers, oldest first, also those that the step's source does not have; none for a step without partitions."""
    if not context.has_partition_key and not context.has_partition_key_range:
        return ()
    return _days(context.partition_key_range)


def each_day(context: dg.AssetExecutionContext, days: SourceDays, work: Callable[[str], T]) -> dict[str, T]:
    """The result of ``work`` for each day of a run. Days without data are left out, and logged with the reason.

    Raises:
        NotFoundError: No day has data; the message has every reason.
    """
    covered = partitions_of(context)
    early = [day for day in covered if day < days.first_day]
    reasons = (
        [f"{span(early, between=' to ')}: the source begins on {days.first_day} (first_day, or FEATURE_PLATFORM_START_DATE)."]
        if early
        else []
    )
    done = {}
    for day in covered[len(early) :]:
        try:
            done[day] = work(day)
        except NotFoundError as error:
            reasons.append(f"{day}: {error}")
            if len(covered) > 1:
                context.add_asset_metadata({"skipped": str(error)}, partition_key=day)
    if not done:
        raise NotFoundError("Nothing to build. " + "\n".join(reasons))
    for reason in reasons:
        context.log.warning(f"skipped {reason}")
    return done


def newer_days(context: dg.AssetExecutionContext) -> list[str]:
    """The days of a run's backfill that are newer than the run's own, newest first: still to come, under way or built.

    Days whose run failed or was ended are left out. Empty outside of a backfill that has a run for each day, and where the backfill failed
    or was ended.
    """
    tags = _tags(context)
    of_backfill = {"dagster/backfill": tags.get("dagster/backfill", "")}
    backfill = context.instance.get_backfill(of_backfill["dagster/backfill"]) if of_backfill["dagster/backfill"] else None
    if backfill is None or backfill.status.value in {"CANCELING", "CANCELED", "FAILING", "FAILED"}:
        return []
    ended = dg.RunsFilter(tags=of_backfill, statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
    failed = {run.tags.get("dagster/partition") for run in context.instance.get_runs(ended)}
    own = tags.get("dagster/partition", "")
    return sorted((day for day in backfill.partition_names or () if day > own and day not in failed), reverse=True)


def leaves_finished_days(context: dg.AssetExecutionContext) -> bool:
    """Whether a run computes no finished day again: it belongs to a backfill whose tag :data:`RECOMPUTE` is not ``true``."""
    tags = _tags(context)
    return "dagster/backfill" in tags and tags.get(RECOMPUTE) != "true"


def _tags(context: dg.AssetExecutionContext) -> Mapping[str, str]:
    try:
        return context.run.tags
    except dg.DagsterError:
        return {}  # an asset called as a function


def result_metadata(context: dg.AssetExecutionContext, by_partition: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The metadata that a step returns: that of the run's one partition; of several, none, because each is attached to its partition."""
    if len(partitions_of(context)) == 1:
        return next(iter(by_partition.values()))
    for partition, metadata in by_partition.items():
        context.add_asset_metadata(metadata, partition_key=partition)
    return {}


def _days(given: dg.PartitionKeyRange) -> list[str]:
    first, last = date.fromisoformat(given.start), date.fromisoformat(given.end)
    return [(first + timedelta(days=count)).isoformat() for count in range((last - first).days + 1)]


def span(items: Sequence[str], *, between: str) -> str:
    """The first and the last of some days or versions, or the only one."""
    return items[0] if len(items) == 1 else f"{items[0]}{between}{items[-1]}"
