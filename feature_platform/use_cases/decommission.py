"""Take a feature set out of service on purpose: registry and online values go, files and log stay."""

from dataclasses import dataclass

from feature_platform.core.contract.feature_set import Contract
from feature_platform.ports.platform import Platform


@dataclass(frozen=True, slots=True)
class Decommission:
    """What is, or was, removed: registry objects as ``kind/name``, and the version that was online."""

    feature_set: str
    registered: tuple[str, ...]
    online: str | None


def plan(platform: Platform, contract: Contract) -> Decommission:
    """What :func:`decommission` would remove; writes nothing."""
    marker = platform.online.marker(project=platform.project, view=contract.feature_set)
    registered = platform.registry.registered(contract.feature_set)
    return Decommission(contract.feature_set, registered, marker.target.version if marker else None)


def decommission(platform: Platform, contract: Contract) -> Decommission:
    """Remove a feature set from the registry with its online values, so that no service gets it any more.

    Versions, log and latest stay; materializing the online asset brings it back.

    Raises:
        StorageError: The registry or the online store could not be reached; run it again.
    """
    planned = plan(platform, contract)
    return Decommission(contract.feature_set, platform.registry.remove(contract), planned.online)
