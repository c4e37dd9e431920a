"""Raw rows of a day judged by DuckDB: all of them in this process, or one object's, as files from which another engine takes the kept ones.

The rules do not belong here (``core.compute.validation_sql``, ``judged_sql``), nor reading raw objects (``adapters.events.raw_reading``),
nor writing a validated day (``adapters.compute.day_files``).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import chain
from pathlib import Path

import duckdb
import pyarrow as pa

from feature_platform.adapters.compute.day_files import DayFiles
from feature_platform.adapters.compute.duckdb.rows import DayRows
from feature_platform.adapters.compute.duckdb.session import EngineLimits, PinnedObject, fetch_batches, open_session, pinned_path
from feature_platform.adapters.events.partition_files import write_parts
from feature_platform.adapters.events.raw_reading import raw_groups
from feature_platform.adapters.events.raw_records import Batch
from feature_platform.adapters.events.read_ahead import read_ahead
from feature_platform.core.compute import judged_sql as sql
from feature_platform.core.compute.dialect import identifier, text_literal
from feature_platform.core.compute.validation_sql import PARSED
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawManifest, RawObject, ReadLimits, require_readable
from feature_platform.core.events.validated import DataFile, ValidatedDay
from feature_platform.core.layout import as_of
from feature_platform.errors import InvalidDataError
from feature_platform.ports.object_store import ObjectStore


class DayValidation:
    """Judges the rows of one day of one source.

    Args:
        store: Where raw objects are read and results are written.
        directory: An existing, empty local directory for this validation alone.
    """

    def __init__(
        self, store: ObjectStore, *, source: SourceContract, directory: Path, limits: EngineLimits, read_limits: ReadLimits
    ) -> None:
        self._store, self._source = store, source
        self._directory, self._limits, self._read_limits = directory, limits, read_limits

    def run(self, raw: RawManifest, *, work_uri: str) -> ValidatedDay:
        """Judge every row and write the day; see :meth:`ComputeEngine.validate`."""
        with self._session(raw) as connection:
            judged = self._insert(connection, raw)
            for statement in sql.find_losers(self._source):
                connection.execute(statement)
            files = DayFiles(self._store, work_uri=work_uri, source=self._source, directory=self._directory)
            return files.publish(judged, _JudgedHere(connection, self._source))

    def stage(self, raw: RawManifest, *, place: int, prefix: str) -> tuple[int, tuple[DataFile, ...]]:
        """Judge the rows of one object and write them, in the columns of ``select_staged``; returns their number, and the files.

        Args:
            raw: The object alone.
            place: Its position in the day's manifest.
            prefix: Where the files are written; ends in ``/``.

        Raises:
            InvalidDataError: The object cannot be read as a whole; nothing was written.
            ConflictError: It changed since the manifest was made; nothing was written.
        """
        with self._session(raw) as connection:
            [judged] = self._insert(connection, raw).objects
            rows = fetch_batches(connection.sql(sql.select_staged(self._source, file=place)))
            first = next(rows, None)
            if first is None:
                return 0, ()
            files = write_parts(self._store, chain([first], rows), schema=first.schema, prefix=prefix, directory=self._directory)
            return judged.rows or 0, files

    @contextmanager
    def _session(self, raw: RawManifest) -> Iterator[duckdb.DuckDBPyConnection]:
        names = {_name(place): item for place, item in enumerate(raw.objects) if item.format == "parquet"}
        objects = {name: PinnedObject(item.uri, item.etag, item.size_bytes) for name, item in names.items()}
        try:
            with open_session(store=self._store, objects=objects, directory=self._directory, limits=self._limits) as connection:
                yield connection
        except duckdb.Error as error:
            raise InvalidDataError(
                f"Source {raw.source!r} for {raw.partition} cannot be validated: {_reason(error)}. "
                "Give the engine more memory or disk, or split the day's files."
            ) from error

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


class _JudgedHere:
    """See :class:`JudgedRows`: the rows of a connection's table."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, source: SourceContract) -> None:
        self._connection, self._source = connection, source

    def counts(self) -> Mapping[str | None, int]:
        return dict(self._connection.execute(sql.count_by_reason()).fetchall())

    def values(self) -> Sequence[int]:
        return list(self._connection.execute(sql.count_values(self._source, relation=PARSED)).fetchall()[0])

    def kept(self) -> Iterator[pa.RecordBatch]:
        return fetch_batches(self._connection.sql(sql.select_kept(self._source)))

    def quarantined(self) -> Iterator[pa.RecordBatch]:
        return fetch_batches(self._connection.sql(sql.select_quarantined(self._source)))


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
