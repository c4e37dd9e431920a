"""Plan and build the days of a range that lack a version by the deployed contract and the raw data as they are now.

Rebuilding whatever raw data changed, without a range, does not belong here (``use_cases.refresh``).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache

from feature_platform.core import layout
from feature_platform.core.compute.tiles import has_tiles
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.versions.log import Version
from feature_platform.errors import NotFoundError
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.contracts import require_announced
from feature_platform.use_cases.currency import look
from feature_platform.use_cases.promote import Log
from feature_platform.use_cases.refresh import Built, follow, rebuild
from feature_platform.use_cases.validate import begins, first_day


@dataclass(frozen=True, slots=True)
class PlannedDay:
    """One day of the range: the version it has, why it is built (empty where it is not), and whether upstream delivered it."""

    partition: str
    version: str | None
    why: str
    is_delivered: bool

    @property
    def is_to_build(self) -> bool:
        return bool(self.why) and self.is_delivered


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """The days of a range, oldest first; bytes of raw objects in all windows that are built; how windows are read; what latest will be."""

    days: tuple[PlannedDay, ...]
    raw_bytes: int
    reads: str
    latest: str

    @property
    def to_build(self) -> list[PlannedDay]:
        return [day for day in self.days if day.is_to_build]


def plan_backfill(platform: Platform, contract: Contract, *, first: date, last: date) -> BackfillPlan:
    """What a backfill of a range would do; nothing is written.

    Raises:
        NotFoundError: The range has no day that the source can have.
        StorageError: The store could not be read.
    """
    name, first_of_all = contract.feature_set, begins(platform, contract)
    partitions = [(first + timedelta(days=place)).isoformat() for place in range((last - first).days + 1)]
    partitions = [partition for partition in partitions if partition >= first_of_all]
    if not partitions:
        raise NotFoundError(f"{name} begins on {first_of_all}, as its sources do; no day from {first} to {last} can be built.")
    history = platform.feature_sets.history(name)
    found = look(platform, contract, today=last + timedelta(days=1), days=len(partitions), history=history)
    changed = {item.partition: f"raw data changed: {item.why}" for item in found.outdated if item.is_current}
    listed = cache(platform.raw.listed)
    days = []
    for partition in partitions:
        version = history.newest_of(layout.as_of(partition))
        why = "never built" if version is None else changed.get(partition, "")
        if version is not None and not why and _is_of_another_contract(platform, contract, version):
            why = "built by another contract"
        is_delivered = bool(why) and all(listed(source, partition) for source in contract.source_names)
        days.append(PlannedDay(partition, version.version if version else None, why, is_delivered or not why))
    building = [day.partition for day in days if day.is_to_build]
    return BackfillPlan(
        days=tuple(days),
        raw_bytes=sum(info.size_bytes for source, key in _windows(platform, contract, building) for info in listed(source, key)),
        reads=_reads(contract, len(building)),
        latest=_latest(building, head=history.head_version.version if history.head_version else None),
    )


def backfill(platform: Platform, contract: Contract, plan: BackfillPlan, *, run_id: str, actor: str, log: Log) -> list[Built]:
    """Build what a plan names, oldest first; then move latest once, and load online once where it is behind.

    A day that cannot be built does not stop the others. If it is ended at any moment, a new plan has the days that are left.
    """
    if plan.to_build:
        require_announced(platform, contract)
    versions = len(plan.to_build)
    done = []
    for place, day in enumerate(plan.to_build, start=1):
        log(f"{contract.feature_set}: {place} of {versions}, {day.partition}")
        reason = f"backfill: {day.why}"
        done.append(rebuild(platform, contract, day.partition, reason=reason, run_id=run_id, actor=actor, log=log, versions=versions))
    follow(platform, contract, actor=actor, log=log)
    return done


def _is_of_another_contract(platform: Platform, contract: Contract, version: Version) -> bool:
    if version.schema_hash != contract.schema_hash or contract.sql is None:
        return version.schema_hash != contract.schema_hash
    built_by = platform.feature_sets.metadata(contract.feature_set, version.version).sql_hash
    return built_by is not None and built_by != contract.sql_hash


def _windows(platform: Platform, contract: Contract, partitions: Iterable[str]) -> set[tuple[str, str]]:
    """Source and day of everything that versions of these partitions read."""
    moments = [layout.as_of(partition) for partition in partitions]
    return {
        (part.source, key)
        for part in contract.parts
        for moment in moments
        for key in layout.window_partitions(moment, days=part.window_days)
        if key >= first_day(platform, platform.catalog.source_of(part))
    }


def _reads(contract: Contract, versions: int) -> str:
    if not versions:
        return "nothing"
    if versions > 1 and has_tiles(contract):
        return "each day once, for its tile; windows merge tiles"
    return "tiles where half of a window has them, else its events" if has_tiles(contract) else "the events of each window"


def _latest(building: list[str], *, head: str | None) -> str:
    newest = building[-1] if building else None
    if newest is None or (head is not None and layout.version_moment(head) > layout.as_of(newest)):
        return f"stays {head}" if head else "none, as now"
    now = f"; now {head}" if head else ""
    return f"that of {newest} ({layout.version_id(layout.as_of(newest))} or a correction of it), if it passes its checks{now}"
