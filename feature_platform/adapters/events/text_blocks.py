"""The bytes of a text object in blocks of whole lines: unpacked, bounded in bytes and lines, without a byte order mark.

What a line means does not belong here (``adapters.events.csv_records``, ``adapters.events.json_records``).
"""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO, Final, cast

import numpy as np
import numpy.typing as npt

from feature_platform.core.events.raw import RawObject, ReadLimits
from feature_platform.errors import InvalidDataError

BLOCK_BYTES: Final = 4 << 20
"""Large enough that the cost of each block (a statement, starting a parser) does not matter; several are in memory at a time."""

BOM: Final = b"\xef\xbb\xbf"
_ALIEN_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Block:
    """Whole lines, each with its ``\\n`` (put there where the last one has none), from line number ``line`` on."""

    line: int
    body: bytes

    @cached_property
    def ends(self) -> npt.NDArray[np.int64]:
        """Position after each line's ``\\n``."""
        return np.flatnonzero(np.frombuffer(self.body, np.uint8) == ord("\n")) + 1

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        return np.concatenate([np.zeros(1, np.int64), self.ends[:-1]])

    @cached_property
    def lines(self) -> int:
        return len(self.ends)

    def part(self, first: int, last: int) -> "Block":
        """Lines ``first`` to ``last`` (exclusive), counted from 0."""
        return Block(self.line + first, self.body[self.starts[first] : self.ends[last - 1]])


class TextBlocks:
    """Reads a text object block by block; a reader may hand back lines that it did not use.

    Args:
        file: The object's bytes, gzipped where ``item`` says so.
        limits: Limits of the decoded bytes, of one line, and of the number of lines.
    """

    def __init__(self, file: BinaryIO, *, item: RawObject, limits: ReadLimits) -> None:
        self._stream = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if item.gzipped else file
        self._item, self._limits = item, limits
        self._rest, self._line, self._total = b"", 1, 0
        self._returned: Block | None = None
        self._is_at_end = False

    def __iter__(self) -> Iterator[Block]:
        while block := self.take():
            yield block

    def take(self) -> Block | None:
        """The next block, or None at the end.

        Raises:
            InvalidDataError: The file is truncated, is not UTF-8 text, or is beyond a limit.
        """
        block, self._returned = self._returned, None
        if block is None:
            block = self._read()
        return block

    def hand_back(self, block: Block) -> None:
        """Put lines in front of those that are not yet taken."""
        if self._returned is not None:
            block = Block(block.line, block.body + self._returned.body)
        self._returned = block

    def _read(self) -> Block | None:
        while not self._is_at_end:
            fresh = self._fresh()
            if fresh is None:
                self._is_at_end, fresh = True, b"\n" if self._rest else b""
            whole = self._rest + fresh
            cut = whole.rfind(b"\n") + 1
            self._rest = whole[cut:]
            if len(self._rest) > self._limits.max_row_bytes:
                self._refuse_line(self._line + whole.count(b"\n"))
            if cut:
                return self._bounded(Block(self._line, whole[:cut]))
        return None

    def _fresh(self) -> bytes | None:
        try:
            fresh = self._stream.read(BLOCK_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InvalidDataError(
                f"{self._item.uri} is not a whole gzip file: {error}. Expected one that decompresses to its end; have upstream deliver it "
                "again. Nothing of the day was written."
            ) from error
        if not fresh:
            return None
        if not self._total:
            if fresh.startswith(_ALIEN_BOMS):
                raise InvalidDataError(f"{self._item.uri} is UTF-16 text; expected UTF-8. Have upstream write it as UTF-8.")
            fresh = fresh.removeprefix(BOM)
        self._total += len(fresh)
        if self._total > self._limits.max_object_bytes:
            raise InvalidDataError(
                f"{self._item.uri} ({self._item.size_bytes} bytes) decodes to more than {self._limits.max_object_bytes} bytes; expected at "
                "most that many (max_object_bytes). Nothing of the day was written; split the file or raise the limit if it is no mistake."
            )
        return fresh

    def _bounded(self, block: Block) -> Block:
        self._line += block.lines
        if self._line - 1 > self._limits.max_lines:
            raise InvalidDataError(
                f"{self._item.uri} ({self._item.size_bytes} bytes) has more than {self._limits.max_lines} lines, blank ones included; "
                "expected at most that many (max_lines). Nothing of the day was written; split the file or raise the limit."
            )
        at = 0
        while at < len(block.body):
            # The last line end that the limit lets a line reach; lines before it are short enough.
            end = block.body.rfind(b"\n", at, at + self._limits.max_row_bytes + 1) + 1
            if not end:
                self._refuse_line(block.line + block.body.count(b"\n", 0, at))
            at = end
        return block

    def _refuse_line(self, number: int) -> None:
        raise InvalidDataError(
            f"{self._item.uri}: line {number} has more than {self._limits.max_row_bytes} bytes; expected at most that many "
            "(max_row_bytes). Nothing of the day was written; is it a text file with one record a line?"
        )
