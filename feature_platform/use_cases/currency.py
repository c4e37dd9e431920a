"""Look whether a feature set's versions rest on the raw data as it is now. What follows from the look is ``core.versions.currency``.

Nothing is built or written here (``use_cases.refresh``).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.layout import as_of, partition_of, window_partitions
from feature_platform.core.publishing.publication import CommittedVersion
from feature_platform.core.versions import currency
from feature_platform.core.versions.currency import Outdated, Pins
from feature_platform.core.versions.log import History, Version
from feature_platform.errors import NotFoundError
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.build import code_version
from feature_platform.use_cases.validate import first_day, raw_pins


@dataclass(frozen=True, slots=True)
class Currency:
    """What a look found, oldest first: versions that rest on other raw data than there is, and days that never became a version."""

    outdated: tuple[Outdated, ...] = ()
    never_built: tuple[Outdated, ...] = ()

    @property
    def to_build(self) -> list[Outdated]:
        """What building again mends, oldest first."""
        found = [item for item in (*self.outdated, *self.never_built) if item.is_current]
        return sorted(found, key=lambda item: item.partition)

    def of(self, version: str | None) -> Outdated | None:
        """What was found of one version."""
        return next((item for item in self.outdated if version is not None and item.version == version), None)


def look(
    platform: Platform, contract: Contract, *, today: date, days: int, also: Collection[str] = (), history: History | None = None
) -> Currency:
    """Compare what versions record with the raw objects that are there: one listing per day, one read per version.

    Args:
        platform: The environment.
        contract: The feature set.
        today: The day that has not ended; it and later ones are not looked at.
        days: How many partitions back versions are judged; latest, the newest version and ``also`` are judged whatever their age.
        also: Further versions to judge, e.g. the one that is online.
        history: The state of the log, where it was read already.

    Raises:
        StorageError: The store could not be read, or a version's metadata is damaged.
    """
    source, history = platform.catalog.source_of(contract), history or platform.feature_sets.history(contract.feature_set)
    recent = currency.look_back(today, days=days, first=date.fromisoformat(first_day(platform, source)))
    judged = currency.judged_versions(history, since=recent[0] if recent else today.isoformat(), also=also)
    recorded = {version.version: _recorded(platform, contract, version) for version in judged}
    first = first_day(platform, source)
    windows = {day for version in judged for day in recorded[version.version] if day >= first or day == partition_of(version.as_of)}
    present = _listed(platform, source, {*recent, *windows})
    return Currency(
        outdated=tuple(currency.outdated_versions(history, judged, recorded=recorded, present=present)),
        never_built=tuple(currency.never_built(history, present=present, days=recent)),
    )


def look_at(platform: Platform, contract: Contract, version: str) -> Outdated | None:
    """Whether one version rests on the raw data as it is now; None where it does, or where it is not known.

    Raises:
        StorageError: The store could not be read.
    """
    history = platform.feature_sets.history(contract.feature_set)
    found = history.versions.get(version)
    if found is None:
        return None
    recorded, source = _recorded(platform, contract, found), platform.catalog.source_of(contract)
    first = first_day(platform, source)
    present = _listed(platform, source, [day for day in recorded if day >= first or day == partition_of(found.as_of)])
    return next(iter(currency.outdated_versions(history, [found], recorded={version: recorded}, present=present)), None)


def standing(platform: Platform, contract: Contract, partition: str) -> CommittedVersion | None:
    """The version that building a partition would give again, if there is one; by one read, and a listing of each day of its window.

    It was built by this contract, this source contract and this release, from the raw objects that are there now, and no delivery of its
    window is incomplete.
    """
    store, source, moment = platform.feature_sets, platform.catalog.source_of(contract), as_of(partition)
    newest = store.history(contract.feature_set).newest_of(moment)
    if newest is None:
        return None
    try:
        facts = store.metadata(contract.feature_set, newest.version)
    except NotFoundError:
        return None  # committing the same rows says what is gone; here it would read as a day without data
    built_by = (facts.schema_hash, facts.source_hash, facts.sql_hash, facts.code_version)
    recorded, window = currency.recorded_days(facts), window_partitions(moment, days=contract.window_days)
    if not recorded or built_by != (contract.schema_hash, source.schema_hash, contract.sql_hash, code_version()):
        return None
    first = first_day(platform, source)
    present = {day: raw_pins(platform, source, day) if day >= first or day == partition else frozenset() for day in window}
    uri = store.layout(contract.feature_set).version(newest.version)
    return CommittedVersion(newest.version, False, uri, facts) if {**dict.fromkeys(window, frozenset()), **recorded} == present else None


def _recorded(platform: Platform, contract: Contract, version: Version) -> dict[str, Pins]:
    return currency.recorded_days(platform.feature_sets.metadata(contract.feature_set, version.version))


def _listed(platform: Platform, source: SourceContract, days: Iterable[str]) -> dict[str, Pins]:
    """Days whose delivery is not complete are left out: they are compared when it is."""
    found = {day: raw_pins(platform, source, day) for day in sorted(days)}
    return {day: pins for day, pins in found.items() if pins is not None}
