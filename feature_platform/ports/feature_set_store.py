"""The feature set store port: versions, log, latest, pins. Which decisions are made belongs in ``core.publishing``."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.layout import FeatureSetLayout
from feature_platform.core.publishing.publication import CommittedVersion, Move
from feature_platform.core.publishing.retention import Candidate, Policy, Sweep
from feature_platform.core.versions.feature_table import FeatureTable, FileDigest
from feature_platform.core.versions.log import History, Version
from feature_platform.core.versions.metadata import Provenance
from feature_platform.core.versions.version_metadata import VersionMetadata
from feature_platform.ports.object_store import ObjectStore


class FeatureSetStore(Protocol):
    """Feature set versions: committed once, named by a log, shown by ``latest/``, kept by pins, removed by retention.

    Every method may raise :class:`StorageError`, and :class:`UnknownOutcomeError` where a write may or may not have happened: making the
    same call again settles it. A feature set that nothing was committed of has an empty history and nothing else.
    """

    @property
    def objects(self) -> ObjectStore:
        """Where the files are."""

    def layout(self, feature_set: str) -> FeatureSetLayout:
        """The keys of one feature set."""

    def history(self, feature_set: str) -> History:
        """The state that the feature set's log adds up to. Records never change, so none is read twice."""

    def audit(self, feature_set: str) -> History:
        """The same, with every record read again.

        Raises:
            StorageError: A record was lost or altered.
        """

    def published(self) -> Sequence[str]:
        """Names of the feature sets that have any object, sorted."""

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
    ) -> CommittedVersion:
        """Make rows a version, or find the one that they are already. ``latest`` does not move.

        Args:
            table: One row per key, sorted by it, in the contract's shape.
            as_of: The moment the rows are true as of, UTC, in whole seconds; names the version.
            idempotency_key: The same for every attempt of one run at one partition.

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

    def metadata(self, feature_set: str, version: str) -> VersionMetadata:
        """A version's ``metadata.json``.

        Raises:
            NotFoundError: There is no such file.
        """

    def latest_metadata(self, feature_set: str) -> VersionMetadata:
        """The ``metadata.json`` that ``latest/`` shows.

        Raises:
            NotFoundError: Nothing was promoted yet.
        """

    def readable(self, feature_set: str, version: str) -> Version:
        """A version that may be read, as its commit record describes it: not expired, or kept by a pin.

        Raises:
            NotFoundError: It was never committed, or has expired unpinned.
        """

    def contract_of(self, feature_set: str, version: str) -> Contract:
        """The contract that a version was built by, from its ``schema.json``; an SQL transform is not part of it.

        Raises:
            NotFoundError: The file is gone.
            ContractError: It is no contract that this release understands.
        """

    def fetched(self, prefix: str) -> AbstractContextManager[tuple[dict[str, Path | BinaryIO], dict[str, FileDigest]]]:
        """The four files below a prefix, while the context lasts, and what each is: downloaded, or open where they are if they are long.

        Other objects there are described by their size alone and not read.
        """

    def read_csv(self, source: Path | BinaryIO, *, contract: Contract) -> Iterator[pa.RecordBatch]:
        """The rows of a ``features.csv``, as its contract types them, batch by batch.

        Raises:
            InvalidDataError: The file does not have the contract's columns or values.
        """

    def open_features(self, feature_set: str, version: str) -> BinaryIO:
        """A seekable reader of a committed version's Parquet file, pinned to its present bytes.

        Raises:
            NotFoundError: The version was never committed, has expired, or its file is gone.
        """

    def local_features(self, feature_set: str, version: Version) -> AbstractContextManager[Callable[[], BinaryIO]]:
        """A function that opens a committed version's Parquet file, for steps that read it several times.

        The first call downloads it, whole, by one request, and leaving the context removes it; a file that is too long for the disk is
        opened where it is, each time. The log is not asked again.

        Raises:
            NotFoundError: At the first call: the file is gone.
        """

    def load(self, feature_set: str, version: str) -> pa.Table:
        """A committed version's rows in memory, with page checksums verified.

        Raises:
            NotFoundError: As :meth:`open_features`.
        """

    def pin(self, feature_set: str, *versions: str, name: str, actor: str, reason: str = "") -> bool:
        """Keep versions from retention; False when every pin existed already.

        Raises:
            NotFoundError: One was never committed or has expired, possibly meanwhile; no pin of this call is left.
            InvalidDataError: The pin's name is not safe in a key.
        """

    def unpin(self, feature_set: str, version: str, *, name: str) -> None:
        """Remove a pin.

        Raises:
            NotFoundError: There is no such pin.
        """

    def pins(self, feature_set: str) -> dict[str, tuple[str, ...]]:
        """Pin names by version."""

    def survey(self, feature_set: str, *, policy: Policy, protected: Collection[str]) -> list[Candidate]:
        """What :meth:`collect` would delete now; writes nothing. ``protected`` are versions that something outside the log names."""

    def collect(self, feature_set: str, *, policy: Policy, actor: str, protected: Callable[[], Collection[str]]) -> Sweep:
        """Expire what the policy does not keep, wait the policy's grace period, read pins and ``protected`` again, then delete."""
