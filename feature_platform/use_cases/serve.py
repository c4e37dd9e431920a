"""Steps of the main job that span several ports: judge a version, move latest, serve it, compare what is served.

Dagster's assets and the command line both call these. Dagster does not belong here, nor any decision that ``core`` can make.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow.parquet as pq

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.online.load import LoadReport
from feature_platform.core.online.parity import ParityReport
from feature_platform.core.publishing.decisions import newest_promotable
from feature_platform.core.versions import checks
from feature_platform.core.versions.log import History, Version
from feature_platform.errors import InvalidDataError, NotFoundError
from feature_platform.use_cases.published_head import PublishedHead, published_head
from feature_platform.wiring import Platform

SAMPLE_ROWS = 1_000
PARITY_ROWS = 20_000
"""Up to this many rows parity compares every entity; above it a sample by key hash of about this many."""

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LatestMove:
    """Where latest is after a step, where it was, and which versions were kept out of it and why."""

    version: Version
    sequence: int
    previous: str | None
    has_moved: bool
    refused: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Served:
    """What serving a version did: the load's report, rows read back through Feast, and how many of those are past their ttl by now."""

    load: LoadReport
    sampled: int
    expired: int
    seconds: float


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


def servable_head(platform: Platform, contract: Contract) -> PublishedHead:
    """What the online store must hold: the log's head, its moment, and the load that reads it from its immutable version.

    Raises:
        NotFoundError: Nothing was promoted yet.
        InvalidDataError: The head was built by another contract than the one that would describe it.
    """
    head = published_head(platform.feature_sets, contract.feature_set, project=platform.settings.feast_project)
    request = head.load
    if request.schema_hash != contract.schema_hash:
        raise InvalidDataError(
            f"{contract.feature_set} {request.version} was built by contract {request.schema_hash[:12]}, the contract now is "
            f"{contract.schema_hash[:12]}; build and promote a version by this contract before it is served."
        )
    return head


def serve(platform: Platform, contract: Contract, *, progress: Callable[[int, int], object] | None = None) -> Served:
    """Apply the contract to Feast, make Redis hold exactly the head's rows, and read a sample back through Feast's SDK.

    Raises:
        NotFoundError: Nothing was promoted yet.
        InvalidDataError: The version was built by another contract, its file must not be served, or the sample differs.
        ConflictError: A newer publication is online already, or another load is running.
        StorageError: S3, the registry or Redis failed; run it again.
    """
    from feature_platform.adapters.feast.reading import verify_sample
    from feature_platform.adapters.feast.repository import apply_contracts

    started = time.monotonic()
    head = servable_head(platform, contract)
    apply_contracts(platform.feast_store, [contract], settings=platform.settings)
    report = platform.online.load(head.load, progress=progress)
    with head.load.source() as file, pq.ParquetFile(file, page_checksum_verification=True) as parquet:
        first = next(parquet.iter_batches(SAMPLE_ROWS), None)
    rows = [] if first is None else first.to_pylist()
    sample = verify_sample(platform.feast_store, contract, rows, as_of=head.as_of, limit=SAMPLE_ROWS)
    return Served(report, sample.rows, sample.expired, round(time.monotonic() - started, 3))


def parity(platform: Platform, contract: Contract, *, limit: int | None = PARITY_ROWS, is_through_sdk: bool = True) -> ParityReport:
    """Compare what is online with the head's file, value by value, and look for entities that should not be there.

    Args:
        platform: The environment.
        contract: The feature set.
        limit: Rows up to which every entity is compared, and about how many above it, chosen by key hash; None compares all.
        is_through_sdk: Read as a service does, by Feast's SDK (ttl judged at the version's own moment), or the stored bytes directly.

    Raises:
        NotFoundError: Nothing was promoted yet.
        StorageError: S3, the registry or Redis failed.
    """
    head = servable_head(platform, contract)
    read = None
    if is_through_sdk:
        from feature_platform.adapters.feast.parity import sdk_reader

        read = sdk_reader(platform.feast_store, contract, as_of=head.as_of)
    return platform.online.parity(head.load, limit=limit, now_us=time.time_ns() // 1000, read=read)
