"""Records of JSON lines: UTF-8, one object a line; keys that the contract does not name are ignored, of a repeated key the last one counts.

Blocks are read by Arrow into the contract's types; blocks that Arrow refuses, and rows that do not pass every rule, are read line by line
by :func:`exact_record`, which defines what is right; a test compares the two. Casting cells does not belong here
(``core.compute.validation_sql``).
"""

import json
import re
import sys
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import json as arrow_json

from feature_platform.adapters.events.raw_records import ROW, Batch, Record, TextBatch, TypedBatch, batch_of, cell_name, decoded, is_utf8
from feature_platform.adapters.events.text_blocks import BLOCK_BYTES, Block, TextBlocks
from feature_platform.core.contract import types
from feature_platform.core.contract.source import SourceColumn
from feature_platform.core.events.raw import RawObject
from feature_platform.errors import InvalidDataError

SMALLEST_PART: Final = 64
"""A block that Arrow refused is tried again in quarters, down to this many lines: one bad line must not make thousands slow."""

MOST_BEHIND_BAD: Final = 64
"""Where smallest parts are refused one after another, up to this many follow without a try: a refusal costs as much as reading 20 lines."""

PARSERS: Final = 2
"""Blocks that are parsed at once: parsing takes twice as long as all that DuckDB then does with the rows."""

DEEPEST: Final = 500
"""Deepest nesting of a line's value: without it Arrow would nest until memory ends, Python until its stack does."""

_SPACES: Final = np.isin(np.arange(256), list(b" \t\n\r\x0b\x0c"))
_OPENING: Final = tuple(b"{[")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"?')
_ALIEN_NUMBER: Final = re.compile(rb"-NaN|Inf(?!inity)")
_DECODER: Final = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
_DECODE: Final = _DECODER.decode
_NESTED: Final = frozenset({dict, list})
_MARK: Final = "\udfff"
"""Set before numbers to tell them from texts: a lone surrogate, which makes the row of a text that holds it unreadable."""
_MARKING: Final = json.JSONDecoder(parse_float=_MARK.__add__, parse_int=_MARK.__add__, parse_constant=str)
_MARKED: Final = re.compile(f'"{_MARK}([^"]*)"')
_BOOLEANS: Final = {True: "true", False: "false"}
_ARROW_TYPES: Final = MappingProxyType({**types.SCALARS, **dict.fromkeys(("bytes", "date", "timestamp"), pa.string()), "int32": pa.int64()})


