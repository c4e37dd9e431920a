"""Immutable Parquet files of one partition, named by their content, and the manifest that names them.

What rows they hold does not belong here.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from feature_platform.core.events.validated import DataFile
from feature_platform.core.objects import IfAbsent
from feature_platform.core.parquet import fitting_encodings
from feature_platform.core.row_groups import in_row_groups
from feature_platform.errors import ConflictError
from feature_platform.ports.object_store import ObjectStore

ROWS_PER_FILE: Final = 4_194_304


def write_parts(
    store: ObjectStore, batches: Iterator[pa.RecordBatch], *, schema: pa.Schema, prefix: str, directory: Path
) -> tuple[DataFile, ...]:
    """Write rows as ``part-<n>-<sha256>.parquet`` files below a prefix: equal rows make equal files.

    A name contains the file's hash, so an existing file is never written again and none is ever overwritten. Files that an earlier attempt
    left behind are never read, because readers open only what a manifest names.

    Args:
        prefix: URI that ends in ``/``.
        directory: An existing local directory for one file at a time.
    """
    parts: list[DataFile] = []
    rows_in_order = in_row_groups(batches, schema)
    batch = next(rows_in_order, None)
    while batch is not None:
        path = directory / "part.parquet"
        rows = 0
        with pq.ParquetWriter(
            path, schema, compression="zstd", compression_level=1, write_page_checksum=True, version="2.6", **fitting_encodings(batch)
        ) as writer:
            while batch is not None and rows + batch.num_rows <= ROWS_PER_FILE:
                writer.write_batch(batch)
                rows += batch.num_rows
                batch = next(rows_in_order, None)
        parts.append(_stored(store, path, prefix=prefix, place=len(parts), rows=rows))
        path.unlink()
    return tuple(parts)


def _stored(store: ObjectStore, path: Path, *, prefix: str, place: int, rows: int) -> DataFile:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    uri = f"{prefix}part-{place:05d}-{sha256[:16]}.parquet"
    size_bytes = path.stat().st_size
    etag = _etag_of(store, uri, sha256=sha256)
    if etag is None:
        try:
            etag = store.put(uri, path, write_id=uuid4().hex, sha256=sha256, condition=IfAbsent())
        except ConflictError:
            etag = _etag_of(store, uri, sha256=sha256)  # another run of the same day wrote the same rows first
            if etag is None:
                raise
    return DataFile(uri=uri, etag=etag, sha256=sha256, size_bytes=size_bytes, rows=rows)


def _etag_of(store: ObjectStore, uri: str, *, sha256: str) -> str | None:
    """ETag of the object where it exists with this content.

    Raises:
        ConflictError: It exists with other content.
    """
    info = store.head(uri)
    if info is None:
        return None
    if info.sha256 != sha256:
        raise ConflictError(
            f"{uri} exists with SHA-256 {info.sha256}; expected {sha256}, as its name says. Someone else wrote it: remove it and run again."
        )
    return info.etag
