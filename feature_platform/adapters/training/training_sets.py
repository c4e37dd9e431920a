"""Training sets in an object store, ``_training/<name>/`` below the feature base. Making them belongs to ``use_cases.training``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from feature_platform.adapters.feature_set_store.protocol_runner import digest
from feature_platform.adapters.machine.spool import spool
from feature_platform.core.layout import training_sets
from feature_platform.core.objects import IfAbsent
from feature_platform.core.parquet import fitting_encodings
from feature_platform.core.row_groups import in_row_groups
from feature_platform.core.training.labels import Rows, StagedFile
from feature_platform.core.training.manifest import MANIFEST, StoredFile, TrainingManifest, parse_manifest
from feature_platform.errors import ConflictError, InvalidDataError, UnknownNameError
from feature_platform.ports.object_store import ObjectStore


class ObjectTrainingSetStore:
    """See :class:`TrainingSetStore`."""

    def __init__(self, objects: ObjectStore, *, feature_base: str, workdir: Path | None = None) -> None:
        self._objects, self._base, self._workdir = objects, training_sets(feature_base), workdir

    @contextmanager
    def staged(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Iterator[StagedFile]:
        with spool("training-", parent=self._workdir) as directory:
            path, rows = directory / "rows.parquet", 0
            in_order = in_row_groups(batches, schema)
            first = next(in_order, pa.RecordBatch.from_pylist([], schema))
            with pq.ParquetWriter(
                path, schema, compression="zstd", write_page_checksum=True, version="2.6", **fitting_encodings(first)
            ) as writer:
                for batch in chain([first], in_order):
                    writer.write_batch(batch)
                    rows += batch.num_rows
            yield StagedFile(path, digest(path), rows, schema)

    def rows_of(self, staged: StagedFile) -> Rows:
        return Rows(staged.schema, lambda: _batches(staged.path))

    def directory(self, name: str) -> str:
        return f"{self._base}{name}/"

    def keep(self, staged: StagedFile, uri: str) -> StoredFile:
        self._put_once(uri, staged.path, sha256=staged.digest.sha256)
        columns = {field.name: str(field.type) for field in staged.schema}
        return StoredFile(uri=uri, sha256=staged.digest.sha256, size_bytes=staged.digest.size_bytes, rows=staged.rows, columns=columns)

    @contextmanager
    def open_rows(self, stored: StoredFile) -> Iterator[Rows]:
        with spool("training-", parent=self._workdir) as directory:
            path = directory / "rows.parquet"
            self._objects.download(stored.uri, path)
            found = digest(path)
            if found.sha256 != stored.sha256:
                raise InvalidDataError(
                    f"{stored.uri} has SHA-256 {found.sha256}; expected {stored.sha256}, as its manifest says. Restore the object from a "
                    "backup or its previous S3 version."
                )
            yield Rows(pq.read_schema(path), lambda: _batches(path))

    def put_manifest(self, manifest: TrainingManifest) -> None:
        uri = f"{self.directory(manifest.training_set)}{MANIFEST}"
        try:
            self._objects.put(uri, manifest.to_json(), write_id=uuid4().hex, sha256=None, condition=IfAbsent())
        except ConflictError:
            if self.manifest(manifest.training_set).data.sha256 != manifest.data.sha256:
                raise

    def find(self, name: str) -> TrainingManifest | None:
        uri = f"{self.directory(name)}{MANIFEST}"
        stored = self._objects.get(uri)
        return parse_manifest(stored.body, uri=uri) if stored else None

    def manifest(self, name: str) -> TrainingManifest:
        found = self.find(name)
        if found is None:
            known = ", ".join(self.names()) or "none"
            raise UnknownNameError(f"There is no training set {name!r}; there are: {known}.")
        return found

    def names(self) -> Sequence[str]:
        found = [uri.removeprefix(self._base).rstrip("/") for uri in self._objects.directories(self._base)]
        return [name for name in found if self._objects.head(f"{self.directory(name)}{MANIFEST}")]

    def delete_rows(self, manifest: TrainingManifest) -> None:
        for file in (manifest.data, manifest.labels):
            self._objects.delete(file.uri)

    def delete_manifest(self, name: str) -> None:
        self._objects.delete(f"{self.directory(name)}{MANIFEST}")

    def _put_once(self, uri: str, path: Path, *, sha256: str) -> None:
        try:
            self._objects.put(uri, path, write_id=uuid4().hex, sha256=sha256, condition=IfAbsent())
        except ConflictError:
            info = self._objects.head(uri)
            if info is None or info.sha256 != sha256:
                raise


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        yield from file.iter_batches()
