"""The compute engine embedded in this process: DuckDB, larger than memory, on one machine.

What is computed does not belong here: ``core.compute.features_sql`` and ``core.compute.validation_sql`` say it in SQL.
"""

import json
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from feature_platform.adapters.compute.duckdb.session import EngineLimits, PinnedObject, open_session, pinned_path
from feature_platform.adapters.compute.duckdb.transform import select_transform
from feature_platform.adapters.compute.duckdb.validation import DayValidation
from feature_platform.adapters.machine.spool import disk_errors, full_disk, spool
from feature_platform.core.compute.dialect import identifier, sql_type, text_literal
from feature_platform.core.compute.features_sql import EVENTS, POSITION, compile_features
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawManifest, ReadLimits
from feature_platform.core.events.validated import MANIFEST, ValidatedDay, day_from
from feature_platform.core.layout import validated_partition, window_partitions
from feature_platform.core.versions.feature_table import FeatureTable
from feature_platform.errors import InvalidDataError
from feature_platform.ports.object_store import ObjectStore

FETCHED_ROWS: Final = 131_072
_NO_ROOM: Final = ("No space left on device", "Disk quota exceeded", "failed to offload data block")
"""What DuckDB says when it cannot spill: the system's words, or its own where the disk left no room for one more block."""

DEFAULT_LIMITS: Final = EngineLimits()
DEFAULT_READ_LIMITS: Final = ReadLimits()


class DuckDBEngine:
    """See :class:`ComputeEngine`.

    Args:
        store: Where raw objects, validated events and quarantine are.
        work_uri: Base of ``validated/`` and ``quarantine/``.
        workdir: Local directory for temporary files; the system's where left out.
        limits: Memory, threads and disk of one computation.
        read_limits: What one day of raw objects may hold.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        work_uri: str,
        workdir: Path | None = None,
        limits: EngineLimits = DEFAULT_LIMITS,
        read_limits: ReadLimits = DEFAULT_READ_LIMITS,
    ) -> None:
        self._store, self._work_uri, self._workdir = store, work_uri, workdir
        self._limits, self._read_limits = limits, read_limits

    def validate(self, source: SourceContract, raw: RawManifest) -> ValidatedDay:
        """See :meth:`ComputeEngine.validate`."""
        with spool("validate-", parent=self._workdir) as directory, _spill_errors(directory):
            validation = DayValidation(
                self._store,
                work_uri=self._work_uri,
                source=source,
                directory=directory,
                limits=self._limits,
                read_limits=self._read_limits,
            )
            return validation.run(raw)

    def read_day(self, source: SourceContract, partition: str) -> ValidatedDay | None:
        """See :meth:`ComputeEngine.read_day`."""
        uri = f"{validated_partition(self._work_uri, source.source, partition)}{MANIFEST}"
        stored = self._store.get(uri)
        return day_from(json.loads(stored.body), file=uri) if stored else None

    def build(self, contract: Contract, source: SourceContract, *, as_of: datetime, days: Sequence[ValidatedDay]) -> FeatureTable:
        """See :meth:`ComputeEngine.build`."""
        _require_days(contract, as_of, days)
        with disk_errors(self._workdir), ExitStack() as undo:
            table = _SpooledTable(self._workdir)
            undo.callback(table.discard)
            with _spill_errors(table.directory):
                rows = self._compute(contract, source, as_of, days, table)
            if not rows and contract.checks.min_rows:
                found = f"{sum(day.kept for day in days)} validated events in {', '.join(day.partition for day in days) or 'no day'}"
                raise InvalidDataError(
                    f"{_subject(contract, as_of)} has 0 rows; expected at least {contract.checks.min_rows} (checks.min_rows). "
                    f"The window has {found}."
                )
            undo.pop_all()
        return FeatureTable(schema=contract.arrow_schema, batches=table.batches)

    def _compute(
        self, contract: Contract, source: SourceContract, as_of: datetime, days: Sequence[ValidatedDay], table: "_SpooledTable"
    ) -> int:
        files = [file for day in sorted(days, key=lambda day: day.partition) for file in day.files]
        objects = {f"{place}.parquet": PinnedObject(file.uri, file.etag, file.size_bytes) for place, file in enumerate(files)}
        # A transform's own floating sums would differ in their last bits from run to run if threads shared them.
        limits = self._limits if contract.sql is None else replace(self._limits, threads=1)
        try:
            with open_session(store=self._store, objects=objects, directory=table.directory, limits=limits) as connection:
                _create_events(connection, list(objects), source, positioned=contract.sql is None)
                if contract.sql is not None:
                    query = select_transform(connection, contract, as_of=as_of, timeout_s=self._limits.transform_timeout_s)
                else:
                    query = compile_features(contract, source=source, as_of=as_of)
                return table.fill(_batches(connection, query, contract.arrow_schema), contract.arrow_schema)
        except duckdb.Error as error:
            raise InvalidDataError(f"{_subject(contract, as_of)} cannot be computed: {_message(error)}") from error


class _SpooledTable:
    """Rows in a file of their own, removed when the last reader of them is gone."""

    def __init__(self, parent: Path | None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="build-", dir=parent))
        self._file = self.directory / "rows.arrow"
        self.discard = weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)

    def fill(self, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> int:
        rows = 0
        with pa.OSFile(str(self._file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
        return rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        with pa.OSFile(str(self._file)) as source, pa.ipc.open_file(source) as reader:
            for place in range(reader.num_record_batches):
                yield reader.get_batch(place)


@contextmanager
def _spill_errors(directory: Path) -> Iterator[None]:
    """Tell a disk without room for DuckDB's temporary files from data that is wrong; DuckDB has no error class of its own for it."""
    try:
        yield
    except (duckdb.Error, InvalidDataError) as error:
        cause = error if isinstance(error, duckdb.Error) else error.__cause__
        if isinstance(cause, duckdb.Error) and any(sign in str(cause) for sign in _NO_ROOM):
            raise full_disk(directory.parent, reason=_message(cause).split("\n", 1)[0]) from error
        raise


