"""Tiles of validated days as immutable files below ``tiles/``, and the view of them that DuckDB reads.

What is kept does not belong here (``core.compute.features_sql``), nor when tiles are used (``core.compute.tiles``).
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, time
from pathlib import Path
from uuid import uuid4

import duckdb

from feature_platform.adapters.compute.duckdb.events import create_events
from feature_platform.adapters.compute.duckdb.session import EngineLimits, fetch_batches, open_session, pinned, pinned_path
from feature_platform.adapters.events.partition_files import write_parts
from feature_platform.core.compute.aggregates import DAY, TILES
from feature_platform.core.compute.dialect import identifier, moment_literal, text_literal
from feature_platform.core.compute.features_sql import compile_tile
from feature_platform.core.compute.tiles import Block, Tile, tile_from, tile_spec
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.validated import MANIFEST
from feature_platform.core.layout import tile_block
from feature_platform.ports.object_store import ObjectStore


class TileFiles:
    """Reads and writes the tiles below one work URI."""

    def __init__(self, store: ObjectStore, *, work_uri: str, limits: EngineLimits) -> None:
        self._store, self._work_uri, self._limits = store, work_uri, limits

    def find(self, contract: Contract, source: SourceContract, block: Block) -> Tile | None:
        """The tile of a block as its days are validated now; None where there is none."""
        stored = self._store.get(f"{self._prefix(contract, source, block)}{MANIFEST}")
        return tile_from(json.loads(stored.body), block=block) if stored else None

    def make(self, contract: Contract, source: SourceContract, block: Block, *, parts: Sequence[Tile], directory: Path) -> Tile:
        """Aggregate a day's events, or merge a block's parts, and write the tile, its manifest last.

        Raises:
            duckdb.Error: The events cannot be aggregated.
        """
        prefix = self._prefix(contract, source, block)
        objects = pinned([file for tile in parts for file in tile.files] or [file for day in block.days for file in day.files])
        with open_session(store=self._store, objects=objects, directory=directory, limits=self._limits) as connection:
            create_tiles(connection, list(objects)) if parts else create_events(
                connection, [pinned_path(name) for name in objects], source, positioned=True
            )
            start = f"{moment_literal(datetime.combine(block.first, time(), UTC))} AS {identifier(DAY)}"
            rows = connection.sql(f"SELECT {start}, * FROM ({compile_tile(contract, source=source, from_tiles=bool(parts))})")
            schema = rows.limit(0).to_arrow_table().schema
            files = write_parts(self._store, fetch_batches(rows), schema=schema, prefix=prefix, directory=directory)
        tile = Tile(block.events, files)
        self._store.put(f"{prefix}{MANIFEST}", tile.manifest(), write_id=uuid4().hex, sha256=None, condition=None)
        return tile

    def _prefix(self, contract: Contract, source: SourceContract, block: Block) -> str:
        spec = tile_spec(contract, source)
        return tile_block(self._work_uri, source.source, spec, first=block.first.isoformat(), days=block.length)


def create_tiles(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> None:
    """The view of tiles that are objects of the connection's session, at least one."""
    listed = ", ".join(text_literal(pinned_path(name)) for name in names)
    connection.execute(f"CREATE VIEW {TILES} AS SELECT * FROM read_parquet([{listed}], hive_partitioning = false)")
