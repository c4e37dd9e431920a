"""Rebuild versions whose raw data changed, then move latest and load online.

Finding them does not belong here (``use_cases.currency``); each step is the use case that a run of the same partition takes.
"""

from dataclasses import dataclass

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.core.versions.currency import Outdated
from feature_platform.errors import InvalidDataError, NotFoundError
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.build import build
from feature_platform.use_cases.commit import commit
from feature_platform.use_cases.contracts import require_announced
from feature_platform.use_cases.currency import Currency
from feature_platform.use_cases.promote import Log, move_latest
from feature_platform.use_cases.serve import serve

REASON = "raw data changed"


@dataclass(frozen=True, slots=True)
class Built:
    """The outcome for one partition: its version, or why it could not be built; then it keeps the version it has."""

    partition: str
    version: str | None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a pass did: partitions in the order of ``to_build``; the version that latest moved to, and the one that was loaded, if any."""

    rebuilt: tuple[Built, ...]
    latest: str | None
    online: str | None

    @property
    def faults(self) -> list[str]:
        """One sentence for each partition that could not be built."""
        return [f"{one.partition}: {one.fault}" for one in self.rebuilt if one.fault]


def refresh(platform: Platform, contract: Contract, found: Currency, *, run_id: str, actor: str, log: Log) -> Refreshed:
    """Build every outdated partition again, oldest first; then move latest once and load online once, where they differ.

    A partition that cannot be built keeps the version it has, and does not stop the others. After an error, run it again: versions that
    were committed are found, and latest and online follow.

    Args:
        run_id: Names the pass in metadata and log.
        log: Called with a sentence for each step.

    Raises:
        ContractError: The SQL transform or the metadata template is wrong.
        ConflictError: Another load is running; run again.
    """
    if found.to_build:
        require_announced(platform, contract)
    rebuilt = tuple(
        _rebuilt(platform, contract, item, run_id=run_id, actor=actor, log=log, versions=len(found.to_build)) for item in found.to_build
    )
    return Refreshed(rebuilt, *follow(platform, contract, actor=actor, log=log))


def follow(platform: Platform, contract: Contract, *, actor: str, log: Log) -> tuple[str | None, str | None]:
    """Move latest to what was committed, and load online where it is behind: the version of each where it changed, else None.

    Raises:
        ConflictError: Another load is running; run again.
    """
    name = contract.feature_set
    if not platform.feature_sets.history(name).live:
        return None, None
    move = move_latest(platform, contract, actor=actor, log=log)
    marker = platform.online.marker(project=platform.project, view=name)
    is_behind = marker is not None and (marker.state, marker.target.version, marker.target.sequence) != (
        "online",
        move.version.version,
        move.sequence,
    )
    # A feature set without a marker was never served, or was decommissioned: it is not loaded.
    loaded = serve(platform, name).load.version if is_behind else None
    if loaded:
        log(f"{name}: {loaded} is online")
    return (move.version.version if move.has_moved else None), loaded


def rebuild(
    platform: Platform, contract: Contract, partition: str, *, reason: str, run_id: str, actor: str, log: Log, versions: int
) -> Built:
    """Build and commit one partition.

    Args:
        reason: Why, for the log record.
        versions: How many versions the pass builds.
    """
    name = contract.feature_set

    def told(day: ValidatedDay) -> None:
        log(f"{day.source} {day.partition}: validated anew")

    try:
        built = build(platform, contract, partition, run_id=run_id, on_validated=told, versions=versions)
        committed = commit(platform, name, partition, built, actor=actor, reason=reason)
    except (InvalidDataError, NotFoundError) as error:
        log(f"{name} {partition}: not built: {error}")
        return Built(partition, version=None, fault=str(error))
    rows = committed.metadata.row_count
    log(f"{name} {partition}: committed {committed.version}, {rows} rows, because {reason}; read {built.window.told}")
    return Built(partition, committed.version)


def _rebuilt(platform: Platform, contract: Contract, item: Outdated, *, run_id: str, actor: str, log: Log, versions: int) -> Built:
    if not item.is_buildable:
        again = f"have upstream deliver {item.partition} again, or roll back if it must not be served"
        return Built(item.partition, version=None, fault=f"its own day has no raw objects any more; {again}")
    reason = f"{REASON}: {item.why}"
    return rebuild(platform, contract, item.partition, reason=reason, run_id=run_id, actor=actor, log=log, versions=versions)
