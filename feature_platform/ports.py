"""Small interfaces that the pure core is connected to the world by. One adapter per technology implements each.

Implementations do not belong here; neither do the protocols that decide *what* is read and written (``core.publication``).
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import pyarrow as pa

from feature_platform.core.contract import Contract
from feature_platform.core.feature_table import FeatureTable
from feature_platform.core.layout import FeatureSetLayout
from feature_platform.core.log import History, Version
from feature_platform.core.metadata import Provenance
from feature_platform.core.online_load import LoadReport, OnlineLoad, RepairReport
from feature_platform.core.online_marker import Marker
from feature_platform.core.parity import OnlineRows, ParityReport
from feature_platform.core.publication import Move, Publication
from feature_platform.core.raw import RawManifest
from feature_platform.core.retention import Candidate, Policy, Sweep
from feature_platform.core.source_contract import SourceContract
from feature_platform.core.store_requests import Condition, ObjectInfo, StoredObject
from feature_platform.core.validation import ValidatedDay


class ObjectStore(Protocol):
    """An S3-like object store, addressed by ``s3://bucket/key`` URIs.

    Every method raises :class:`StorageError` when the store cannot be reached or answers nonsense after the client's own bounded
    retries, and :class:`ConfigurationError` when credentials or the bucket are wrong (401, 403, no such bucket).
    """

    def head(self, uri: str) -> ObjectInfo | None:
        """The object's description with its user metadata, or None where it does not exist."""

    def get(self, uri: str) -> StoredObject | None:
        """One whole object by one GET, or None where it does not exist. A broken body is read again."""

    def open(self, uri: str, *, etag: str) -> BinaryIO:
        """A seekable reader pinned to one ETag, for files larger than memory.

        Raises:
            NotFoundError: There is no such object.
            ConflictError: The object has another ETag, now or at any later read.
        """

    def download(self, uri: str, target: Path, *, etag: str | None = None) -> ObjectInfo:
        """Write one whole object to a local file.

        Raises:
            NotFoundError: There is no such object.
            ConflictError: The object has another ETag than the one asked for.
        """

    def scan(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object below a prefix, in key order, without user metadata."""

    def put(self, uri: str, body: bytes | Path, *, write_id: str, sha256: str | None, condition: Condition) -> str:
        """Write one object by a single PUT and return its ETag; ``write_id`` and ``sha256`` become user metadata.

        Raises:
            ConflictError: The condition did not hold (409, 412); the write may still be ours if an earlier answer was lost.
            UnknownOutcomeError: No answer came, so the write may or may not have happened.
        """

    def delete(self, uri: str) -> None:
        """Remove one object; an absent one is not an error."""


class FeatureSetStore(Protocol):
    """Feature set versions: committed once, named by a log, shown by ``latest/``, kept by pins, removed by retention.

    Every method may raise :class:`StorageError`, and :class:`UnknownOutcomeError` where a write's fate could not be learned: the same
    call again settles it. Of a feature set that was never published the history is empty and nothing else exists.
    """

    def layout(self, feature_set: str) -> FeatureSetLayout:
        """The keys of one feature set."""

    def history(self, feature_set: str) -> History:
        """The state that the feature set's log adds up to."""

    def commit(
        self,
        table: FeatureTable,
        *,
        contract: Contract,
        template: str,
        as_of: datetime,
        provenance: Provenance,
        idempotency_key: str,
        actor: str,
        reason: str = "",
    ) -> Publication:
        """Make rows a version, or find the one that they are already. ``latest`` does not move.

        Args:
            table: One row per key, sorted by it, in the contract's shape.
            contract: What the rows are.
            template: Text of the metadata template.
            as_of: The moment the rows are true as of, UTC, in whole seconds; names the version.
            provenance: Where the rows came from.
            idempotency_key: The same for every attempt of one run at one partition.
            actor: Who publishes.
            reason: Why, for the log.

        Raises:
            InvalidDataError: The rows break the contract's shape.
            ContractError: The template is wrong.
        """

    def promote(self, feature_set: str, version: str, *, actor: str, reason: str = "") -> Move:
        """Move latest to a version unless it is older than the head (then ``refusal`` says why), and heal ``latest/`` in any case.

        Raises:
            NotFoundError: The version was never committed or has expired.
        """

    def rollback(self, feature_set: str, version: str, *, actor: str, reason: str) -> Move:
        """Move latest to a version by name, whatever its age.

        Raises:
            NotFoundError: The version was never committed or has expired.
        """

    def heal(self, feature_set: str) -> tuple[History, int]:
        """Make ``latest/`` show the head; the history that was projected, and how many files were written."""

    def metadata(self, feature_set: str, version: str) -> dict[str, Any]:
        """A version's ``metadata.json``.

        Raises:
            NotFoundError: There is no such file.
        """

    def latest_metadata(self, feature_set: str) -> dict[str, Any]:
        """The ``metadata.json`` that ``latest/`` shows.

        Raises:
            NotFoundError: Nothing was promoted yet.
        """

    def readable(self, feature_set: str, version: str) -> Version:
        """A version that may be read, as its commit record describes it: not expired, or kept by a pin.

        Raises:
            NotFoundError: It was never committed, or has expired unpinned.
        """

    def open_features(self, feature_set: str, version: str) -> BinaryIO:
        """A seekable reader of a committed version's Parquet file, pinned to its present bytes.

        Raises:
            NotFoundError: The version was never committed, has expired, or its file is gone.
        """

    def load(self, feature_set: str, version: str) -> pa.Table:
        """A committed version's rows in memory, with page checksums verified.

        Raises:
            NotFoundError: As :meth:`open_features`.
        """

    def pin(self, feature_set: str, version: str, *, name: str, actor: str, reason: str = "") -> bool:
        """Keep a version from retention; False when that pin existed already.

        Raises:
            NotFoundError: The version was never committed or has expired, possibly meanwhile.
            InvalidDataError: The pin's name is not safe in a key.
        """

    def unpin(self, feature_set: str, version: str, *, name: str) -> None:
        """Remove a pin.

        Raises:
            NotFoundError: There is no such pin.
        """

    def pins(self, feature_set: str) -> dict[str, tuple[str, ...]]:
        """Pin names by version."""

    def survey(self, feature_set: str, *, policy: Policy, protected: Collection[str] = ()) -> list[Candidate]:
        """What :meth:`collect` would delete now; writes nothing. ``protected`` are versions that something outside the log names."""

    def collect(self, feature_set: str, *, policy: Policy, actor: str, protected: Callable[[], Collection[str]] = tuple) -> Sweep:
        """Expire what the policy does not keep, wait its grace, look at pins and ``protected`` again, then delete."""


class ComputeEngine(Protocol):
    """Judges raw events and computes features; equal inputs give equal results, on every run and every engine."""

    def validate(self, source: SourceContract, raw: RawManifest) -> ValidatedDay:
        """Judge every raw row of one day and write what was kept and what was not.

        Afterwards ``quarantine/<source>/dt=…/`` and ``validated/<source>/dt=…/`` hold immutable data files and, written last, a
        ``manifest.json`` that names them; readers open only what it names. Rows in = rows kept + rows quarantined.

        Raises:
            InvalidDataError: A raw object cannot be read as a whole (nothing is written), there is no row, or the share of rejected rows
                is above the source's ``max_rejected_ratio`` (the quarantine is written, the validated day stays as it was).
            ConflictError: A raw object is not the one that the manifest names any more; nothing is written.
        """

    def read_day(self, source: SourceContract, partition: str) -> ValidatedDay | None:
        """The validated day as its manifest describes it, or None where the day was never validated."""

    def build(self, contract: Contract, source: SourceContract, *, as_of: datetime, days: Sequence[ValidatedDay]) -> FeatureTable:
        """Compute a feature set as of a moment from the validated days of its window.

        Args:
            days: Validated days within the window, each once, in any order; a day that is left out counts as one without events.

        Returns:
            Rows sorted by primary key, each key once, computed now and kept on local disk until the table is dropped.

        Raises:
            InvalidDataError: A value does not fit the contract, there is no row though ``checks.min_rows`` asks for some, or ``days`` do
                not belong to the window.
            ContractError: The contract's SQL transform cannot be run.
            ConflictError: A validated file is not the one that its day names any more.
        """


class OnlineStore(Protocol):
    """Where services read features from: per feature view exactly one published version, and a marker that says which.

    Every method raises :class:`StorageError` when the server does not answer in time, is full or fails midway, and
    :class:`ConfigurationError` when it refuses the credentials, may evict keys, or an unknown Feast is installed.
    """

    def load(self, request: OnlineLoad, *, progress: Callable[[int, int], object] | None = None) -> LoadReport:
        """Make a published version exactly what is online for its view: its entities with its values, and no others.

        On return the marker is ``online``. After an error it is ``loading`` (or what it was, if nothing was written), and the next load
        of this or a newer publication becomes exact again. Loading the version that is online writes everything once more.

        Args:
            request: The version; its file is checked before anything is written.
            progress: Is called with rows written and rows in total.

        Raises:
            InvalidDataError: The file must not be served; nothing was written.
            ConflictError: A newer publication is online, another load is running, or took over while this one was frozen.
        """

    def repair(self, request: OnlineLoad) -> RepairReport:
        """Scan everything and remove this view's fields from entities that the online version, which is ``request``'s, lacks.

        Raises:
            ConflictError: Another version is online, or the last load did not finish.
        """

    def marker(self, *, project: str, view: str) -> Marker | None:
        """What the store says about a view; None where it says nothing."""

    def parity(
        self,
        request: OnlineLoad,
        *,
        limit: int | None,
        now_us: int,
        read: Callable[[pa.RecordBatch, pa.Array], OnlineRows] | None = None,
    ) -> ParityReport:
        """Compare what is online with a published version.

        Args:
            request: The version that should be online.
            limit: Rows above which a sample by key hash is compared; None compares everything.
            now_us: Now (Unix time, microseconds), to count entities older than the ttl.
            read: Reads published rows (and their Redis keys) back, e.g. through Feast's SDK; the stored bytes where left out.
        """
