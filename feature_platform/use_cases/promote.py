"""Judge committed versions, and move latest to the newest that passes.

What a check asks is ``core.versions.checks``; which version may become latest is ``core.publishing.decisions``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.publishing.decisions import newest_promotable
from feature_platform.core.versions import checks
from feature_platform.core.versions.log import History, Version
from feature_platform.errors import InvalidDataError, NotFoundError
from feature_platform.ports.platform import Platform

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LatestMove:
    """Where latest is after a step, where it was, and which versions were kept out of it and why."""

    version: Version
    sequence: int
    previous: str | None
    has_moved: bool
    refused: tuple[str, ...] = field(default=())


def judge(platform: Platform, contract: Contract, history: History, version: Version) -> list[checks.CheckResult]:
    """Every check of one committed version, with what it is compared to read from the store."""
    store, name = platform.feature_sets, contract.feature_set
    earlier = checks.reference_of(history, version)
    reference = store.metadata(name, earlier.version) if earlier else None
    return checks.evaluate(contract, store.metadata(name, version.version), reference=reference)


def move_latest(platform: Platform, contract: Contract, *, actor: str, log: Log) -> LatestMove:
    """Promote the newest version that passes its checks, if it is newer than the head, and heal ``latest/`` in any case.

    A newer version is promoted before anything is healed: a head whose files were damaged must not stand in the way of its successor.

    Raises:
        NotFoundError: There is no version at all.
        InvalidDataError: There are versions and no latest, and none of them passes its checks.
    """
    name, store = contract.feature_set, platform.feature_sets
    history = store.history(name)
    refused: list[str] = []
    for candidate in newest_promotable(history):
        faults = checks.failures(judge(platform, contract, history, candidate))
        if not faults:
            move = store.promote(name, candidate.version, actor=actor, reason="newest version that passes its checks")
            log(f"{name}: latest moved from {move.previous} to {move.head.version} (record {move.sequence})")
            break
        refused += [f"{candidate.version}: {fault}" for fault in faults]
        log(f"{name}: {candidate.version} stays out of latest: {'; '.join(faults)}")
    else:
        store.heal(name)
    after = store.history(name)
    if after.head is None or after.head_version is None:
        if refused:
            raise InvalidDataError(f"{name} has no version that passes its checks; correct the data or the contract:", refused)
        raise NotFoundError(f"{name} has no committed version; materialize {name} first.")
    previous = history.head.version if history.head else None
    moved = history.head is None or history.head.sequence != after.head.sequence
    return LatestMove(after.head_version, after.head.sequence, previous, moved, tuple(refused))
