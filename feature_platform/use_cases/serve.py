"""Serve the head: apply its contract, make the online store hold exactly its rows, compare what is served with what was published.

Moving latest does not belong here (``use_cases.promote``), nor how a load becomes exact (``core.online.load`` and the online store).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.online.load import LoadReport, OnlineLoad, RepairReport
from feature_platform.core.online.parity import ParityReport
from feature_platform.core.publishing.decisions import head_of
from feature_platform.core.versions.log import History
from feature_platform.ports.feature_set_store import FeatureSetStore
from feature_platform.ports.platform import Platform

PARITY_ROWS = 20_000
"""Up to this many rows parity compares every entity; above it a sample by key hash of about this many."""

GLANCED_ROWS = 10_000
"""Rows that a glance compares: 15 ms of the Redis server's time."""


@dataclass(frozen=True, slots=True)
class PublishedHead:
    """The head of a log: its as-of moment, and the load that makes it what is online."""

    as_of: datetime
    load: OnlineLoad


@dataclass(frozen=True, slots=True)
class Served:
    """The load that served a version, and the version's own contract, by which it is served."""

    load: LoadReport
    contract: Contract
    elapsed_s: float


@contextmanager
def published_head(
    feature_sets: FeatureSetStore, feature_set: str, *, project: str, history: History | None = None
) -> Iterator[PublishedHead]:
    """The head of a feature set's log, with the contract it was built by; its file is fetched once, when it is first read.

    Args:
        history: The state of the log, where it was read already.

    Raises:
        NotFoundError: Nothing was promoted yet, or the head's files are gone.
    """
    history = history or feature_sets.history(feature_set)
    head = head_of(history, feature_set)
    version = history.versions[head.version]
    contract = feature_sets.contract_of(feature_set, version.version)
    with feature_sets.local_features(feature_set, version) as open_features:
        load = OnlineLoad(
            contract=contract,
            project=project,
            version=version.version,
            sequence=head.sequence,
            schema_hash=version.schema_hash,
            content_hash=version.content_hash,
            open_features=open_features,
            open_earlier=lambda name: feature_sets.open_features(feature_set, name),
        )
        yield PublishedHead(as_of=version.as_of, load=load)


def serve(platform: Platform, feature_set: str, *, progress: Callable[[int, int], object] | None = None, is_full: bool = False) -> Served:
    """Apply the contract that the head was built by to the registry, and make the online store hold exactly the head's rows.

    That contract is stored with the version and may be older or newer than the deployed one: after a rollback, or while no version of a
    changed contract is latest yet, readers get the columns that the head has.

    Raises:
        NotFoundError: Nothing was promoted yet.
        ContractError: The head's contract cannot be read, or disagrees with another feature set about a join key.
        InvalidDataError: The version's file must not be served.
        ConflictError: The version of a later record is online already, or another load is running.
    """
    started = time.monotonic()
    with published_head(platform.feature_sets, feature_set, project=platform.project) as head:
        platform.registry.apply([head.load.contract])
        report = platform.online.load(head.load, progress=progress, is_full=is_full)
    return Served(report, head.load.contract, round(time.monotonic() - started, 3))


def compare(platform: Platform, feature_set: str, *, limit: int | None = PARITY_ROWS, is_through_registry: bool = True) -> ParityReport:
    """Compare what is online with the head's file, value by value, and look for entities that should not be there.

    Args:
        limit: Up to this many rows every entity is compared; above, about this many, chosen by key hash. None compares all.
        is_through_registry: Read by Feast's SDK, as services do (ttl judged at the version's own moment), and not the stored bytes.

    Raises:
        NotFoundError: Nothing was promoted yet.
    """
    with published_head(platform.feature_sets, feature_set, project=platform.project) as head:
        read = platform.registry.reader(head.load.contract, as_of=head.as_of) if is_through_registry else None
        return platform.online.parity(head.load, limit=limit, now_us=time.time_ns() // 1000, read=read)


def glance(platform: Platform, feature_set: str, *, history: History) -> ParityReport:
    """Compare what is online with the first rows of the head's file; cheap enough to be done again and again.

    Raises:
        NotFoundError: Nothing was promoted yet.
    """
    store = platform.feature_sets
    with published_head(store, feature_set, project=platform.project, history=history) as head:
        # Opened on S3: downloading a large file would cost more than reading its first rows.
        request = replace(head.load, open_features=lambda: store.open_features(feature_set, head.load.version))
        return platform.online.glance(request, rows=GLANCED_ROWS)


def repair(platform: Platform, feature_set: str) -> RepairReport:
    """Scan the whole online store and remove what the version that is online lacks.

    Raises:
        NotFoundError: Nothing was promoted yet.
        ConflictError: Another version is online, or the last load did not finish.
    """
    with published_head(platform.feature_sets, feature_set, project=platform.project) as head:
        return platform.online.repair(head.load)
