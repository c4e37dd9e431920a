"""A day's judged rows as files: kept rows to ``validated/``, rejected ones with their reasons to ``quarantine/``, each with a manifest.

Judging the rows does not belong here; they lie wherever an engine judged them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import pyarrow as pa

from feature_platform.adapters.events.partition_files import write_parts
from feature_platform.adapters.events.read_ahead import read_ahead
from feature_platform.core.contract.source import REASONS, SourceContract
from feature_platform.core.events.raw import RawManifest
from feature_platform.core.events.validated import (
    MANIFEST,
    QUARANTINE_SCHEMA,
    DataFile,
    ValidatedDay,
    require_acceptable,
    require_nothing_lost,
    validated_schema,
)
from feature_platform.core.layout import quarantine_partition, validated_partition
from feature_platform.ports.object_store import ObjectStore


class JudgedRows(Protocol):
    """Every row of a day, judged; each method is one query over them."""

    def counts(self) -> Mapping[str | None, int]:
        """Rows by reason to reject them; the kept ones under None."""

    def values(self) -> Sequence[int]:
        """How many rows have a value of each column of the contract."""

    def kept(self) -> Iterator[pa.RecordBatch]:
        """The validated events in their order, in the columns of the contract."""

    def quarantined(self) -> Iterator[pa.RecordBatch]:
        """The rejected rows by position of their raw object and number: those, reason, detail, original text."""


class DayFiles:
    """Writes one validated day of a source.

    Args:
        store: Where the files are written.
        work_uri: Base of ``validated/`` and ``quarantine/``.
        directory: An existing local directory for one file at a time.
    """

    def __init__(self, store: ObjectStore, *, work_uri: str, source: SourceContract, directory: Path) -> None:
        self._store, self._work_uri, self._source, self._directory = store, work_uri, source, directory

    def publish(self, raw: RawManifest, rows: JudgedRows) -> ValidatedDay:
        """Write both sets of files, and last the manifest; see :meth:`ComputeEngine.validate`.

        Args:
            raw: The day's objects, each with the number of its rows.
            rows: All of these rows.
        """
        counts = dict(rows.counts())
        kept = counts.pop(None, 0)
        rejected: dict[str, int] = {reason: counts[reason] for reason in REASONS if reason in counts}
        require_nothing_lost(partition=raw.partition, rows_in=raw.rows or 0, kept=kept, rejected=rejected)
        quarantine_uri = quarantine_partition(self._work_uri, raw.source, raw.partition)
        day = ValidatedDay(
            source=raw.source,
            partition=raw.partition,
            source_hash=self._source.schema_hash,
            raw=raw,
            kept=kept,
            rejected=rejected,
            files=(),
            quarantine=self._write(_named(rows.quarantined(), raw), QUARANTINE_SCHEMA, quarantine_uri),
            missing_columns=self._missing(rows, raw),
        )
        self._put_manifest(quarantine_uri, day)
        require_acceptable(self._source, day, quarantine=quarantine_uri)
        validated_uri = validated_partition(self._work_uri, raw.source, raw.partition)
        schema = validated_schema(self._source)
        day = replace(day, files=self._write((batch.cast(schema) for batch in rows.kept()), schema, validated_uri))
        self._put_manifest(validated_uri, day)
        return day

    def _missing(self, rows: JudgedRows, raw: RawManifest) -> tuple[str, ...]:
        """Columns that no row has a value of, among those that no first record has: most often these are none, and nothing is counted."""
        if not raw.missing_columns:
            return ()
        counted = zip(self._source.columns, rows.values(), strict=True)
        return tuple(column.name for column, count in counted if column.name in raw.missing_columns and not count)

    def _write(self, batches: Iterator[pa.RecordBatch], schema: pa.Schema, prefix: str) -> tuple[DataFile, ...]:
        with read_ahead([lambda: batches], threads=1) as ahead:  # the engine sorts and fetches while files are encoded
            rows = (batch for _, batch in ahead)
            return write_parts(self._store, rows, schema=schema, prefix=prefix, directory=self._directory)

    def _put_manifest(self, prefix: str, day: ValidatedDay) -> None:
        self._store.put(f"{prefix}{MANIFEST}", day.manifest(), write_id=uuid4().hex, sha256=None, condition=None)


def _named(batches: Iterator[pa.RecordBatch], raw: RawManifest) -> Iterator[pa.RecordBatch]:
    """Quarantined rows with the URI of their raw object."""
    uris = pa.array([item.uri for item in raw.objects], type=pa.string())
    for batch in batches:
        columns: list[Any] = [uris.take(batch.column(0)), *batch.columns[1:]]
        yield pa.RecordBatch.from_arrays(
            [column.cast(field.type) for column, field in zip(columns, QUARANTINE_SCHEMA, strict=True)], schema=QUARANTINE_SCHEMA
        )
