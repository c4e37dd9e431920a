"""A feature set's rows on their way from compute to a version: values only, streamed in batches.

Computing, encoding and storing rows do not belong here.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from feature_platform.core.objects import Content


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Rows of one feature set as of one moment.

    Shape: one row per primary key, sorted by it, columns and types of ``schema`` (the contract's ``arrow_schema``). ``batches`` may be
    called more than once and yields the same rows each time, so that nothing forces the whole table into memory. ``size_bytes`` is what
    the rows would take there, as far as known.
    """

    schema: pa.Schema
    batches: Callable[[], Iterator[pa.RecordBatch]]
    size_bytes: int = 0

    @classmethod
    def from_arrow(cls, table: pa.Table) -> "FeatureTable":
        return cls(schema=table.schema, batches=lambda: iter(table.to_batches()), size_bytes=table.nbytes)

    def to_arrow(self) -> pa.Table:
        """Every row in memory; for previews, notebooks and tests."""
        return pa.Table.from_batches(list(self.batches()), schema=self.schema)


@dataclass(frozen=True, slots=True)
class FileDigest:
    """What identifies a file's content, whatever its name."""

    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, body: bytes) -> "FileDigest":
        return cls(hashlib.sha256(body).hexdigest(), len(body))


@dataclass(frozen=True, slots=True)
class EncodedFeatures:
    """The two data files of a version, on local disk or to be encoded again, and what was computed while encoding them.

    ``content_hash`` is the logical hash of the rows: independent of file format, batch sizes and compression.
    ``statistics`` has one entry per column: ``nulls``, ``min``, ``max``, ``mean``, ``quantiles``, ``distinct`` (JSON values).
    """

    parquet: Content
    csv: Content
    digests: Mapping[str, FileDigest]
    row_count: int
    content_hash: str
    statistics: Mapping[str, Mapping[str, object]]
