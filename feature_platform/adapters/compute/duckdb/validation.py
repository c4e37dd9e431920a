"""One day of raw objects judged by DuckDB: kept rows to ``validated/``, rejected rows with their reasons to ``quarantine/``.

The rules do not belong here (``core.compute.validation_sql``), nor does reading raw objects (``adapters.events.raw_reading``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pyarrow as pa

from feature_platform.adapters.compute.duckdb.rows import DayRows
from feature_platform.adapters.compute.duckdb.session import EngineLimits, PinnedObject, fetch_batches, open_session, pinned_path
from feature_platform.adapters.events.partition_files import write_parts
from feature_platform.adapters.events.raw_reading import raw_groups
from feature_platform.adapters.events.raw_records import Batch
from feature_platform.adapters.events.read_ahead import read_ahead
from feature_platform.core.compute import validation_sql as sql
from feature_platform.core.compute.dialect import identifier, text_literal
from feature_platform.core.contract.source import REASONS, SourceContract
from feature_platform.core.events.raw import RawManifest, RawObject, ReadLimits, require_readable
from feature_platform.core.events.validated import (
    MANIFEST,
    QUARANTINE_SCHEMA,
    DataFile,
    ValidatedDay,
    require_acceptable,
    require_nothing_lost,
    validated_schema,
)
from feature_platform.core.layout import as_of, quarantine_partition, validated_partition
from feature_platform.errors import InvalidDataError
from feature_platform.ports.object_store import ObjectStore


class DayValidation:
    """Validates one day of one source.

    Args:
        store: Where raw objects are read and results are written.
        work_uri: Base of ``validated/`` and ``quarantine/``.
        directory: An existing, empty local directory for this validation alone.
    """

    def __init__(
        self, store: ObjectStore, *, work_uri: str, source: SourceContract, directory: Path, limits: EngineLimits, read_limits: ReadLimits
    ) -> None:
        self._store, self._work_uri, self._source = store, work_uri, source
        self._directory, self._limits, self._read_limits = directory, limits, read_limits

    def run(self, raw: RawManifest) -> ValidatedDay:
        """Judge every row, write both sets of files, then the manifest; see :meth:`ComputeEngine.validate`."""
        names = {_name(place): item for place, item in enumerate(raw.objects) if item.format == "parquet"}
        objects = {name: PinnedObject(item.uri, item.etag, item.size_bytes) for name, item in names.items()}
        try:
            with open_session(store=self._store, objects=objects, directory=self._directory, limits=self._limits) as connection:
                return self._judge(connection, self._insert(connection, raw))
        except duckdb.Error as error:
            raise InvalidDataError(
                f"Source {raw.source!r} for {raw.partition} cannot be validated: {_reason(error)}. "
                "Give the engine more memory or disk, or split the day's files."
            ) from error

    def _judge(self, connection: duckdb.DuckDBPyConnection, raw: RawManifest) -> ValidatedDay:
        for statement in sql.find_losers(self._source):
            connection.execute(statement)
        counts = dict(connection.execute(sql.count_by_reason()).fetchall())
        kept = counts.pop(None, 0)
        rejected = {reason: counts[reason] for reason in REASONS if reason in counts}
        rows = sum(item.rows or 0 for item in raw.objects)
        require_nothing_lost(partition=raw.partition, rows_in=rows, kept=kept, rejected=rejected)
        return self._publish(connection, raw, kept, rejected)

    def _missing(self, connection: duckdb.DuckDBPyConnection, raw: RawManifest) -> tuple[str, ...]:
        """Columns that no row has a value of, among those that no first record has: most often these are none, and nothing is counted."""
        names = {f"v{place}": column.name for place, column in enumerate(self._source.columns) if column.name in raw.missing_columns}
        if not names:
            return ()
        counts = connection.execute(f"SELECT {', '.join(f'count({value})' for value in names)} FROM {sql.PARSED}").fetchall()[0]
        return tuple(name for name, count in zip(names.values(), counts, strict=True) if not count)

    def _publish(self, connection: duckdb.DuckDBPyConnection, raw: RawManifest, kept: int, rejected: dict[str, int]) -> ValidatedDay:
        quarantine_uri = quarantine_partition(self._work_uri, raw.source, raw.partition)
        quarantine = self._write(self._quarantined(connection, raw), QUARANTINE_SCHEMA, quarantine_uri)
        day = ValidatedDay(
            source=raw.source,
            partition=raw.partition,
            source_hash=self._source.schema_hash,
            raw=raw,
            kept=kept,
            rejected=rejected,
            files=(),
            quarantine=quarantine,
            missing_columns=self._missing(connection, raw),
        )
        self._put_manifest(quarantine_uri, day)
        require_acceptable(self._source, day, quarantine=quarantine_uri)
        validated_uri = validated_partition(self._work_uri, raw.source, raw.partition)
        schema = validated_schema(self._source)
        files = self._write(self._kept(connection, schema), schema, validated_uri)
        day = replace(day, files=files)
        self._put_manifest(validated_uri, day)
        return day

    def _write(self, batches: Iterator[pa.RecordBatch], schema: pa.Schema, prefix: str) -> tuple[DataFile, ...]:
        with read_ahead([lambda: batches], threads=1) as ahead:  # the engine sorts and fetches while files are encoded
            rows = (batch for _, batch in ahead)
            return write_parts(self._store, rows, schema=schema, prefix=prefix, directory=self._directory)

    def _put_manifest(self, prefix: str, day: ValidatedDay) -> None:
        self._store.put(f"{prefix}{MANIFEST}", day.manifest(), write_id=uuid4().hex, sha256=None, condition=None)

    def _insert(self, connection: duckdb.DuckDBPyConnection, raw: RawManifest) -> RawManifest:
        """Judge every row; returns the manifest with the rows of every object."""
        rows = DayRows(connection, self._source, day=as_of(raw.partition) - timedelta(days=1))
        widths = [0] * len(raw.objects)
        for place, item in enumerate(raw.objects):
            if item.format == "parquet":
                with _unreadable(raw, item):
                    widths[place] = self._widest_row(connection, place, item)
        inserted = [0] * len(raw.objects)
        faults: list[str] = []
        readers = [partial(self._groups, item, width, faults) for item, width in zip(raw.objects, widths, strict=True)]
        with read_ahead(readers, threads=self._limits.threads) as groups:
            for place, group in groups:
                if not faults:
                    with _unreadable(raw, raw.objects[place]):
                        inserted[place] += rows.add(place, group, item=raw.objects[place])
                    faults += self._read_limits.beyond_rows(sum(inserted), f"The day {raw.partition}")
        counted = [replace(item, rows=found) for item, found in zip(raw.objects, inserted, strict=True)]
        faults += [
            f"{item.uri} holds {now.rows} rows; expected the {item.rows} it announced"
            for item, now in zip(raw.objects, counted, strict=True)
            if not faults and item.rows not in (None, now.rows)
        ]
        require_readable(faults, source=raw.source, partition=raw.partition)
        return replace(raw, objects=tuple(counted))

    def _groups(self, item: RawObject, row_bytes: int, faults: list[str]) -> Iterator[list[Batch]]:
        """An object's rows; what makes it unreadable goes to ``faults``, so that all objects of the day are told together."""
        try:
            yield from raw_groups(self._store, item, source=self._source, limits=self._read_limits, row_bytes=row_bytes)
        except InvalidDataError as error:
            faults += [error.subject, *error.faults]

    def _widest_row(self, connection: duckdb.DuckDBPyConnection, place: int, item: RawObject) -> int:
        """Bytes of a Parquet file's widest row. A footer can claim anything, so the cells themselves are measured.

        DuckDB streams them by vectors that point into a page's dictionary, so measuring takes little memory whatever they would expand to.
        Arrow, which reads them afterwards because it verifies checksums, expands them.

        Raises:
            InvalidDataError: The file decodes to more than the limits allow.
        """
        scan = f"read_parquet({text_literal(pinned_path(_name(place)))}, hive_partitioning = false)"
        found = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()}
        measured = [name for name, kind in found.items() if _is_wide(kind)]
        fixed = 8 * (len(found) - len(measured))
        width = " + ".join([str(fixed), *(_cell_bytes(name, found[name]) for name in measured)])
        widest, total = connection.execute(f"SELECT max(width), sum(width) FROM (SELECT {width} AS width FROM {scan})").fetchall()[0]
        limits = self._read_limits
        if (widest or 0) > limits.max_row_bytes or (total or 0) > limits.max_object_bytes:
            raise InvalidDataError(
                f"{item.uri} ({item.size_bytes} bytes) decodes to {total} bytes, its widest row to {widest}; expected at most "
                f"{limits.max_object_bytes} (max_object_bytes) and {limits.max_row_bytes} (max_row_bytes). Nothing of the day was written; "
                "split the file or raise the limits if it is no mistake."
            )
        return widest or 0

    def _kept(self, connection: duckdb.DuckDBPyConnection, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for batch in fetch_batches(connection.sql(sql.select_kept(self._source))):
            yield batch.cast(schema)

    def _quarantined(self, connection: duckdb.DuckDBPyConnection, raw: RawManifest) -> Iterator[pa.RecordBatch]:
        uris = pa.array([item.uri for item in raw.objects], type=pa.string())
        for batch in fetch_batches(connection.sql(sql.select_quarantined(self._source))):
            columns: list[Any] = [uris.take(batch.column(0)), *batch.columns[1:]]
            yield pa.RecordBatch.from_arrays(
                [column.cast(field.type) for column, field in zip(columns, QUARANTINE_SCHEMA, strict=True)], schema=QUARANTINE_SCHEMA
            )


def _reason(error: duckdb.Error) -> str:
    return str(error).split("\n", 1)[0]


@contextmanager
def _unreadable(raw: RawManifest, item: RawObject) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise InvalidDataError(
            f"{item.uri} ({item.size_bytes} bytes) cannot be read as {item.format}: {_reason(error)}. "
            f"Nothing of {raw.partition} was written."
        ) from error


def _name(place: int) -> str:
    return f"{place}.parquet"


def _is_wide(kind: str) -> bool:
    """Whether a cell of this type can hold any number of bytes."""
    return any(part in kind for part in ("VARCHAR", "BLOB", "[", "("))


def _cell_bytes(name: str, kind: str) -> str:
    if kind == "VARCHAR":
        return f"coalesce(strlen({identifier(name)}), 0)"
    if kind == "BLOB":
        return f"coalesce(octet_length({identifier(name)}), 0)"
    if kind.count("[") == 1 and not _is_wide(kind.removesuffix("[]")):
        return f"coalesce(len({identifier(name)}), 0) * 16"
    return f"coalesce(strlen(CAST({identifier(name)} AS VARCHAR)), 0)"
