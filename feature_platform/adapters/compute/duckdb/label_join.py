"""Feature values for label rows, looked up version by version by DuckDB: larger than memory, answers in the order of the labels.

Which version was known at which moment does not belong here (``core.training``).
"""

import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from feature_platform.adapters.compute.duckdb.session import fetch_batches
from feature_platform.adapters.events.read_ahead import read_ahead
from feature_platform.core.compute.dialect import identifier, identifiers, text_literal
from feature_platform.core.training.lookup import MOMENT, ROW, Lookup
from feature_platform.errors import InvalidDataError

BATCH_ROWS: Final = 131_072
ASKED: Final = "asked"


def create_asked(connection: duckdb.DuckDBPyConnection, asked: pa.RecordBatchReader) -> None:
    """Create the table of the rows that lookups are made for."""
    connection.register("given", asked)
    connection.execute(f"CREATE TABLE {ASKED} AS SELECT * FROM given")
    connection.unregister("given")


def select_parts(connection: duckdb.DuckDBPyConnection, expression: str) -> Iterator[pa.RecordBatch]:
    """One expression over every row, in their order."""
    query = f"SELECT {expression} FROM {ASKED} ORDER BY {identifier(ROW)}"
    return fetch_batches(connection.cursor().sql(query), rows=BATCH_ROWS)


def look_up(connection: duckdb.DuckDBPyConnection, lookup: Lookup, *, place: int, paths: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    """The answers to every row, in their order and in the shape of ``lookup.schema``.

    Args:
        place: Number of the lookup among those of this connection.
        paths: Paths that the connection may read versions from, one for each entry of the timeline; no file is there yet. DuckDB caches
            what it read from a path, so none is used twice.

    Raises:
        InvalidDataError: A version's file does not have the lookup's keys, or features of its types.
    """
    answers, known = f"answers_{place}", f"known_{place}"
    columns = [identifier(name) for name in lookup.schema.names]
    connection.execute(f"CREATE TABLE {known} (since TIMESTAMPTZ, version VARCHAR)")
    if lookup.timeline:
        connection.executemany(f"INSERT INTO {known} VALUES (?, ?)", [[entry.since, entry.version] for entry in lookup.timeline])
    connection.execute(
        f"CREATE TABLE moments_{place} AS SELECT {identifiers([ROW, MOMENT, *(key.name for key in lookup.keys)])}, k.version AS __version "
        f"FROM {ASKED} a ASOF LEFT JOIN {known} k ON a.{identifier(MOMENT)} >= k.since"
    )
    connection.register("shape", lookup.schema.empty_table())
    connection.execute(f"CREATE TABLE {answers} AS SELECT NULL::BIGINT AS {identifier(ROW)}, * FROM shape WHERE false")
    connection.unregister("shape")
    _without(connection, lookup, place, "m.__version IS NULL", status="nothing_known")
    used = connection.execute(f"SELECT DISTINCT __version FROM moments_{place} WHERE __version IS NOT NULL ORDER BY 1").fetchall()
    files = partial(_fetched, lookup, [version for (version,) in used], paths)
    with read_ahead([files], threads=1) as fetched:  # the next version is on its way while this one is joined
        for _, (version, path) in fetched:
            if path is None:
                _without(connection, lookup, place, f"m.__version = {text_literal(version)}", status="expired")
                continue
            # Its bytes were just compared with the log's, so DuckDB, which verifies no page checksums, may read it.
            _with(connection, lookup, place, version, path)
            path.unlink()
    return fetch_batches(connection.cursor().sql(f"SELECT {', '.join(columns)} FROM {answers} ORDER BY {identifier(ROW)}"), rows=BATCH_ROWS)


def _fetched(lookup: Lookup, versions: Sequence[str], paths: Sequence[Path]) -> Iterator[tuple[str, Path | None]]:
    """Each version with the path of its file; None where it has expired."""
    for version, path in zip(versions, paths, strict=False):
        with lookup.open_version(version) as opened:
            if opened is not None:
                with opened() as file:
                    _put(Path(file.name), path)
        yield version, None if opened is None else path


def _put(file: Path, path: Path) -> None:
    """Give a file a second name; where that is not possible, a copy."""
    try:
        path.hardlink_to(file)
    except OSError:
        shutil.copyfile(file, path)


def _without(connection: duckdb.DuckDBPyConnection, lookup: Lookup, place: int, condition: str, *, status: str) -> None:
    """Answer rows without reading a version."""
    connection.execute(
        f"INSERT INTO answers_{place} BY NAME SELECT m.{identifier(ROW)}, m.__version AS {identifier(lookup.version_name)}, "
        f"{text_literal(status)} AS {identifier(lookup.status_name)} FROM moments_{place} m WHERE {condition}"
    )


def _with(connection: duckdb.DuckDBPyConnection, lookup: Lookup, place: int, version: str, file: Path) -> None:
    """Answer the rows that a version was known for, from its file."""
    present = _present(pq.read_schema(file), lookup, version)
    matches = " AND ".join(f"m.{identifier(key.name)} = f.{identifier(key.name)}" for key in lookup.keys)
    clock = f"f.{identifier(lookup.timestamp_field)}"
    age_us = f"epoch_us(m.{identifier(MOMENT)}) - epoch_us({clock})"
    is_late = f"{age_us} > {round(lookup.ttl.total_seconds() * 1e6)}" if lookup.ttl else "false"
    values = [
        f"CASE WHEN NOT ({is_late}) THEN f.{identifier(field.name)} END AS {identifier(name)}"
        for name, field in zip(lookup.names, lookup.features, strict=True)
        if field.name in present
    ]
    status = f"CASE WHEN {clock} IS NULL THEN 'unknown_entity' WHEN {is_late} THEN 'past_ttl' ELSE 'found' END"
    named = [*values, f"m.__version AS {identifier(lookup.version_name)}", f"{status} AS {identifier(lookup.status_name)}"]
    connection.execute(
        f"INSERT INTO answers_{place} BY NAME "
        f"SELECT m.{identifier(ROW)}, {', '.join(named)} FROM (SELECT * FROM moments_{place} WHERE __version = {text_literal(version)}) m "
        f"LEFT JOIN read_parquet({text_literal(str(file))}, hive_partitioning = false) f ON {matches}"
    )


def _present(schema: pa.Schema, lookup: Lookup, version: str) -> list[str]:
    """Features that a version has; others did not exist yet, so they are null."""
    found = {field.name: field.type for field in schema}
    faults = [
        f"key {key.name!r} is {found.get(key.name, 'missing')}; expected {key.type}"
        for key in lookup.keys
        if found.get(key.name) != key.type
    ]
    faults += [
        f"feature {field.name!r} is {found[field.name]}; expected {field.type}, as the newest version has it"
        for field in lookup.features
        if field.name in found and found[field.name] != field.type
    ]
    if faults:
        raise InvalidDataError(
            f"Version {version} of {lookup.feature_set} cannot be joined with the others; choose labels or features that do not span them:",
            faults,
        )
    return [field.name for field in lookup.features if field.name in found]
