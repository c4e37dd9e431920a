"""Computed rows until they are written as a version: in a local file, or as an object. What they mean does not belong here."""

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import pyarrow as pa

from feature_platform.errors import FeaturePlatformError
from feature_platform.ports.object_store import ObjectStore


def write_rows(file: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    """Write batches as one Arrow file of a schema; returns the number of rows."""
    rows = 0
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch.cast(schema))
            rows += batch.num_rows
    return rows


class RowSpool:
    """Rows in an Arrow file (``file``) that is removed with its directory when this object is no longer referenced."""

    def __init__(self, parent: Path | None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="build-", dir=parent))
        self.file = self.directory / "rows.arrow"
        self.discard: Callable[[], object] = weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)

    @property
    def size_bytes(self) -> int:
        """Bytes of the rows in memory."""
        return self.file.stat().st_size

    def write(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
        """Keep rows of a schema; returns their number."""
        return write_rows(self.file, batches, schema)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows."""
        with pa.OSFile(str(self.file)) as source, pa.ipc.open_file(source) as reader:
            for place in range(reader.num_record_batches):
                yield reader.get_batch(place)


class ObjectSpool(RowSpool):
    """The same in one object, however many rows: the local directory stays empty."""

    size_bytes = 0

    def __init__(self, store: ObjectStore, uri: str, *, parent: Path | None) -> None:
        super().__init__(parent)
        self.discard()
        self._store, self._uri, self._etag = store, uri, ""
        self.discard = weakref.finalize(self, _remove, store, uri)

    def write(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
        rows = 0

        def into(sink: BinaryIO) -> None:
            nonlocal rows
            with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
                for batch in batches:
                    writer.write_batch(batch.cast(schema))
                    rows += batch.num_rows
                    self.size_bytes += batch.nbytes

        self._etag = self._store.put(self._uri, into, write_id=uuid4().hex, sha256=None, condition=None)
        return rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        with self._store.open(self._uri, etag=self._etag) as source, pa.ipc.open_stream(source) as reader:
            yield from reader


def _remove(store: ObjectStore, uri: str) -> None:
    with suppress(FeaturePlatformError):
        store.delete(uri)
