"""Compare the raw data that a feature set's versions record with the raw data as it is now.

Deciding which versions are outdated does not belong here (``core.versions.currency``), nor building or writing (``use_cases.refresh``).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from itertools import chain

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.layout import as_of, partition_of, window_partitions
from feature_platform.core.publishing.publication import CommittedVersion
from feature_platform.core.versions import currency
from feature_platform.core.versions.currency import Outdated, Pins
from feature_platform.core.versions.log import History, Version
from feature_platform.core.versions.metadata import InputVersion, pins_of
from feature_platform.core.versions.version_metadata import VersionMetadata
from feature_platform.errors import NotFoundError
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.build import code_version
from feature_platform.use_cases.inputs import choose
from feature_platform.use_cases.read_version import metadata_if_whole
from feature_platform.use_cases.validate import begins, first_day, raw_pins


@dataclass(frozen=True, slots=True)
class Currency:
    """The result of a look, oldest first: versions built from other raw data than there is now, and days that never became a version."""

    outdated: tuple[Outdated, ...] = ()
    never_built: tuple[Outdated, ...] = ()

    @property
    def to_build(self) -> list[Outdated]:
        """The items that a build brings up to date, oldest first."""
        found = [item for item in (*self.outdated, *self.never_built) if item.is_current]
        return sorted(found, key=lambda item: item.partition)

    def of(self, version: str | None) -> Outdated | None:
        """The item of one version, where it is outdated."""
        return next((item for item in self.outdated if version is not None and item.version == version), None)


def look(
    platform: Platform, contract: Contract, *, today: date, days: int, also: Collection[str] = (), history: History | None = None
) -> Currency:
    """Compare what versions record with the raw objects that are there: one listing per day, one read per version.

    A version whose metadata is gone or damaged is left out: what it was built from is unknown.

    Args:
        today: The day that has not ended; it and later ones are not looked at.
        days: How many partitions back versions are judged; latest, the newest version and ``also`` are judged whatever their age.
        also: Further versions to judge, e.g. the one that is online.
        history: The state of the log, where it was read already.

    Raises:
        StorageError: The store could not be read.
    """
    history = history or platform.feature_sets.history(contract.feature_set)
    recent = currency.look_back(today, days=days, first=date.fromisoformat(begins(platform, contract)))
    judged = currency.judged_versions(history, since=recent[0] if recent else today.isoformat(), also=also)
    recorded = {version.version: _recorded(platform, contract, version) for version in judged}
    present = _listed(platform, contract, judged, recorded, also=recent)
    return Currency(
        outdated=tuple(currency.outdated_versions(history, judged, recorded=recorded, present=present)),
        never_built=tuple(currency.never_built(history, present=present, days=recent)),
    )


def look_at(platform: Platform, contract: Contract, version: str) -> Outdated | None:
    """How one version's raw data differs from the raw data as it is now; None where it does not, or where the log has no such version."""
    history = platform.feature_sets.history(contract.feature_set)
    found = history.versions.get(version)
    if found is None:
        return None
    recorded = {version: _recorded(platform, contract, found)}
    present = _listed(platform, contract, [found], recorded)
    return next(iter(currency.outdated_versions(history, [found], recorded=recorded, present=present)), None)


def standing(platform: Platform, contract: Contract, partition: str) -> CommittedVersion | None:
    """The version that building a partition would give again, if there is one; it costs one read, and a listing of each day of its window.

    It was built by this contract, these source contracts and this release, from the raw objects that are there now and from the versions
    of other sets that would be read now, and no delivery of its window is incomplete.
    """
    store, moment = platform.feature_sets, as_of(partition)
    newest = store.history(contract.feature_set).newest_of(moment)
    if newest is None:
        return None
    facts = metadata_if_whole(platform, contract.feature_set, newest.version)
    if facts is None:
        return None  # committing the same rows makes the next correction
    sources = platform.catalog.sources_of(contract)
    is_by_these = all(facts.source_hash_of(source.source) == source.schema_hash for source in sources)
    built_by = (facts.schema_hash, facts.sql_hash, facts.code_version)
    recorded = currency.recorded_days(facts) | _inputs(facts.inputs, newest)
    if not recorded or not is_by_these or built_by != (contract.schema_hash, contract.sql_hash, code_version()):
        return None
    present: dict[str, Pins | None] = {**_inputs(choose(platform, contract, moment), newest)}
    for part, source in zip(contract.parts, sources, strict=True):
        first, window = first_day(platform, source), window_partitions(moment, days=part.window_days)
        pins = {day: raw_pins(platform, source, day) if day >= first or day == partition else frozenset() for day in window}
        present |= {part.day_name(day): found for day, found in pins.items()}
    uri = store.layout(contract.feature_set).version(newest.version)
    return CommittedVersion(newest.version, False, uri, facts) if {**dict.fromkeys(present, frozenset()), **recorded} == present else None


def _recorded(platform: Platform, contract: Contract, version: Version) -> dict[str, Pins]:
    described = metadata_if_whole(platform, contract.feature_set, version.version)
    return _recorded_days(contract, described) | _inputs(described.inputs, version) if described else {}


def _inputs(inputs: Iterable[InputVersion], version: Version) -> dict[str, Pins]:
    """The versions of other sets that a version was computed from, each under the name of a day: ``user_features@2026-01-14``."""
    return {f"{item.feature_set}@{partition_of(version.as_of)}": pins_of((), [item]) for item in inputs}


def _recorded_days(contract: Contract, described: VersionMetadata) -> dict[str, Pins]:
    found = currency.recorded_days(described)
    if contract.sources and not any("/" in day for day in found):
        # It was built when the set had one source, so its days name none: the URIs of their objects tell which source it was.
        uris = [uri for pins in found.values() for uri, _ in pins]
        own = next((part for part in contract.parts if any(f"/{part.source}/dt=" in uri for uri in uris)), contract.parts[0])
        return {own.day_name(day): pins for day, pins in found.items()}
    return found


def _listed(
    platform: Platform,
    contract: Contract,
    judged: Sequence[Version],
    recorded: Mapping[str, Mapping[str, Pins]],
    *,
    also: Collection[str] = (),
) -> dict[str, Pins]:
    """Recorded day or input → what is there now; for several sources also each day of ``judged`` and ``also`` → what all of them have.

    Days whose delivery is not complete are left out: they are compared once it is. Where one of several sources has nothing of a day, the
    day counts as one without data.
    """
    present: dict[str, Pins] = {}
    for part in contract.parts:
        source = platform.catalog.source_of(part)
        first, days = first_day(platform, source), set(also)
        for version in judged:
            names = [name for name in recorded[version.version] if "@" not in name]
            of_part = {day for name in names if part.day_name(day := name.rpartition("/")[2]) == name}
            days |= {day for day in of_part if day >= first or day == partition_of(version.as_of)}
        found = {part.day_name(day): raw_pins(platform, source, day) for day in sorted(days)}
        present |= {name: pins for name, pins in found.items() if pins is not None}
    for day in {*also, *(partition_of(version.as_of) for version in judged)} if contract.sources else ():
        known = [present[name] for part in contract.parts if (name := part.day_name(day)) in present]
        if len(known) == len(contract.sources):
            present[day] = frozenset(chain(*known)) if all(known) else frozenset()
    for version in judged if contract.feature_sets else ():
        with suppress(NotFoundError):
            present |= _inputs(choose(platform, contract, version.as_of), version)
    return present
