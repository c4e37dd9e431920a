"""Take a feature set out of service: its registry objects and online values are removed; its versions and log stay.

This also works for a set whose contract was removed: nothing builds it any more, but it is served until it is decommissioned. Deleting
versions does not belong here (``use_cases.retain``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.versions.log import History
from feature_platform.errors import UnknownNameError
from feature_platform.ports.platform import Platform


@dataclass(frozen=True, slots=True)
class Decommission:
    """What is, or was, removed: registry objects as ``kind/name``, and the version that was online."""

    feature_set: str
    registered: tuple[str, ...]
    online: str | None


@dataclass(frozen=True, slots=True)
class Retired:
    """A published feature set without a contract: its newest version, latest, and the version that is still online, if one is."""

    feature_set: str
    newest: str | None
    latest: str | None
    online: str | None


def retired(platform: Platform) -> Sequence[Retired]:
    """Every feature set that was published and has no contract any more."""
    names = [name for name in platform.feature_sets.published() if name not in platform.catalog.contracts]
    found = [(name, platform.feature_sets.history(name)) for name in names]
    return [_retired(platform, name, history) for name, history in found if history.versions]


def known(platform: Platform, feature_set: str) -> str:
    """The name itself, where a contract or a committed version has it.

    Raises:
        UnknownNameError: Neither has.
    """
    if feature_set not in platform.catalog.contracts and not platform.feature_sets.history(feature_set).versions:
        return platform.catalog.contract(feature_set).feature_set
    return feature_set


def plan(platform: Platform, feature_set: str) -> Decommission:
    """What :func:`decommission` would remove; writes nothing."""
    marker = platform.online.marker(project=platform.project, view=feature_set)
    registered = platform.registry.registered(feature_set)
    return Decommission(feature_set, registered, marker.target.version if marker else None)


def decommission(platform: Platform, feature_set: str) -> Decommission:
    """Remove a feature set from the registry with its online values, so that no service gets it any more.

    Versions, log and latest stay; materializing the online asset brings it back.
    """
    planned = plan(platform, feature_set)
    return Decommission(feature_set, platform.registry.remove(_contract(platform, feature_set)), planned.online)


def _contract(platform: Platform, feature_set: str) -> Contract:
    """The deployed contract, or else that of the head, or of the newest version."""
    if feature_set in platform.catalog.contracts:
        return platform.catalog.contracts[feature_set]
    history = platform.feature_sets.history(feature_set)
    version = history.head_version or (history.live[-1] if history.live else None)
    if version is None:
        raise UnknownNameError(f"Nothing of feature set {feature_set!r} is published, and it has no contract.")
    return platform.feature_sets.contract_of(feature_set, version.version)


def _retired(platform: Platform, name: str, history: History) -> Retired:
    marker = platform.online.marker(project=platform.project, view=name)
    newest, head = history.live[-1] if history.live else None, history.head
    return Retired(
        name, newest.version if newest else None, head.version if head else None, marker.target.version if marker is not None else None
    )
