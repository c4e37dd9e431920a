"""The training set store port: labels, rows and manifests, kept for ever. What a training set means belongs in ``core.training``."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import pyarrow as pa

from feature_platform.core.training.labels import Rows, StagedFile
from feature_platform.core.training.manifest import StoredFile, TrainingManifest


class TrainingSetStore(Protocol):
    """Training sets by name. A manifest is written last and names the other files, so that nothing half-written is ever found.

    Every method may raise :class:`StorageError`.
    """

    def staged(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> AbstractContextManager[StagedFile]:
        """Rows as a local Parquet file for the time of a ``with`` block; equal rows in equal order make equal bytes."""

    def rows_of(self, staged: StagedFile) -> Rows:
        """The rows of a staged file."""

    def directory(self, name: str) -> str:
        """URI, with ``/`` at its end, of the directory where a training set's files are kept by default."""

    def keep(self, staged: StagedFile, uri: str) -> StoredFile:
        """Upload a staged file; nothing happens where the same one is there already.

        Raises:
            ConflictError: Another file is there.
        """

    def open_rows(self, stored: StoredFile) -> AbstractContextManager[Rows]:
        """A kept file's rows, from a verified local copy.

        Raises:
            NotFoundError: It is gone.
            InvalidDataError: Its bytes are not those that were kept.
        """

    def put_manifest(self, manifest: TrainingManifest) -> None:
        """Write the manifest, with which the training set exists."""

    def find(self, name: str) -> TrainingManifest | None:
        """The manifest of a training set, or None where there is none of this name. One read, however many training sets there are."""

    def manifest(self, name: str) -> TrainingManifest:
        """The manifest of a training set.

        Raises:
            UnknownNameError: There is none of this name.
        """

    def names(self) -> Sequence[str]:
        """The name of every training set."""

    def delete_rows(self, manifest: TrainingManifest) -> None:
        """Remove the rows and then the labels; nothing happens where they are gone."""

    def delete_manifest(self, name: str) -> None:
        """Remove the manifest, with which the training set ends."""
