"""Records of CSV: UTF-8, comma, ``\\n`` or ``\\r\\n``, quotes where needed; a quoted cell may hold line breaks.

A plain block is cut into cells by Arrow, any other one record by record by :func:`exact_records`, which defines what is right; a test
compares the two. Casting cells does not belong here (``core.compute.validation_sql``).
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

from feature_platform.adapters.events.raw_records import Record, TextBatch, batch_of, decoded, is_utf8, text_batch
from feature_platform.adapters.events.text_blocks import BOM, Block, TextBlocks
from feature_platform.core.events.raw import RawObject, ReadLimits
from feature_platform.errors import InvalidDataError

LONGEST_QUOTED_LINES: Final = 1_000
"""A quoted cell that goes on for more lines than this was most likely never closed: its first line is unreadable, the rest is read anew."""

_CELL: Final = re.compile(r'(?:"((?:[^"]++|"")*+)"|([^",][^,]*+)?)(,|\Z)')
_WITHIN: Final = re.compile(r'(?:[^"]++|"")*+')
_NOT_CLOSED: Final = "not CSV: a quoted cell is not closed"
_NOT_AT_END: Final = "not CSV: text stands behind a closing quote"


class CsvRecords:
    """The rows of a CSV object, each with the cells of the columns that are asked for.

    Args:
        names: Columns whose cells are wanted, in order.

    Raises:
        InvalidDataError: The header does not fit.
    """

    def __init__(self, blocks: TextBlocks, *, item: RawObject, names: Sequence[str], limits: ReadLimits) -> None:
        self._blocks, self._limits = blocks, limits
        self.header = _header(blocks, item=item, names=names)
        self._places = [self.header.index(name) for name in names]

    def batches(self) -> Iterator[TextBatch]:
        """Every record once; a batch's rows are in no promised order."""
        for block in self._blocks:
            if not block.body.strip(b"\r\n"):
                continue
            if is_plain(block):
                yield from self._plain(block)
            else:
                yield batch_of(list(self._exact(block)), width=len(self._places))

    def _exact(self, block: Block) -> Iterator[Record]:
        return exact_records(block, self._blocks, width=len(self.header), places=self._places, limits=self._limits)

    def _plain(self, block: Block) -> Iterator[TextBatch]:
        """A plain block's records: those with the right number of cells, and the others with their fault."""
        wrong: list[csv.InvalidRow] = []

        def skip(row: csv.InvalidRow) -> str:
            wrong.append(row)
            return "skip"

        named = [str(place) for place in range(len(self.header))]
        wanted = [named[place] for place in self._places]
        table = csv.read_csv(
            pa.BufferReader(block.body),
            # Serial, because only then a wrong row says which one it is; blocks are read beside each other instead.
            read_options=csv.ReadOptions(use_threads=False, column_names=named, block_size=len(block.body)),
            parse_options=csv.ParseOptions(invalid_row_handler=skip),
            convert_options=csv.ConvertOptions(
                check_utf8=False,
                column_types=dict.fromkeys(named, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                include_columns=list(dict.fromkeys(wanted)),
            ),
        )
        lines, texts = np.flatnonzero(~_is_blank(block)), _texts(block)
        places = [row.number - 1 for row in wrong]
        if table.num_rows:
            right = np.delete(lines, places) if wrong else lines
            cells = [table.column(name).combine_chunks() for name in wanted]
            originals = texts if len(right) == block.lines else texts.take(pa.array(right))
            yield text_batch(pa.array(block.line + right), pa.nulls(len(right), pa.string()), originals, cells)
        if wrong:
            faults = pa.array([_wrong_count(row.actual_columns, len(self.header)) for row in wrong])
            cells = [pa.nulls(len(wrong), pa.string())] * len(wanted)
            yield text_batch(pa.array(block.line + lines[places]), faults, texts.take(pa.array(lines[places])), cells)


class RecordCells:
    """The cells of one record, collected line by line. A quote opens a quoted cell only at the beginning of the cell."""

    def __init__(self) -> None:
        self.cells: list[str] = []
        self.fault: str | None = None
        self._open: list[str] = []

    @property
    def is_open(self) -> bool:
        """Whether the last line ended within a quoted cell."""
        return self.fault is None and bool(self._open)

    def add(self, line: str) -> None:
        """Read the next line, given without its end."""
        at = 0
        if self._open:
            at = _WITHIN.match(line).end()  # type: ignore[union-attr]  # it matches the empty text too
            self._open.append(line[:at])
            if at == len(line):
                return
            if line[at + 1 : at + 2] not in {",", ""}:
                self.fault = _NOT_AT_END
                return
            self.cells.append("\n".join(self._open).replace('""', '"'))
            self._open = []
            if at + 1 == len(line):
                return
            at += 2
        self._add_cells(line, at)

    def _add_cells(self, line: str, at: int) -> None:
        separator = ","
        while separator:
            match = _CELL.match(line, at)
            if match is None:
                if _WITHIN.match(line, at + 1).end() == len(line):  # type: ignore[union-attr]
                    self._open = [line[at + 1 :]]
                else:
                    self.fault = _NOT_AT_END
                return
            self.cells.append(match[2] or "" if match[1] is None else match[1].replace('""', '"'))
            at, separator = match.end(), match[3]


def exact_records(block: Block, blocks: TextBlocks, *, width: int, places: Sequence[int], limits: ReadLimits) -> Iterator[Record]:
    """The records that start in a block, read one by one; a record that continues beyond the block takes further lines from ``blocks``.

    Args:
        width: Number of cells of the header.
        places: Positions of the wanted cells.
    """
    lines = block.body.split(b"\n")[:-1]
    own, at = len(lines), 0
    while at < own:
        if line := lines[at].rstrip(b"\r"):
            found, taken = _quoted_record(lines, at, blocks, limits) if b'"' in line else (None, 1)
            text, fault = decoded(b"\n".join(lines[n].rstrip(b"\r") for n in range(at, at + taken)) if taken > 1 else line)
            cells = found.cells if found else text.split(",")
            fault = fault or (found.fault if found else None) or (_wrong_count(len(cells), width) if len(cells) != width else None)
            yield Record(block.line + at, text, () if fault else [cells[place] or None for place in places], fault)
            at += taken
        else:
            at += 1
    if at < len(lines):
        blocks.hand_back(Block(block.line + at, b"\n".join([*lines[at:], b""])))


def _quoted_record(lines: list[bytes], at: int, blocks: TextBlocks, limits: ReadLimits) -> tuple[RecordCells, int]:
    """The cells of the record that starts at a line, and how many lines it has: one where it has a fault."""
    record, size = RecordCells(), 0
    for taken in range(LONGEST_QUOTED_LINES + 1):
        if at + taken == len(lines):
            further = blocks.take()
            if further is None:
                break
            lines += further.body.split(b"\n")[:-1]
        line = lines[at + taken].rstrip(b"\r")
        size += len(line) + 1
        if size > limits.max_row_bytes + 1:
            break
        record.add(line.decode(errors="backslashreplace"))
        if not record.is_open:
            return record, 1 if record.fault else taken + 1
    record.fault = _NOT_CLOSED
    return record, 1


def _wrong_count(found: int, expected: int) -> str:
    return f"found {found} cells, expected {expected} as in the header"


def _header(blocks: TextBlocks, *, item: RawObject, names: Sequence[str]) -> list[str]:
    text, faults = "", []
    record = RecordCells()
    for block in blocks:
        blank = len(block.body) - len(block.body.lstrip())
        if blank == len(block.body):
            continue
        place = block.body.count(b"\n", 0, blank)
        text, fault = decoded(block.part(place, place + 1).body.rstrip(b"\r\n"))
        record.add(text)
        faults += [fault] if fault else []
        if place + 1 < block.lines:
            blocks.hand_back(block.part(place + 1, block.lines))
        break
    if record.fault or record.is_open:
        faults.append(record.fault or _NOT_CLOSED)
    if "\r" in text:
        faults.append("its lines end in bare carriage returns; expected \\n or \\r\\n")
    header = record.cells
    faults += [f"column {name!r} is missing" for name in names if name not in header]
    faults += [f"column {name!r} stands more than once" for name in sorted(set(names)) if header.count(name) > 1]
    if faults:
        raise InvalidDataError(
            f"{item.uri}: its header does not fit the source contract; expected columns {', '.join(names)}; "
            f"found {text[:500] or 'no header'}. Nothing of the day was written; correct the file or the contract.",
            faults,
        )
    return header


def is_plain(block: Block) -> bool:
    """Whether Arrow cuts a block into the same records and cells as :func:`exact_records`.

    It does where the text is UTF-8, no line ends in a bare carriage return (a line end to Arrow, text to us), the block does not begin with
    a byte order mark (which Arrow drops, even in the middle of a file), and every quote opens a cell, closes it in the same line, or is
    doubled within it.
    """
    body = block.body
    if body.startswith(BOM):
        return False
    if body.count(b"\r") != body.count(b"\r\n") or not is_utf8(body):
        return False
    return b'"' not in body or _has_plain_quotes(block)


def _has_plain_quotes(block: Block) -> bool:
    data = np.frombuffer(block.body, np.uint8)
    quotes = np.flatnonzero(data == ord('"'))
    if len(quotes) % 2:
        return False
    # Quotes open and close in turn; a doubled one closes and opens again. A block ends in "\n", so index -1 counts as a line's start too.
    opening, closing = quotes[::2], quotes[1::2]
    opened_in, closed_in = (np.searchsorted(block.ends, places, "right") for places in (opening, closing))
    is_after_start = np.isin(data[opening - 1], list(b',\n"'))
    is_before_end = np.isin(data[closing + 1], list(b',\r\n"'))
    return bool((is_after_start & is_before_end & (opened_in == closed_in)).all())


def _is_blank(block: Block) -> npt.NDArray[np.bool_]:
    lengths = block.ends - block.starts
    first = np.frombuffer(block.body, np.uint8)[block.starts]
    blank: npt.NDArray[np.bool_] = (lengths == 1) | ((lengths == 2) & (first == ord("\r")))
    return blank


def _texts(block: Block) -> pa.StringArray:
    """The lines with their ends, not copied."""
    offsets = np.concatenate([np.zeros(1, np.int32), block.ends.astype(np.int32)])
    return pa.StringArray.from_buffers(block.lines, pa.py_buffer(offsets), pa.py_buffer(block.body))