def _batches(connection: duckdb.DuckDBPyConnection, query: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in connection.sql(query).to_arrow_reader(FETCHED_ROWS):
        yield batch.cast(schema)


def _create_events(connection: duckdb.DuckDBPyConnection, names: Sequence[str], source: SourceContract, *, positioned: bool) -> None:
    """The view of the window's events: the columns of the source contract, and the position where it is asked for.

    Days and their files are given in order, and rows lie in a file in the order of validated events.
    """
    if names:
        listed = ", ".join(text_literal(pinned_path(name)) for name in names)
        columns = ", ".join(identifier(column.name) for column in source.columns)
        position = f", (CAST(file_index AS BIGINT) << 40) + file_row_number AS {identifier(POSITION)}" if positioned else ""
        query = f"SELECT {columns}{position} FROM read_parquet([{listed}], hive_partitioning = false, file_row_number = {positioned})"
    else:
        columns = ", ".join(f"CAST(NULL AS {sql_type(column.type)}) AS {identifier(column.name)}" for column in source.columns)
        position = f", CAST(NULL AS BIGINT) AS {identifier(POSITION)}" if positioned else ""
        query = f"SELECT {columns}{position} WHERE false"
    connection.execute(f"CREATE VIEW {EVENTS} AS {query}")
    found = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE {EVENTS}").fetchall()}
    faults = [
        f"column {column.name!r} has type {found[column.name]}; expected {sql_type(column.type)}"
        for column in source.columns
        if found[column.name] != sql_type(column.type)
    ]
    if faults:
        raise InvalidDataError(
            f"Validated events of source {source.source!r} were written under another source contract; validate the days again:", faults
        )


def _require_days(contract: Contract, as_of: datetime, days: Sequence[ValidatedDay]) -> None:
    expected = window_partitions(as_of, days=contract.window_days)
    found = [day.partition for day in days]
    faults = [f"day {partition} stands more than once" for partition in sorted({item for item in found if found.count(item) > 1})]
    faults += [f"day {partition} is outside the window" for partition in sorted(set(found) - set(expected))]
    faults += [
        f"day {day.partition} is of source {day.source!r}; expected {contract.source!r}" for day in days if day.source != contract.source
    ]
    if faults:
        raise InvalidDataError(
            f"Feature set {contract.feature_set!r} as of {as_of.isoformat()} reads {expected[0]} to {expected[-1]}, each day once:", faults
        )


def _subject(contract: Contract, as_of: datetime) -> str:
    return f"Feature set {contract.feature_set!r} as of {as_of.isoformat()}"


def _message(error: duckdb.Error) -> str:
    return str(error).split("\n\n", 1)[0].removeprefix("Invalid Input Error: ")
