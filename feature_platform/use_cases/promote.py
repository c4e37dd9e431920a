"""Judge committed versions, and move latest to the newest that passes.

What a check requires does not belong here (``core.versions.checks``), nor which version may become latest (``core.publishing.decisions``).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, partial

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.deviation import DAYS, CheckResult, failures
from feature_platform.core.events import checks as source_checks
from feature_platform.core.layout import as_of, partition_of, window_partitions
from feature_platform.core.publishing.decisions import committed, newest_promotable
from feature_platform.core.publishing.publication import Move
from feature_platform.core.versions import checks
from feature_platform.core.versions.log import History, Version
from feature_platform.core.versions.version_metadata import VersionMetadata
from feature_platform.errors import ConflictError, InvalidDataError, NotFoundError
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.read_version import metadata_if_whole
from feature_platform.use_cases.validate import day_if_whole

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LatestMove:
    """Where latest is after a step, where it was, and which versions were kept out of it and why."""

    version: Version
    sequence: int
    previous: str | None
    has_moved: bool
    refused: tuple[str, ...] = field(default=())


def judge(platform: Platform, contract: Contract, history: History, version: Version) -> list[CheckResult]:
    """Every check of one committed version; of its history, the metadata of 28 versions at most is read from the store.

    Earlier versions whose metadata is gone or damaged are left out of what it is compared with: they must not block their successors.
    """
    read = cache(partial(metadata_if_whole, platform, contract.feature_set))

    def known(versions: Iterable[Version]) -> list[VersionMetadata]:
        return [facts for each in versions if (facts := read(each.version))]

    asked = contract.checks
    has_history = asked.max_deviation is not None or asked.max_history_psi is not None
    has_drift = asked.max_drift_psi is not None or asked.max_mean_shift is not None
    return checks.evaluate(
        contract,
        platform.feature_sets.metadata(contract.feature_set, version.version),
        reference=checks.last_passing(contract, known(checks.since_served(history, version))) if has_drift else None,
        before=known(checks.last_days(history, version)) if has_history else (),
        source_faults=[
            f"{part.source}: {fault}" if part.sources else fault
            for part in contract.parts
            for fault in failures(judge_day(platform, platform.catalog.source_of(part), partition_of(version.as_of)))
        ],
    )


def judge_day(platform: Platform, source: SourceContract, partition: str) -> list[CheckResult]:
    """Every check of a validated day, from its manifest and, where the contract compares it with its history, those of the 28 days before.

    Empty where the contract has no checks, or the day was not validated.
    """
    day = platform.engine.read_day(source, partition) if source.checks else None
    if day is None or source.checks is None:
        return []
    earlier = window_partitions(as_of(partition), days=DAYS + 1)[:-1] if source.checks.max_deviation is not None else ()
    known = {key: day_if_whole(platform, source, key) for key in earlier}
    return source_checks.evaluate(source, day, before={key: found for key, found in known.items() if found})


def override(platform: Platform, contract: Contract, version: str, *, actor: str, reason: str) -> tuple[Move, list[str]]:
    """Promote a version by name although its checks keep it back; the log records who, why and which faults, which are returned too.

    Raises:
        UnknownNameError: It was never committed, or has expired.
        ConflictError: Latest is newer, or was rolled back: then `rollback` is what moves it.
    """
    store, name = platform.feature_sets, contract.feature_set
    history = store.history(name)
    faults = failures(judge(platform, contract, history, committed(history, version)))
    told = f"{reason} (overrides {'; '.join(faults)})" if faults else reason
    move = store.promote(name, version, actor=actor, reason=told)
    if move.refusal:
        raise ConflictError(f"{move.refusal}. To go back to it, run `feature-platform rollback {name} {version} --reason 'why'`.")
    return move, faults


def move_latest(platform: Platform, contract: Contract, *, actor: str, log: Log) -> LatestMove:
    """Promote the newest version that passes its checks, if it is newer than the head, and heal ``latest/`` in any case.

    A newer version is promoted before anything is healed, because a head with damaged files must not block its successor.

    Raises:
        NotFoundError: There is no version at all.
        InvalidDataError: There are versions and no latest, and none of them passes its checks.
    """
    name, store = contract.feature_set, platform.feature_sets
    history = store.history(name)
    refused: list[str] = []
    for candidate in newest_promotable(history):
        faults = failures(judge(platform, contract, history, candidate))
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
