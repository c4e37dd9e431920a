"""Tiles of validated days as immutable files below ``tiles/``, and the view of them that DuckDB reads.

What a tile contains does not belong here (``core.compute.features_sql``), nor when tiles are used (``core.compute.tiles``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from itertools import chain
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa

from feature_platform.adapters.events.partition_files import write_parts
from feature_platform.core.compute.aggregates import DAY, EVENTS, TILES
from feature_platform.core.compute.dialect import identifier, moment_literal, text_literal
from feature_platform.core.compute.features_sql import compile_tile
from feature_platform.core.compute.tiles import Block, Tile, tile_from, tile_spec
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.validated import MANIFEST, DataFile
from feature_platform.core.layout import tile_block
from feature_platform.ports.object_store import ObjectStore


@dataclass(frozen=True, slots=True)
class Relation:
    """A view over files of tiles, or of a source's events."""

    name: str
    source: SourceContract
    files: Sequence[DataFile]
    from_tiles: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A query for an engine: SQL over some relations; ``keys`` are the columns that it groups by."""

    text: str
    relations: Sequence[Relation]
    keys: Sequence[str]

    @property
    def files(self) -> list[DataFile]:
        """Every file that is read, relation by relation."""
        return [file for relation in self.relations for file in relation.files]


def tile_query(contract: Contract, source: SourceContract, block: Block, parts: Sequence[Tile]) -> Query:
    """The query for the rows of a block's tile: from its day's events, or by merging the tiles of its parts."""
    start = f"{moment_literal(datetime.combine(block.first, time(), UTC))} AS {identifier(DAY)}"
    kept = [file for tile in parts for file in tile.files]  # empty also where the days have no event
    text = f"SELECT {start}, * FROM ({compile_tile(contract, source=source, from_tiles=bool(kept))})"
    files = kept or [file for day in block.days for file in day.files]
    return Query(text, [Relation(TILES if kept else EVENTS, source, files, from_tiles=bool(kept))], contract.primary_keys)


class TileFiles:
    """Reads and writes the tiles below one work URI."""

    def __init__(self, store: ObjectStore, *, work_uri: str) -> None:
        self._store, self._work_uri = store, work_uri

    def find(self, contract: Contract, source: SourceContract, block: Block) -> Tile | None:
        """The tile of a block that was made from its days as they are validated now; None where there is none."""
        stored = self._store.get(f"{self._prefix(contract, source, block)}{MANIFEST}")
        return tile_from(stored.body, block=block) if stored else None

    def write(self, contract: Contract, source: SourceContract, block: Block, rows: Iterator[pa.RecordBatch], *, directory: Path) -> Tile:
        """Write the rows of :func:`tile_query` as the tile of a block, its manifest last."""
        prefix = self._prefix(contract, source, block)
        first = next(rows, None)
        files: tuple[DataFile, ...] = ()
        if first is not None:
            files = write_parts(self._store, chain([first], rows), schema=first.schema, prefix=prefix, directory=directory)
        tile = Tile(block.events, files)
        self._store.put(f"{prefix}{MANIFEST}", tile.manifest(), write_id=uuid4().hex, sha256=None, condition=None)
        return tile

    def _prefix(self, contract: Contract, source: SourceContract, block: Block) -> str:
        spec = tile_spec(contract, source)
        return tile_block(self._work_uri, source.source, spec, first=block.first.isoformat(), days=block.length)


def create_tiles(connection: duckdb.DuckDBPyConnection, paths: Sequence[str], *, relation: str) -> None:
    """Create the view of tiles over files that the connection may read, at least one."""
    listed = ", ".join(text_literal(path) for path in paths)
    connection.execute(f"CREATE VIEW {relation} AS SELECT * FROM read_parquet([{listed}], hive_partitioning = false)")
