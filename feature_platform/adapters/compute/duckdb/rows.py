"""Raw rows of every format, judged by DuckDB and inserted into its table of a day's rows.

The rules do not belong here (``core.compute.validation_sql``), nor does reading files.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_platform.adapters.events.raw_records import FAULT, ORIGINAL, ROW, Batch, TextBatch, TypedBatch, cell_name, file_column
from feature_platform.core.compute import validation_sql as sql
from feature_platform.core.compute.dialect import text_literal
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawObject
from feature_platform.errors import InvalidDataError

SLICE_ROWS: Final = 16_384
"""DuckDB gives each thread one Arrow batch at a time, so a statement's rows come in several."""

_RAW: Final = "raw_rows"


class DayRows:
    """The table of one day's judged rows.

    Args:
        source: The source contract by which rows are judged.
        day: Start of the partition, UTC.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, source: SourceContract, *, day: datetime) -> None:
        self._connection, self._source, self._day = connection, source, day
        self._importable_types: dict[pa.DataType, bool] = {}
        connection.execute(sql.create_parsed(source))

    def add(self, file: int, group: Sequence[Batch], *, item: RawObject) -> int:
        """Judge and keep rows of the raw object at a place of the manifest; returns how many they are.

        Args:
            group: Batches of one kind and shape.
        """
        if isinstance(group[0], TypedBatch):
            return self._add_typed(file, group)
        if isinstance(group[0], TextBatch):
            return self._add_text(file, group)
        return self._add_file(file, group, group[0].names, item)

    def _add_text(self, file: int, batches: Sequence[Batch]) -> int:
        cells = [sql.RawCells(cell_name(place)) for place in range(len(self._source.columns))]
        original = f"rtrim({ORIGINAL}, chr(13) || chr(10))"
        statement = sql.insert_parsed(self._source, relation=_RAW, file=file, original=original, cells=cells, day=self._day)
        with self._registered([batch.rows for batch in batches]):
            return int(self._connection.execute(statement).fetchall()[0][0])

    def _add_typed(self, file: int, batches: Sequence[Batch]) -> int:
        with self._registered([batch.rows for batch in batches]):
            kinds = self._sql_types()
            cells = [sql.RawCells(name, kinds[name]) for name in map(cell_name, range(len(self._source.columns)))]
            clean = sql.insert_clean(self._source, relation=_RAW, file=file, cells=cells, day=self._day)
            inserted = int(self._connection.execute(clean).fetchall()[0][0])
            if inserted == sum(batch.rows.num_rows for batch in batches):
                return inserted
            unclean = sql.select_unclean(self._source, relation=_RAW, cells=cells, day=self._day)
            left = np.sort(self._connection.execute(unclean).fetchnumpy()[ROW])
        return inserted + self._add_text(file, [text for batch in batches if (text := _as_text(batch, left))])

    def _add_file(self, file: int, batches: Sequence[Batch], names: Sequence[str], item: RawObject) -> int:
        with self._registered([self._readable(batch.rows, item=item, names=names) for batch in batches]):
            kinds = self._sql_types()
            places = [file_column(names.index(column.name)) for column in self._source.columns]
            cells = [sql.RawCells(place, kinds[place]) for place in places]
            # An object made of pairs: a struct's field names would have to differ in more than case.
            pairs = ", ".join(
                f"{text_literal(name)}, {file_column(place)}" for place, name in enumerate(names) if file_column(place) in kinds
            )
            original = f"CAST(json_object({pairs}) AS VARCHAR)"
            relation = f"(SELECT *, CAST(NULL AS VARCHAR) AS {FAULT} FROM {_RAW})"
            statement = sql.insert_parsed(self._source, relation=relation, file=file, original=original, cells=cells, day=self._day)
            return int(self._connection.execute(statement).fetchall()[0][0])

    def _readable(self, batch: pa.RecordBatch, *, item: RawObject, names: Sequence[str]) -> pa.RecordBatch:
        """The batch in types that DuckDB reads: what it does not becomes text, or is left out where the contract does not name it."""
        fields, columns = [], []
        for field, column in zip(batch.schema, batch.columns, strict=True):
            taken = self._importable(column)
            if taken is not None:
                fields.append(pa.field(field.name, taken.type))
                columns.append(taken)
                continue
            name = names[int(field.name[1:])]
            if any(name == wanted.name for wanted in self._source.columns):
                raise InvalidDataError(
                    f"{item.uri}: column {name!r} has type {field.type}, which cannot be read; expected a plain or list type. "
                    "Nothing of the day was written; have upstream write another type."
                )
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))

    def _importable(self, column: pa.Array) -> pa.Array | None:
        if self._can_import(column.type):
            return column
        try:
            return column.cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None

    def _can_import(self, kind: pa.DataType) -> bool:
        if kind not in self._importable_types:
            try:
                with self._registered([pa.RecordBatch.from_arrays([pa.array([], type=kind)], names=["x"])]):
                    self._sql_types()
            except (duckdb.Error, pa.ArrowException):
                self._importable_types[kind] = False
            else:
                self._importable_types[kind] = True
        return self._importable_types[kind]

    def _sql_types(self) -> dict[str, str]:
        return {name: kind for name, kind, *_ in self._connection.execute(f"DESCRIBE {_RAW}").fetchall()}

    @contextmanager
    def _registered(self, batches: Sequence[pa.RecordBatch]) -> Iterator[None]:
        slices = [batch.slice(at, SLICE_ROWS) for batch in batches for at in range(0, batch.num_rows, SLICE_ROWS)]
        self._connection.register(_RAW, pa.Table.from_batches(slices, schema=batches[0].schema))
        try:
            yield
        finally:
            self._connection.unregister(_RAW)


def _as_text(batch: Batch, numbers: npt.NDArray[Any]) -> TextBatch | None:
    """The rows of a batch that have the given numbers, in order, as text."""
    if not isinstance(batch, TypedBatch) or not batch.rows.num_rows:
        return None
    first, last = batch.rows[ROW][0].as_py(), batch.rows[ROW][-1].as_py()
    wanted = numbers[np.searchsorted(numbers, first) : np.searchsorted(numbers, last, "right")]
    return batch.as_text(wanted) if len(wanted) else None
