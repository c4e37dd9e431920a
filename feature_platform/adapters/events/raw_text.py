"""Records of CSV and JSON lines files, streamed: each either cells as text or the reason why it cannot be read.

Casting cells does not belong here (``core.compute.validation_sql``). Both formats are UTF-8, one record a line; a quoted CSV cell may
hold line breaks. Blank lines are no records.
"""

import csv
import gzip
import io
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, NamedTuple, cast

import pyarrow as pa

from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawObject, ReadLimits
from feature_platform.errors import InvalidDataError

BATCH_ROWS: Final = 65_536
BATCH_BYTES: Final = 32 << 20
LONGEST_QUOTED_LINES: Final = 1_000
"""A quoted cell that goes on for more lines than this was most likely never closed: its first line is unreadable, the rest is read anew."""

_BOM: Final = b"\xef\xbb\xbf"
_ALIEN_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")


class Record(NamedTuple):
    """One record: the line it starts in (from 1), its text, and its cells or why it has none.

    A named tuple, because millions are made: a frozen dataclass takes three times as long.
    """

    line: int
    text: str
    cells: Sequence[str | None] = ()
    fault: str | None = None


def record_schema(source: SourceContract) -> pa.Schema:
    """Shape of the batches of :func:`record_batches`: ``row``, ``original``, ``fault``, and a text column for each of the contract's."""
    return pa.schema(
        [("row", pa.int64()), ("original", pa.string()), ("fault", pa.string()), *((column.name, pa.string()) for column in source.columns)]
    )


def record_batches(file: BinaryIO, *, item: RawObject, source: SourceContract, limits: ReadLimits) -> Iterator[pa.RecordBatch]:
    """The records of one raw object, in batches bounded by rows and bytes.

    Raises:
        InvalidDataError: The file as a whole cannot be read: truncated, not UTF-8 text, a wrong header, beyond a limit.
    """
    schema = record_schema(source)
    waiting: list[Record] = []
    size = 0
    for record in records(file, item=item, names=[column.name for column in source.columns], limits=limits):
        waiting.append(record)
        size += len(record.text)
        if len(waiting) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield _batch(waiting, schema)
            waiting, size = [], 0
    if waiting:
        yield _batch(waiting, schema)


def records(file: BinaryIO, *, item: RawObject, names: Sequence[str], limits: ReadLimits) -> Iterator[Record]:
    """The records of one raw object; ``names`` are the columns whose cells are wanted, in order.

    Raises:
        InvalidDataError: See :func:`record_batches`.
    """
    with _whole_file_faults(item):
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if item.gzipped else file
        lines = _lines(stream, item=item, limits=limits)
        yield from (_csv_records(lines, item=item, names=names) if item.format == "csv" else _json_records(lines, names=names))


def extra_columns(file: BinaryIO, *, item: RawObject, source: SourceContract, limits: ReadLimits) -> tuple[str, ...]:
    """Columns of a CSV file's header that its source contract does not name; they are ignored.

    Raises:
        InvalidDataError: A column that the contract names is missing.
    """
    if item.format != "csv":
        return ()
    with _whole_file_faults(item):
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if item.gzipped else file
        names = [column.name for column in source.columns]
        header = _header(_lines(stream, item=item, limits=limits), item=item, names=names)
    return tuple(name for name in header if name not in names)


@contextmanager
def _whole_file_faults(item: RawObject) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidDataError(
            f"{item.uri} is not a whole gzip file: {error}. Expected one that decompresses to its end; have upstream deliver it again. "
            "Nothing of the day was written."
        ) from error


def _lines(stream: BinaryIO, *, item: RawObject, limits: ReadLimits) -> Iterator[tuple[int, bytes]]:
    """Line number and content without its end, each line and their sum bounded."""
    number = total = 0
    reader = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast("Any", stream), 1 << 20)
    while line := reader.readline(limits.max_row_bytes + 1):
        number += 1
        total += len(line)
        if len(line) > limits.max_row_bytes:
            raise InvalidDataError(
                f"{item.uri}: line {number} has more than {limits.max_row_bytes} bytes; expected at most that many (max_row_bytes). "
                "Nothing of the day was written; is it a text file with one record a line?"
            )
        if total > limits.max_object_bytes:
            raise InvalidDataError(
                f"{item.uri} ({item.size_bytes} bytes) decodes to more than {limits.max_object_bytes} bytes; expected at most that many "
                "(max_object_bytes). Nothing of the day was written; split the file or raise the limit if it is no mistake."
            )
        if number == 1:
            if line.startswith(_ALIEN_BOMS):
                raise InvalidDataError(f"{item.uri} is UTF-16 text; expected UTF-8. Have upstream write it as UTF-8.")
            line = line.removeprefix(_BOM)
        yield number, line.rstrip(b"\r\n")


def _decoded(line: bytes) -> tuple[str, str | None]:
    """Text of a line, and the fault where it is not UTF-8 (its wrong bytes are then spelled ``\\xff``)."""
    try:
        return line.decode(), None
    except UnicodeDecodeError as error:
        return line.decode(errors="backslashreplace"), f"byte {error.start + 1} is {line[error.start]:#04x}, which is no UTF-8"


