"""Rows of raw objects as Arrow batches under names of our own, so that no column of a file can collide with ours.

How a format is read does not belong here (``csv_records``, ``json_records``, ``parquet_records``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy.typing as npt
import pyarrow as pa

ROW: Final = "row"
FAULT: Final = "fault"
ORIGINAL: Final = "original"


class Record(NamedTuple):
    """One record read exactly: the line it starts in (from 1), its text, and its cells or why it has none.

    A named tuple, because millions may be made: a frozen dataclass takes three times as long.
    """

    line: int
    text: str
    cells: Sequence[str | None] = ()
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Rows whose cells are text: ``row`` (line number), ``fault``, ``original``, then ``c0…`` for the contract's columns in order."""

    rows: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class TypedBatch:
    """Rows whose cells are typed already: ``row`` (line number), then ``c0…``; all of them are readable.

    ``as_text`` reads some of them again, by line number, with the exact reader.
    """

    rows: pa.RecordBatch
    as_text: Callable[[npt.NDArray[Any]], TextBatch]


@dataclass(frozen=True, slots=True)
class FileBatch:
    """Rows of a typed file: ``row`` (from 1), then ``f0…`` for the file's own columns, whose names are ``names``."""

    rows: pa.RecordBatch
    names: Sequence[str]


Batch = TextBatch | TypedBatch | FileBatch


def cell_name(place: int) -> str:
    """Name of the cells of the contract's column at a place."""
    return f"c{place}"


def file_column(place: int) -> str:
    """Our name of the file's column at a place; it cannot collide, whatever the file calls its columns."""
    return f"f{place}"


def text_batch(rows: pa.Array, faults: pa.Array, originals: pa.Array, cells: Sequence[pa.Array]) -> TextBatch:
    """A batch of these columns."""
    names = [ROW, FAULT, ORIGINAL, *(cell_name(place) for place in range(len(cells)))]
    return TextBatch(pa.RecordBatch.from_arrays([rows, faults, originals, *cells], names=names))


def batch_of(records: Sequence[Record], *, width: int) -> TextBatch:
    """Records as a batch; ``width`` is the number of the contract's columns."""
    try:
        return _arrow(records, width)
    except UnicodeEncodeError:
        return _arrow([_encodable(record) for record in records], width)


def _arrow(records: Sequence[Record], width: int) -> TextBatch:
    empty = [None] * width
    rows = [record.cells if record.fault is None else empty for record in records]
    text = pa.string()
    return text_batch(
        pa.array([record.line for record in records], type=pa.int64()),
        pa.array([record.fault for record in records], type=text),
        pa.array([record.text for record in records], type=text),
        [pa.array([row[place] for row in rows], type=text) for place in range(width)],
    )


def _encodable(record: Record) -> Record:
    """The record itself, or an unreadable one where an escape in it is half a surrogate pair, which no UTF-8 text can hold."""
    try:
        "".join(cell for cell in record.cells if cell).encode()
    except UnicodeEncodeError as error:
        text = record.text.encode(errors="backslashreplace").decode()
        return Record(record.line, text, fault=f"a cell holds {error.object[error.start]!a}, half a surrogate pair")
    return record


def decoded(line: bytes) -> tuple[str, str | None]:
    """Text of a record, and the fault where it is not UTF-8 (its wrong bytes are then spelled ``\\xff``)."""
    try:
        return line.decode(), None
    except UnicodeDecodeError as error:
        return line.decode(errors="backslashreplace"), f"byte {error.start + 1} is {line[error.start]:#04x}, which is no UTF-8"


def is_utf8(text: bytes) -> bool:
    """Whether bytes are UTF-8."""
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
