"""The view of a window's validated events that every computation of features reads. What is computed from it does not belong here."""

from collections.abc import Sequence

import duckdb

from feature_platform.core.compute.aggregates import EVENTS, POSITION
from feature_platform.core.compute.dialect import identifier, sql_type, text_literal
from feature_platform.core.contract.source import SourceContract
from feature_platform.errors import InvalidDataError


def create_events(
    connection: duckdb.DuckDBPyConnection, paths: Sequence[str], source: SourceContract, *, positioned: bool, relation: str = EVENTS
) -> None:
    """The view of a window's events: the columns of the source contract, and the position where it is asked for.

    Args:
        paths: Parquet files that the connection may read, in the order of their days; none for a view without rows.
        source: Whose events they are.
        relation: What the view is called.
        positioned: Whether :data:`POSITION` is a column; rows lie in a file in the order of validated events.

    Raises:
        InvalidDataError: The files were written under another source contract.
    """
    if paths:
        listed = ", ".join(text_literal(path) for path in paths)
        columns = ", ".join(identifier(column.name) for column in source.columns)
        position = f", (CAST(file_index AS BIGINT) << 40) + file_row_number AS {identifier(POSITION)}" if positioned else ""
        query = f"SELECT {columns}{position} FROM read_parquet([{listed}], hive_partitioning = false, file_row_number = {positioned})"
    else:
        columns = ", ".join(f"CAST(NULL AS {sql_type(column.type)}) AS {identifier(column.name)}" for column in source.columns)
        position = f", CAST(NULL AS BIGINT) AS {identifier(POSITION)}" if positioned else ""
        query = f"SELECT {columns}{position} WHERE false"
    connection.execute(f"CREATE VIEW {identifier(relation)} AS {query}")
    found = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE {identifier(relation)}").fetchall()}
    faults = [
        f"column {column.name!r} has type {found[column.name]}; expected {sql_type(column.type)}"
        for column in source.columns
        if found[column.name] != sql_type(column.type)
    ]
    if faults:
        raise InvalidDataError(
            f"Validated events of source {source.source!r} were written under another source contract; validate the days again:", faults
        )
