"""SQL transforms in a process of their own: run over a copy of the window's events, or bound against a view without rows.

The process has the events as local files, no network client and no credentials, and is ended at its limits whatever the statement does.
What a transform may contain and how its rows are checked does not belong here (``adapters.compute.duckdb.transform``).
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import duckdb

from feature_platform.adapters.compute.duckdb.events import create_events, create_features
from feature_platform.adapters.compute.duckdb.session import EngineLimits, failure, fetch_batches, open_local_session
from feature_platform.adapters.compute.duckdb.transform import bound_faults, prepare_transform, select_transform
from feature_platform.adapters.compute.row_spool import RowSpool, write_rows
from feature_platform.adapters.machine.bounded_work import WorkEndedError, WorkLimits, run_bounded
from feature_platform.core.compute.aggregates import EVENTS
from feature_platform.core.compute.tiles import InputFile
from feature_platform.core.contract import documents
from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.core.contract.source import SourceContract, load_source_contract
from feature_platform.errors import InvalidDataError

if TYPE_CHECKING:  # importing these takes a third of the process's start
    from feature_platform.core.compute.tiles import Window
    from feature_platform.ports.object_store import ObjectStore

FETCHED_ROWS: Final = 65_536
OWN_BYTES: Final = 384 << 20
"""Memory that the process maps besides the engine's (measured: 210 MiB before the first statement, 290 MiB with one that spills)."""
BINDING: Final = EngineLimits(memory_bytes=64 << 20, threads=1, spill_bytes=0, transform_timeout_s=30.0)
_ANY_MOMENT: Final = datetime(2000, 1, 1, tzinfo=UTC)


def run_transform(
    store: "ObjectStore",
    contract: Contract,
    windows: "Sequence[Window]",
    inputs: Sequence[InputFile],
    *,
    as_of: datetime,
    spool: RowSpool,
    limits: EngineLimits,
) -> int:
    """Fill a spool with the checked rows of a contract's transform; returns their number.

    Args:
        windows: The validated days of each of the contract's sources.
        inputs: One version of each other set that the transform reads.

    Raises:
        ContractError: The transform is wrong.
        InvalidDataError: Its rows do not fit the contract, or it needs more time, memory or disk than there is.
        ConflictError: A file changed since it was validated.
    """
    copies = spool.directory / "events"
    try:
        for window in windows:
            (copies / window.source.source).mkdir(parents=True)
            for place, file in enumerate(window.files):
                store.download(file.uri, copies / window.source.source / f"{place:05}.parquet", etag=file.etag)
        for item in inputs:
            if item.file:
                store.download(item.file.uri, copies / f"{item.feature_set}.parquet", etag=item.file.etag)
        # With several threads a transform's own floating sums would differ in their last bits from run to run.
        request = {
            **_described(contract, [window.source for window in windows], inputs),
            "as_of": as_of.isoformat(),
            "directory": str(spool.directory),
            "limits": asdict(replace(limits, threads=1)),
        }
        return int(run_bounded(fill_spool, request, limits=_work_limits(limits)))
    except WorkEndedError as error:
        raise InvalidDataError(
            f"SQL transform of {contract.feature_set!r} {error}; expected an answer within its limits. Make it cheaper or raise the limit."
        ) from error
    finally:
        shutil.rmtree(copies, ignore_errors=True)


def fill_spool(request: dict[str, Any]) -> int:
    """What :func:`run_transform` runs in the other process."""
    contract, sources, inputs = _loaded(request)
    as_of, limits, directory = datetime.fromisoformat(request["as_of"]), EngineLimits(**request["limits"]), Path(request["directory"])
    # Apart, because a set may have the name of a source whose view is called events.
    files = {source.source: sorted((directory / "events" / source.source).iterdir()) for source in sources}
    versions = {item.feature_set: directory / "events" / f"{item.feature_set}.parquet" for item in inputs}
    try:
        with open_local_session(files=[*chain(*files.values()), *versions.values()], directory=directory, limits=limits) as connection:
            columns = _create_views(connection, contract, sources, inputs, files=files, versions=versions)
            statement = prepare_transform(connection, contract, columns, as_of=as_of)
            query = connection.sql(select_transform(connection, contract, statement, as_of=as_of))
            return write_rows(directory / "rows.arrow", fetch_batches(query, rows=FETCHED_ROWS), contract.arrow_schema)
    except duckdb.Error as error:
        raise InvalidDataError(f"SQL transform of {contract.feature_set!r} cannot be computed: {failure(error, limits)}") from error


def transform_faults(transforms: Sequence[tuple[Contract, Sequence[SourceContract], Sequence[InputFile]]]) -> list[str]:
    """Every fault of transforms that can be found without data: wrong SQL, unknown columns, a missing column, a wrong type.

    All are bound in one process. Only where that is ended at a limit is each bound in its own process, to find the one that caused it.
    """
    if not transforms:
        return []
    request = {"transforms": [_described(*transform) for transform in transforms]}
    try:
        return list(run_bounded(bind_all, request, limits=_work_limits(BINDING)))
    except WorkEndedError as error:
        if len(transforms) > 1:
            return [fault for one in transforms for fault in transform_faults([one])]
        return [f"{transforms[0][0].feature_set}.sql: it {error} while it was bound without data; expected a simpler statement"]


def bind_all(request: dict[str, Any]) -> list[str]:
    """What :func:`transform_faults` runs in the other process."""
    return [
        f"{contract.feature_set}.sql: {fault}"
        for contract, sources, inputs in map(_loaded, request["transforms"])
        for fault in _bind(contract, sources, inputs)
    ]


def _create_views(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    sources: Sequence[SourceContract],
    inputs: Sequence[InputFile],
    *,
    files: Mapping[str, Sequence[Path]],
    versions: Mapping[str, Path],
) -> set[str]:
    """The views that a transform reads, and their columns: ``events``, or one of each source's name where it reads several; other sets."""
    for source in sources:
        paths = [str(file) for file in files.get(source.source, ())]
        create_events(connection, paths, source, positioned=False, relation=source.source if contract.sources else EVENTS)
    for item in inputs:
        path = versions.get(item.feature_set)
        create_features(connection, str(path) if path else None, item)
    return {column.name for source in sources for column in source.columns}.union(*(item.columns for item in inputs))


def _bind(contract: Contract, sources: Sequence[SourceContract], inputs: Sequence[InputFile]) -> list[str]:
    with TemporaryDirectory() as directory, open_local_session(files=[], directory=Path(directory), limits=BINDING) as connection:
        columns = _create_views(connection, contract, sources, inputs, files={}, versions={})
        return bound_faults(connection, contract, columns, as_of=_ANY_MOMENT)


def _described(contract: Contract, sources: Sequence[SourceContract], inputs: Sequence[InputFile]) -> dict[str, Any]:
    return {
        "contract": dict(contract.document),
        "sql": contract.sql,
        "sources": [dict(source.document) for source in sources],
        "inputs": {item.feature_set: dict(item.columns) for item in inputs},
    }


def _loaded(request: dict[str, Any]) -> tuple[Contract, list[SourceContract], list[InputFile]]:
    contract = load_contract(documents.canonical_json(request["contract"]), file="contract", sql=request["sql"])
    sources = [load_source_contract(documents.canonical_json(source), file="source") for source in request["sources"]]
    return contract, sources, [InputFile(name, columns) for name, columns in request["inputs"].items()]


def _work_limits(limits: EngineLimits) -> WorkLimits:
    return WorkLimits(memory_bytes=limits.memory_bytes + OWN_BYTES, wall_s=limits.transform_timeout_s)
