"""Whether a version was built from the raw data as it is now: the objects it records for each day against those a listing shows today.

Listing raw objects and reading metadata do not belong here (``use_cases.currency``), nor building again (``use_cases.refresh``).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from feature_platform.core.layout import as_of, partition_of
from feature_platform.core.versions.log import History, Version
from feature_platform.core.versions.version_metadata import VersionMetadata

Pins = frozenset[tuple[str, str]]
"""URI and ETag of every raw object of one day that holds data; empty for a day without any."""

Kind = Literal["changed", "vanished", "arrived"]


@dataclass(frozen=True, slots=True)
class DayChange:
    """One day whose raw objects differ from those a version records: changed, vanished (none are left) or arrived (none were there)."""

    partition: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.partition} ({self.kind})"


@dataclass(frozen=True, slots=True)
class Outdated:
    """One partition whose newest version was not built from the raw data as it is now.

    ``version`` is None where the partition was never built. ``is_buildable`` is False where the partition's own day has no raw objects: it
    can be rebuilt only when they return. ``is_current`` is False for a version that a correction of the same moment has superseded, which
    only matters while latest or online still show it.
    """

    partition: str
    version: str | None
    changes: tuple[DayChange, ...]
    is_buildable: bool
    is_current: bool = True

    @property
    def why(self) -> str:
        """The changed days, for people."""
        return ", ".join(str(change) for change in self.changes)


def recorded_days(metadata: VersionMetadata) -> dict[str, Pins]:
    """Day → the raw objects that a version was computed from, days it lacked included; empty for a version that records none."""
    if not metadata.sources:
        return {}
    days: dict[str, set[tuple[str, str]]] = {day: set() for day in (*metadata.missing_partitions, *metadata.earlier_partitions)}
    for item in metadata.sources:
        days.setdefault(item.partition, set()).add((item.uri, item.etag))
    return {day: frozenset(pins) for day, pins in sorted(days.items())}


def day_changes(recorded: Mapping[str, Pins], present: Mapping[str, Pins]) -> tuple[DayChange, ...]:
    """The days on which a version's record and a listing differ, oldest first; days that only one of the two has are not compared.

    >>> day_changes({"2026-01-14": frozenset({("a", "1")})}, {"2026-01-14": frozenset()})[0].kind
    'vanished'
    """
    return tuple(
        DayChange(day, "vanished" if not present[day] else "changed" if recorded[day] else "arrived")
        for day in sorted(recorded.keys() & present.keys())
        if recorded[day] != present[day]
    )


def judged_versions(history: History, *, since: str, also: Collection[str] = ()) -> list[Version]:
    """The versions whose currency matters, oldest first: each moment's newest from partition ``since`` on, the newest of all, the head.

    Args:
        since: The oldest partition that is looked at, ``YYYY-MM-DD``.
        also: Versions that something else shows, e.g. the online store; unknown ones are left out.
    """
    chosen = {version.version for version in history.newest_of_each_moment if partition_of(version.as_of) >= since}
    chosen |= {version.version for version in history.live[-1:]} | {name for name in also if name in history.versions}
    chosen |= {history.head.version} if history.head else set()
    return sorted((history.versions[name] for name in chosen), key=lambda version: version.order)


def outdated_versions(
    history: History, judged: Sequence[Version], *, recorded: Mapping[str, Mapping[str, Pins]], present: Mapping[str, Pins]
) -> list[Outdated]:
    """Which of the judged versions were built from other raw objects than there are now, oldest first.

    Args:
        recorded: Version → what it records (:func:`recorded_days`).
        present: Day → what a listing shows.
    """
    found = []
    for version in judged:
        changes = day_changes(recorded[version.version], present)
        if changes:
            partition, newest = partition_of(version.as_of), history.newest_of(version.as_of)
            is_current = newest is not None and newest.version == version.version
            found.append(Outdated(partition, version.version, changes, bool(present.get(partition, True)), is_current))
    return found


def never_built(history: History, *, present: Mapping[str, Pins], days: Iterable[str]) -> list[Outdated]:
    """Days with raw objects whose partition never had a version, oldest first; no days before the first version.

    Whether to publish a feature set's past for the first time is a person's decision. For a set without any version only its newest day is
    returned. A moment whose versions retention removed had one, so it is not returned.
    """
    built = {version.as_of for version in history.versions.values()}
    lacking = [day for day in sorted(days) if present.get(day) and as_of(day) not in built]
    lacking = [day for day in lacking if as_of(day) > min(built)] if built else lacking[-1:]
    return [Outdated(day, None, (DayChange(day, "arrived"),), is_buildable=True) for day in lacking]


def look_back(today: date, *, days: int, first: date) -> list[str]:
    """The whole days before today that are compared, oldest first: ``days`` of them, none before ``first``.

    >>> look_back(date(2026, 1, 15), days=3, first=date(2026, 1, 13))
    ['2026-01-13', '2026-01-14']
    """
    back = (today - timedelta(days=count) for count in range(days, 0, -1))
    return [day.isoformat() for day in back if day >= first]


def ranges(partitions: Iterable[str]) -> list[tuple[str, str]]:
    """Days as ranges without gaps, both ends included, oldest first.

    >>> ranges(["2026-01-30", "2026-02-01", "2026-01-31", "2026-02-03"])
    [('2026-01-30', '2026-02-01'), ('2026-02-03', '2026-02-03')]
    """
    found: list[tuple[str, str]] = []
    for day in sorted(partitions):
        if found and date.fromisoformat(found[-1][1]) + timedelta(days=1) == date.fromisoformat(day):
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found