def _json_records(lines: Iterator[tuple[int, bytes]], *, names: Sequence[str]) -> Iterator[Record]:
    decode = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str).decode
    for number, line in lines:
        if not line.strip():
            continue
        text, fault = _decoded(line)
        if fault is None:
            try:
                document = decode(text)
            except (ValueError, RecursionError) as error:
                fault = f"not JSON: {error}"
            else:
                if isinstance(document, dict):
                    yield Record(number, text, [_cell_text(document.get(name)) for name in names])
                    continue
                fault = f"found a JSON {type(document).__name__}, expected an object"
        yield Record(number, text, fault=fault)


def _cell_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)


def _header(lines: Iterator[tuple[int, bytes]], *, item: RawObject, names: Sequence[str]) -> list[str]:
    text, fault = "", None
    for _, line in lines:
        text, fault = _decoded(line)
        if text.strip():
            break
    header = [] if fault or not text.strip() else next(csv.reader([text]), [])
    missing = [name for name in names if name not in header]
    repeated = sorted({name for name in header if name in names and header.count(name) > 1})
    faults = [f"column {name!r} is missing" for name in missing] + [f"column {name!r} stands more than once" for name in repeated]
    faults += [fault] if fault else []
    if faults:
        raise InvalidDataError(
            f"{item.uri}: its header does not fit the source contract; expected columns {', '.join(names)}; "
            f"found {text[:500] or 'no header'}. Nothing of the day was written; correct the file or the contract.",
            faults,
        )
    return header


def _csv_records(lines: Iterator[tuple[int, bytes]], *, item: RawObject, names: Sequence[str]) -> Iterator[Record]:
    header = _header(lines, item=item, names=names)
    places = [header.index(name) for name in names]
    pick = _picker(places)
    source = _Pushback(lines)
    for number, line in source:
        text, fault = _decoded(line)
        if fault is None and '"' in text:
            cells, text, fault = _quoted(text, source)
        elif fault is None:
            if not text:
                continue
            cells = text.split(",")
        if fault is None and len(cells) != len(header):
            fault = f"found {len(cells)} cells, expected {len(header)} as in the header"
        yield Record(number, text, pick(cells)) if fault is None else Record(number, text, fault=fault)


def _picker(places: Sequence[int]) -> Callable[[list[str]], list[str | None]]:
    def pick(cells: list[str]) -> list[str | None]:
        return [cells[place] or None for place in places]

    return pick


class _Pushback:
    """Lines of which some may be handed back, to be read anew."""

    def __init__(self, lines: Iterator[tuple[int, bytes]]) -> None:
        self._lines, self._returned = lines, deque[tuple[int, bytes]]()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        return self

    def __next__(self) -> tuple[int, bytes]:
        return self._returned.popleft() if self._returned else next(self._lines)

    def hand_back(self, lines: Sequence[tuple[int, bytes]]) -> None:
        self._returned.extendleft(reversed(lines))


def _quoted(text: str, source: _Pushback) -> tuple[list[str], str, str | None]:
    """Cells, text and fault of a record with quotes, which may go on over the next lines."""
    whole, taken = text, list[tuple[int, bytes]]()
    while whole.count('"') % 2 and len(taken) < LONGEST_QUOTED_LINES:
        following = next(source, None)
        if following is None:
            break
        taken.append(following)
        whole += "\n" + following[1].decode(errors="backslashreplace")
    if whole.count('"') % 2:
        source.hand_back(taken)
        return [], text, "not CSV: a quoted cell is not closed"
    try:
        return next(csv.reader(io.StringIO(whole, newline=""), strict=True)), whole, None
    except csv.Error as error:
        source.hand_back(taken)
        return [], text, f"not CSV: {error}"


def _batch(waiting: list[Record], schema: pa.Schema) -> pa.RecordBatch:
    try:
        return _arrow(waiting, schema)
    except UnicodeEncodeError:
        return _arrow([_encodable(record) for record in waiting], schema)


def _arrow(waiting: list[Record], schema: pa.Schema) -> pa.RecordBatch:
    empty = [None] * (len(schema) - 3)
    rows = [record.cells if record.fault is None else empty for record in waiting]
    cells = [[row[place] for row in rows] for place in range(len(empty))]
    fixed = [[record.line for record in waiting], [record.text for record in waiting], [record.fault for record in waiting]]
    return pa.RecordBatch.from_arrays(
        [pa.array(values, type=field.type) for values, field in zip([*fixed, *cells], schema, strict=True)], schema=schema
    )


def _encodable(record: Record) -> Record:
    """The record itself, or unreadable where an escape in it spells half a character, which no text can hold."""
    try:
        "".join(cell for cell in record.cells if cell).encode()
    except UnicodeEncodeError as error:
        text = record.text.encode(errors="backslashreplace").decode()
        return Record(record.line, text, fault=f"a cell holds {error.object[error.start]!a}, half a surrogate pair")
    return record
