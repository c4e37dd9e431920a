"""The views that computations of features read: of validated events, and of other sets' versions. What is computed does not belong here."""

from collections.abc import Mapping, Sequence

import duckdb

from feature_platform.core.compute.aggregates import EVENTS, POSITION
from feature_platform.core.compute.dialect import identifier, no_rows, sql_type, text_literal
from feature_platform.core.compute.tiles import InputFile
from feature_platform.core.contract.source import SourceContract
from feature_platform.errors import InvalidDataError


def create_events(
    connection: duckdb.DuckDBPyConnection, paths: Sequence[str], source: SourceContract, *, positioned: bool, relation: str = EVENTS
) -> None:
    """The view of a window's events: the columns of the source contract, and the position where it is asked for.

    Args:
        paths: Parquet files that the connection may read, in the order of their days; none for a view without rows.
        source: The contract of the source whose events they are.
        relation: The name of the view.
        positioned: Whether :data:`POSITION` is a column; rows lie in a file in the order of validated events.

    Raises:
        InvalidDataError: The files were written under another source contract.
    """
    position = f"(CAST(file_index AS BIGINT) << 40) + file_row_number AS {identifier(POSITION)}" if positioned else ""
    faults = _create_view(connection, relation, paths, {column.name: column.type for column in source.columns}, position=position)
    if faults:
        raise InvalidDataError(
            f"Validated events of source {source.source!r} were written under another source contract; validate the days again:", faults
        )


def create_features(connection: duckdb.DuckDBPyConnection, path: str | None, given: InputFile) -> None:
    """The view of another set's version, over one Parquet file that the connection may read; a view without rows where there is no path.

    Raises:
        InvalidDataError: The file has other columns than its contract says.
    """
    if faults := _create_view(connection, given.feature_set, [path] if path else [], given.columns):
        raise InvalidDataError(f"The version of {given.feature_set!r} that is read is not what its contract says; verify it:", faults)


def _create_view(
    connection: duckdb.DuckDBPyConnection, relation: str, paths: Sequence[str], columns: Mapping[str, str], *, position: str = ""
) -> list[str]:
    """Create a view of typed columns; returns a fault for each column that has another type in the files."""
    if paths:
        listed = ", ".join(text_literal(path) for path in paths)
        selected = ", ".join([*map(identifier, columns), *([position] if position else [])])
        numbered = "true" if position else "false"
        query = f"SELECT {selected} FROM read_parquet([{listed}], hive_partitioning = false, file_row_number = {numbered})"
    else:
        query = no_rows({name: sql_type(kind) for name, kind in columns.items()} | ({POSITION: "BIGINT"} if position else {}))
    connection.execute(f"CREATE VIEW {identifier(relation)} AS {query}")
    found = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE {identifier(relation)}").fetchall()}
    return [
        f"column {name!r} has type {found[name]}; expected {sql_type(kind)}"
        for name, kind in columns.items()
        if found[name] != sql_type(kind)
    ]