class JsonRecords:
    """The rows of a JSON lines object, each with the cells of the contract's columns.

    Args:
        columns: The columns whose cells are wanted, in order.
    """

    def __init__(self, blocks: TextBlocks, *, item: RawObject, columns: Sequence[SourceColumn]) -> None:
        self._blocks, self._item = blocks, item
        self._names = [column.name for column in columns]
        self._lists = frozenset(column.name for column in columns if types.element_type(column.type))
        self._schemas = _schemas(columns)
        self._fitting = self._schemas[0] if self._schemas else None
        # How many lines are tried at once, how many are read exactly before the next try, and how many were after the last refusal.
        self._at_once, self._untried, self._behind_bad = sys.maxsize if self._schemas else SMALLEST_PART, 0, 0

    def batches(self) -> Iterator[Batch]:
        """Every record once.

        Raises:
            InvalidDataError: Lines end in bare carriage returns.
        """
        with ThreadPoolExecutor(PARSERS, thread_name_prefix="json") as pool:
            waiting: deque[tuple[Block, Future[TypedBatch | None] | None]] = deque()
            for block in self._checked():
                # A whole block, unless lines were bad lately: then smaller parts are tried in their turn.
                waiting.append((block, pool.submit(self._typed, block) if self._at_once == sys.maxsize else None))
                if len(waiting) > PARSERS:
                    yield from self._taken(*waiting.popleft())
            while waiting:
                yield from self._taken(*waiting.popleft())

    def _taken(self, block: Block, tried: Future[TypedBatch | None] | None) -> Iterator[Batch]:
        typed = tried.result() if tried else None
        if typed is not None:
            yield typed
            return
        if tried:
            self._at_once = min(self._at_once, max(SMALLEST_PART, block.lines // 4))
        yield from self._read(block)

    @property
    def header(self) -> list[str]:
        """Keys of the first record, none where it cannot be read. Read it before :meth:`batches`."""
        block = next(self._checked(), None)
        if block is None:
            return []
        self._blocks.hand_back(block)
        filled = np.flatnonzero(~_is_blank(block))
        if not len(filled):
            return []
        line = block.part(filled[0], filled[0] + 1).body
        text, fault = decoded(line)
        try:
            document = None if fault or _is_deep(text) else _DECODE(text)
        except ValueError:
            return []
        return list(document) if isinstance(document, dict) else []

    def _checked(self) -> Iterator[Block]:
        for block in self._blocks:
            if block.line == 1 and b"}\r{" in block.part(0, 1).body:
                raise InvalidDataError(
                    f"{self._item.uri}: its lines end in bare carriage returns; expected \\n or \\r\\n. Nothing of the day was written; "
                    "have upstream write it again."
                )
            yield block

    def _read(self, block: Block) -> Iterator[Batch]:
        """A block's records in parts as large as Arrow accepted lately: bad lines mostly stand close together."""
        at = 0
        while at < block.lines:
            part = block.part(at, min(at + (self._untried or self._at_once), block.lines))
            at += part.lines
            typed = None if self._untried else self._typed(part)
            if typed is not None:
                self._at_once = self._at_once * 2 if self._at_once < BLOCK_BYTES else sys.maxsize
                self._behind_bad = 0
                yield typed
            elif not self._untried and part.lines > SMALLEST_PART and self._schemas:
                self._at_once = max(SMALLEST_PART, part.lines // 4)
                yield from self._read(part)
            else:
                if not self._untried:
                    self._behind_bad = min(max(self._behind_bad * 2, SMALLEST_PART), SMALLEST_PART * MOST_BEHIND_BAD)
                self._untried = 0 if self._untried else self._behind_bad
                numbers = part.line + np.flatnonzero(~_is_blank(part))
                if len(numbers):
                    yield self._exact(part, numbers)

    def _typed(self, block: Block) -> TypedBatch | None:
        """The block as Arrow reads it, or None where the exact reader could give something else."""
        if not self._schemas or not _is_one_object_a_line(block):
            return None
        for schema in sorted(self._schemas, key=lambda schema: schema is not self._fitting):
            table = _arrow_table(block, schema)
            if table is not None and table.num_rows == block.lines:
                self._fitting = schema  # blocks of one file are most often alike
                return self._batch(block, table)
        return None

    def _batch(self, block: Block, table: pa.Table) -> TypedBatch:
        columns = table.combine_chunks().to_batches()[0].columns
        names = [ROW, *(cell_name(place) for place in range(len(columns)))]
        numbers = pa.array(np.arange(block.line, block.line + block.lines))
        rows = pa.RecordBatch.from_arrays([numbers, *columns], names=names)
        return TypedBatch(rows, lambda wanted: self._exact(block, wanted))

    def _exact(self, block: Block, numbers: npt.NDArray[Any]) -> TextBatch:
        """Lines of a block, given by their numbers."""
        places = numbers - block.line
        ranges = zip(numbers.tolist(), block.starts[places].tolist(), block.ends[places].tolist(), strict=True)
        return batch_of(
            [exact_record(line, block.body[start:end].rstrip(b"\r\n"), self._names, lists=self._lists) for line, start, end in ranges],
            width=len(self._names),
        )


def _schemas(columns: Sequence[SourceColumn]) -> list[pa.Schema]:
    """The schemas that a block is tried with: moments as text or, where the contract gives their unit, as whole numbers."""
    if any(column.type not in _ARROW_TYPES for column in columns):
        return []
    texts = pa.schema([(column.name, _ARROW_TYPES[column.type]) for column in columns])
    numbers = pa.schema([(column.name, pa.int64() if column.epoch_unit else _ARROW_TYPES[column.type]) for column in columns])
    return [texts] if texts == numbers else [texts, numbers]


def _arrow_table(block: Block, schema: pa.Schema) -> pa.Table | None:
    try:
        return arrow_json.read_json(
            pa.BufferReader(block.body),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(block.body)),
            parse_options=arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def exact_record(number: int, line: bytes, names: Sequence[str], *, lists: Collection[str]) -> Record:
    """One line: its cells as text, numbers as they are written, or why it has none.

    Args:
        names: The columns whose cells are wanted.
        lists: Those of them that hold lists.
    """
    text, fault = decoded(line)
    brackets = text.count("[") + text.count("{")
    if fault is None and brackets > DEEPEST and _is_deep(text):
        fault = f"nests deeper than {DEEPEST} brackets"
    if fault is None:
        try:
            document = _document(text)
        except ValueError as error:
            fault = f"not JSON: {error}"
        else:
            if isinstance(document, dict):
                values: Iterable[Any] = map(document.get, names)
                if brackets > 1:
                    marked = _MARKING.decode(text)
                    values = [
                        _nested_text(value, marked[name], in_list_column=name in lists) if type(value) in _NESTED else value
                        for name, value in zip(names, values, strict=True)
                    ]
                return Record(number, text, [item if item is None or type(item) is str else _BOOLEANS[item] for item in values])
            fault = f"found a JSON {type(document).__name__}, expected an object"
    return Record(number, text, fault=fault)


def _document(text: str) -> Any:
    """The text decoded as JSON; where it begins with an object, without the decoder's two searches for white space."""
    if text.startswith("{"):
        try:
            document, end = _DECODER.scan_once(text, 0)  # type: ignore[attr-defined]  # typeshed leaves it out, the docs of json do not
        except (ValueError, StopIteration):
            end = -1
        if end == len(text):
            return document
    return _DECODE(text)


def _is_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    depths = accumulate({"[": 1, "{": 1, "]": -1, "}": -1}.get(sign, 0) for sign in _QUOTED.sub("", text))
    return max(depths) > DEEPEST


def _nested_text(value: Any, marked: Any, *, in_list_column: bool = False) -> str:
    """The text of a list or object; in a column of lists its items are texts, which the engine takes as they are.

    Args:
        value: As :data:`_DECODER` reads it.
        marked: As :data:`_MARKING` reads it.
    """
    if in_list_column and isinstance(value, list):
        pairs = zip(value, marked, strict=True)
        return json.dumps([_nested_text(*pair) if type(pair[0]) in _NESTED else pair[0] for pair in pairs], ensure_ascii=False)
    text = json.dumps(value, ensure_ascii=False)  # without recursion of our own: Python's stack must hold the deepest line
    return text if _MARK in text else _MARKED.sub(r"\1", json.dumps(marked, ensure_ascii=False))


def _is_one_object_a_line(block: Block) -> bool:
    """Whether each line holds one object if Arrow finds as many objects as there are lines.

    Arrow lets objects share a line or spread over several lines. Where every line begins with ``{`` and ends with ``}``, no object goes on
    in the next line, since only a comma or another closing bracket could follow.
    """
    data = np.frombuffer(block.body, np.uint8)
    last = data[block.ends - 2]  # wrong for an empty first line, which its first byte reveals
    if (last == ord("\r")).any():
        last = np.where(last == ord("\r"), data[block.ends - 3], last)
    if not (data[block.starts] == ord("{")).all() or not (last == ord("}")).all() or not is_utf8(block.body) or _is_alien(block.body, data):
        return False
    if sum(np.count_nonzero(data == bracket) for bracket in _OPENING) - block.lines <= DEEPEST:
        return True
    return int(np.add.reduceat(np.isin(data, _OPENING), block.starts, dtype=np.int64).max()) <= DEEPEST


def _is_alien(body: bytes, data: npt.NDArray[np.uint8]) -> bool:
    """Whether there may be numbers that Arrow accepts and Python's JSON reader does not, in columns that the contract does not name."""
    return (_holds_pair(data, b"nf") or _holds_pair(data, b"aN")) and _ALIEN_NUMBER.search(body) is not None


def _holds_pair(data: npt.NDArray[np.uint8], pair: bytes) -> bool:
    """Whether two bytes follow each other; comparing whole words, at even and at odd places, takes a seventh of searching the bytes."""
    words = (data[start : start + (len(data) - start) // 2 * 2].view("<u2") for start in (0, 1))
    return any((found == int.from_bytes(pair, "little")).any() for found in words)


def _is_blank(block: Block) -> npt.NDArray[np.bool_]:
    """For each line, whether it holds nothing but white space."""
    data = np.frombuffer(block.body, np.uint8)
    blank: npt.NDArray[np.bool_] = _SPACES[data[block.starts]]
    if blank.any() and bool((block.ends - block.starts)[blank].max() > 1):
        blank = np.logical_and.reduceat(_SPACES[data], block.starts)
    return blank
