"""The compute engine embedded in this process: DuckDB, larger than memory, on one machine.

What is computed does not belong here: ``core.compute.features_sql`` and ``core.compute.validation_sql`` compile it to SQL.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from feature_platform.adapters.compute.duckdb.events import create_events
from feature_platform.adapters.compute.duckdb.label_join import create_asked, look_up, select_parts
from feature_platform.adapters.compute.duckdb.session import (
    EngineLimits,
    failure,
    fetch_batches,
    open_local_session,
    open_session,
    pinned,
    pinned_path,
)
from feature_platform.adapters.compute.duckdb.tile_files import Query, Relation, TileFiles, create_tiles, tile_query
from feature_platform.adapters.compute.duckdb.transform_process import run_transform
from feature_platform.adapters.compute.duckdb.validation import DayValidation
from feature_platform.adapters.compute.row_spool import RowSpool
from feature_platform.adapters.machine.container_memory import engine_memory_bytes
from feature_platform.adapters.machine.spool import disk_errors, full_disk, spool
from feature_platform.core.compute.features_sql import compile_features, explained, relation_of
from feature_platform.core.compute.tiles import Block, InputFile, Tile, Window
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawManifest, ReadLimits
from feature_platform.core.events.validated import MANIFEST, ValidatedDay, day_from
from feature_platform.core.layout import validated_partition, window_partitions
from feature_platform.core.training.lookup import Lookup
from feature_platform.core.training.split import Split, split_sql
from feature_platform.core.versions.feature_table import FeatureTable
from feature_platform.errors import InvalidDataError
from feature_platform.ports.object_store import ObjectStore

_NO_ROOM: Final = ("No space left on device", "Disk quota exceeded", "failed to offload data block")
"""Parts of DuckDB's messages when it cannot spill: the system's words, or its own where the disk has no room for one more block."""

DEFAULT_READ_LIMITS: Final = ReadLimits()


class DuckDBEngine:
    """See :class:`ComputeEngine`.

    Args:
        store: Where raw objects, validated events and quarantine are.
        work_uri: Base of ``validated/`` and ``quarantine/``.
        workdir: Local directory for temporary files; the system's where left out.
        limits: Memory, threads and disk of one computation; where left out, memory follows what the container has.
        read_limits: How much one day of raw objects may hold.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        work_uri: str,
        workdir: Path | None = None,
        limits: EngineLimits | None = None,
        read_limits: ReadLimits = DEFAULT_READ_LIMITS,
    ) -> None:
        self._store, self._work_uri, self._workdir = store, work_uri, workdir
        self._limits = limits or EngineLimits(memory_bytes=engine_memory_bytes())
        self._read_limits = read_limits
        self._tiles = TileFiles(store, work_uri=work_uri)

    def validate(self, source: SourceContract, raw: RawManifest) -> ValidatedDay:
        """See :meth:`ComputeEngine.validate`."""
        with spool("validate-", parent=self._workdir) as directory, _spill_errors(directory, self._limits):
            validation = DayValidation(self._store, source=source, directory=directory, limits=self._limits, read_limits=self._read_limits)
            return validation.run(raw, work_uri=self._work_uri)

    def read_day(self, source: SourceContract, partition: str) -> ValidatedDay | None:
        """See :meth:`ComputeEngine.read_day`."""
        uri = f"{validated_partition(self._work_uri, source.source, partition)}{MANIFEST}"
        stored = self._store.get(uri)
        return day_from(stored.body, file=uri) if stored else None

    def find_tile(self, contract: Contract, source: SourceContract, block: Block) -> Tile | None:
        """See :meth:`ComputeEngine.find_tile`."""
        return self._tiles.find(contract, source, block)

    def make_tile(self, contract: Contract, source: SourceContract, block: Block, *, parts: Sequence[Tile] = ()) -> Tile:
        """See :meth:`ComputeEngine.make_tile`."""
        with spool("tile-", parent=self._workdir) as directory, _spill_errors(directory, self._limits):
            try:
                with self._run(tile_query(contract, source, block, parts), directory) as rows:
                    return self._tiles.write(contract, source, block, rows, directory=directory)
            except duckdb.Error as error:
                subject = f"The tile of {block.length} day(s) from {block.first} of feature set {contract.feature_set!r}"
                raise InvalidDataError(f"{subject} cannot be computed: {explained(failure(error, self._limits))}") from error

    def build(self, contract: Contract, windows: Sequence[Window], *, as_of: datetime, inputs: Sequence[InputFile] = ()) -> FeatureTable:
        """See :meth:`ComputeEngine.build`."""
        for part, window in zip(contract.parts, windows, strict=True):
            _require_days(part, as_of, window.days)
        with disk_errors(self._workdir), ExitStack() as undo:
            rows_spool = self._spool(contract)
            undo.callback(rows_spool.discard)
            with _spill_errors(rows_spool.directory, self._limits):
                rows = self._compute(contract, windows, inputs, as_of, rows_spool)
            if not rows and contract.checks.min_rows:
                days = [day for window in windows for day in window.days]
                found = f"{sum(day.kept for day in days)} validated events in {', '.join(day.partition for day in days) or 'no day'}"
                raise InvalidDataError(
                    f"{_subject(contract, as_of)} has 0 rows; expected at least {contract.checks.min_rows} (checks.min_rows). "
                    f"The window has {found}."
                )
            undo.pop_all()
        return FeatureTable(schema=contract.arrow_schema, batches=rows_spool.batches, size_bytes=rows_spool.size_bytes)

    def _spool(self, contract: Contract) -> RowSpool:  # noqa: ARG002  a cluster keeps large sets elsewhere
        return RowSpool(self._workdir)

    def _compute(self, contract: Contract, windows: Sequence[Window], inputs: Sequence[InputFile], as_of: datetime, spool: RowSpool) -> int:
        if contract.sql is not None:
            return run_transform(self._store, contract, windows, inputs, as_of=as_of, spool=spool, limits=self._limits)
        from_tiles = [window.source.source for window in windows if window.is_of_tiles]
        text = compile_features(contract, sources=[window.source for window in windows], as_of=as_of, from_tiles=from_tiles)
        relations = [
            Relation(relation_of(part, from_tiles=window.is_of_tiles), window.source, window.files, window.is_of_tiles)
            for part, window in zip(contract.parts, windows, strict=True)
        ]
        try:
            with self._run(Query(text, relations, contract.primary_keys), spool.directory) as rows:
                return spool.write(rows, contract.arrow_schema)
        except duckdb.Error as error:
            told = explained(failure(error, self._limits))
            raise InvalidDataError(f"{_subject(contract, as_of)} cannot be computed: {told}") from error

    @contextmanager
    def _run(self, query: Query, directory: Path) -> Iterator[Iterator[pa.RecordBatch]]:
        """The rows of a query over the events or tiles of its relations, while the context lasts."""
        objects = pinned(query.files)
        names = iter(objects)
        with open_session(store=self._store, objects=objects, directory=directory, limits=self._limits) as connection:
            for relation in query.relations:
                paths = [pinned_path(name) for name in islice(names, len(relation.files))]
                if relation.from_tiles:
                    create_tiles(connection, paths, relation=relation.name)
                else:
                    create_events(connection, paths, relation.source, positioned=True, relation=relation.name)
            yield fetch_batches(connection.sql(query.text))

    @contextmanager
    def look_up(
        self, asked: pa.RecordBatchReader, lookups: Sequence[Lookup], *, split: Split | None
    ) -> Iterator[Sequence[Iterator[pa.RecordBatch]]]:
        """See :meth:`ComputeEngine.look_up`."""
        with spool("training-", parent=self._workdir) as directory, _spill_errors(directory, self._limits):
            try:
                paths = [[directory / f"{n}-{entry}.parquet" for entry in range(len(item.timeline))] for n, item in enumerate(lookups)]
                with open_local_session(files=list(chain(*paths)), directory=directory, limits=self._limits) as connection:
                    create_asked(connection, asked)
                    streams = [look_up(connection, lookup, place=place, paths=paths[place]) for place, lookup in enumerate(lookups)]
                    if split is not None:
                        keys = dict.fromkeys(key.name for lookup in lookups for key in lookup.keys)
                        streams.append(select_parts(connection, split_sql(split, keys=list(keys))))
                    yield streams
            except duckdb.Error as error:
                raise InvalidDataError(f"The training set cannot be computed: {failure(error, self._limits)}") from error


@contextmanager
def _spill_errors(directory: Path, limits: EngineLimits) -> Iterator[None]:
    """Report a disk without room for DuckDB's temporary files as such, and not as wrong data; DuckDB has no error class for it."""
    try:
        yield
    except (duckdb.Error, InvalidDataError) as error:
        cause = error if isinstance(error, duckdb.Error) else error.__cause__
        if isinstance(cause, duckdb.Error) and any(sign in str(cause) for sign in _NO_ROOM):
            raise full_disk(directory.parent, reason=failure(cause, limits).split("\n", 1)[0]) from error
        raise


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
