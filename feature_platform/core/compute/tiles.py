"""Tiles: the stored aggregates of a block of validated days, found by a hash of what they compute; and when a window is read from them.

A block is one day, or 8 or 64 days that begin at a multiple of their number: a long window is a few long blocks and some days at each end.
Compiling a tile's query does not belong here (``core.compute.features_sql``), nor files (``adapters.compute.duckdb.tile_files``).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Final

from feature_platform.core.compute.features_sql import compile_tile
from feature_platform.core.contract.documents import canonical_json
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.validated import DataFile, ValidatedDay

FORMAT: Final = 1
FACTOR: Final = 8
LENGTHS: Final = (FACTOR * FACTOR, FACTOR, 1)
"""Possible numbers of days of a block. A longer block is merged from blocks of the next shorter length."""

LARGEST_SHARE: Final = 0.5
"""Tiles are read where they have at most this share of the rows of their events: merging a row costs what reading one does."""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive days, and those of them that are validated, oldest first."""

    first: date
    length: int
    days: tuple[ValidatedDay, ...] = field(compare=False)

    @property
    def events(self) -> str:
        """Identifies the rows of the block: a hash over the hashes of its files."""
        files = "\n".join(f"{day.partition} {' '.join(file.sha256 for file in day.files)}" for day in self.days)
        return hashlib.sha256(files.encode()).hexdigest()

    @property
    def rows(self) -> int:
        """Events of the block."""
        return sum(day.kept for day in self.days)

    def parts(self) -> "list[Block]":
        """The blocks of the next shorter length that it is merged from, without those that have no validated day; none for one day."""
        length = self.length // FACTOR
        starts = [self.first + timedelta(days=length * place) for place in range(FACTOR)] if length else []
        return [part for start in starts if (part := block_of(start, length, self.days)).days]


def block_of(first: date, length: int, days: Sequence[ValidatedDay]) -> Block:
    """The block of ``length`` days from ``first`` on, with those of ``days`` that lie in it."""
    last = first + timedelta(days=length - 1)
    own = [day for day in days if first.isoformat() <= day.partition <= last.isoformat()]
    return Block(first, length, tuple(sorted(own, key=lambda day: day.partition)))


def blocks_of(contract: Contract, days: Sequence[ValidatedDay], *, end: date) -> list[Block]:
    """The longest blocks that make up a contract's windows, oldest first, without those that have no day.

    No block crosses the start of a window: each lies in a window as a whole or not at all.

    Args:
        end: The day after the last day of the windows.
    """
    lengths = {column.aggregation.window_days for column in contract.columns if column.aggregation}
    starts = [end - timedelta(days=length) for length in sorted(lengths, reverse=True)]
    segments = zip(starts, [*starts[1:], end], strict=True)
    blocks = [block_of(first, length, days) for start, stop in segments for first, length in _cut(start, stop)]
    return [block for block in blocks if block.days]


def _cut(start: date, stop: date) -> Iterator[tuple[date, int]]:
    while start < stop:
        length = next(length for length in LENGTHS if start.toordinal() % length == 0 and start + timedelta(days=length) <= stop)
        yield start, length
        start += timedelta(days=length)


@dataclass(frozen=True, slots=True)
class Tile:
    """The aggregates of a block. ``events`` identifies the rows that were read, so a tile made before a correction does not match."""

    events: str
    files: tuple[DataFile, ...]

    @property
    def rows(self) -> int:
        """Keys that have an event in the block."""
        return sum(file.rows for file in self.files)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def manifest(self) -> bytes:
        """The bytes of the tile's manifest; the inverse of :func:`tile_from`."""
        return canonical_json({"format": FORMAT, "events": self.events, "files": [asdict(file) for file in self.files]})


def tile_from(body: bytes, *, block: Block) -> Tile | None:
    """The tile that a manifest describes; None where it was made from other events, has another format, or is damaged."""
    try:
        document = json.loads(body)
        if document.get("format") != FORMAT or document.get("events") != block.events:
            return None
        return Tile(block.events, tuple(DataFile(**item) for item in document["files"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def tile_spec(contract: Contract, source: SourceContract) -> str:
    """A short hash of what a contract's tiles compute: feature sets with the same aggregates of a day share its tiles."""
    query = compile_tile(contract, source=source)
    return hashlib.sha256(canonical_json({"format": FORMAT, "source": source.schema_hash, "query": query})).hexdigest()[:16]


def has_tiles(contract: Contract) -> bool:
    """Whether a contract has no SQL transform, and a window of more than one day: only such windows gain from tiles."""
    return contract.sql is None and contract.window_days > 1


@dataclass(frozen=True, slots=True)
class Window:
    """What is read of one source: the validated days of its window, each once, in any order; a day that is left out counts as a day without
    events. Where ``tiles`` are given, one for each block of :func:`blocks_of`, they are read instead of the days' events.
    """

    source: SourceContract
    days: Sequence[ValidatedDay]
    tiles: Sequence[Tile] = ()

    @property
    def is_of_tiles(self) -> bool:
        """Whether tiles are read. False also where the days have no event, because their tiles have no file."""
        return any(tile.files for tile in self.tiles)

    @property
    def files(self) -> list[DataFile]:
        """The files that are read: those of the tiles, or those of the days, oldest first."""
        if self.is_of_tiles:
            return [file for tile in self.tiles for file in tile.files]
        return [file for day in sorted(self.days, key=lambda day: day.partition) for file in day.files]


@dataclass(frozen=True, slots=True)
class InputFile:
    """A version of another feature set that a transform reads as a view of the set's name: columns and their types; its file, if any."""

    feature_set: str
    columns: Mapping[str, str]
    file: DataFile | None = None


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """How a window is read: from tiles or from its events; and why, in a sentence."""

    from_tiles: bool
    why: str

    @property
    def told(self) -> str:
        """The plan in words, for people."""
        return f"{'tiles' if self.from_tiles else 'events'}: {self.why}"


def plan_window(days: Sequence[ValidatedDay], tiles: Mapping[Block, Tile], *, versions: int) -> WindowPlan:
    """The cheaper way to read a window.

    Args:
        days: The window's validated days.
        tiles: The existing tiles of blocks within the window; no day is in two of them.
        versions: How many versions the run builds: tiles made now serve the following ones too.
    """
    known = sum(len(block.days) for block in tiles)
    share = sum(tile.rows for tile in tiles.values()) / max(1, sum(block.rows for block in tiles))
    if len(days) < 2:
        return WindowPlan(False, "one day at most has events: a tile of it would be read once")
    if share > LARGEST_SHARE:
        return WindowPlan(False, f"tiles have {share:.0%} of the rows of their events, so merging them costs as much")
    if versions == 1 and known * 2 < len(days):
        return WindowPlan(False, f"{known} of {len(days)} days have tiles: making the others costs more than reading events once")
    following = f", and the run builds {versions} versions" if versions > 1 else ""
    return WindowPlan(True, f"{known} of {len(days)} days had tiles{following}")
