"""Gather what the catalogue shows of every feature set. How it looks does not belong here (``adapters.report``)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.operations.health import Health
from feature_platform.core.versions.log import Version
from feature_platform.core.versions.version_metadata import VersionMetadata
from feature_platform.errors import FeaturePlatformError
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.health import health

NEWEST: Final = 30
"""How many moments the curves over time show."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One feature set: its contract, its state, the version shown (latest, or one that was asked for) and those before it.

    ``before`` is the version of the moment before the one shown. ``course`` has the newest version of each moment, oldest first.
    """

    contract: Contract
    health: Health
    shown: VersionMetadata | None
    before: VersionMetadata | None
    course: tuple[VersionMetadata, ...]
    head: str | None
    committed: tuple[Version, ...]


def catalogue(
    platform: Platform, *, now: datetime, version: str | None = None, progress: Callable[[str], object] = lambda _: None
) -> list[Entry]:
    """Every feature set that has a contract; of the one that ``version`` belongs to, that version instead of latest.

    Raises:
        UnknownNameError: Retention removed that version. Where no feature set ever had it, each one's latest is shown.
    """
    entries = []
    for name in sorted(platform.catalog.contracts):
        progress(name)
        entries.append(_entry(platform, platform.catalog.contract(name), now=now, version=version))
    return entries


def _entry(platform: Platform, contract: Contract, *, now: datetime, version: str | None) -> Entry:
    store, name = platform.feature_sets, contract.feature_set
    history = store.history(name)
    head = history.head.version if history.head else None
    chosen = version if version in history.versions else head
    if version is not None and chosen == version:
        store.readable(name, version)
    newest = history.newest_of_each_moment[-NEWEST:]
    read = {each.version: metadata for each in newest if (metadata := _metadata(platform, name, each.version))}
    shown = (read.get(chosen) or _metadata(platform, name, chosen)) if chosen else None
    earlier = [metadata for metadata in read.values() if shown and metadata.as_of < shown.as_of]
    return Entry(
        contract=contract,
        health=health(platform, contract, now=now, history=history),
        shown=shown,
        before=earlier[-1] if earlier else None,
        course=tuple(read.values()),
        head=head,
        committed=tuple(sorted(history.versions.values(), key=lambda each: each.order)),
    )


def _metadata(platform: Platform, name: str, version: str) -> VersionMetadata | None:
    """A version's metadata; None where it cannot be read, which the feature set's state reports."""
    try:
        return platform.feature_sets.metadata(name, version)
    except FeaturePlatformError:
        return None
