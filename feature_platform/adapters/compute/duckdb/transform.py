"""SQL transforms that authors deliver beside a contract: one SELECT over events, and its rows checked against the contract.

An author's SQL sees the view ``events`` (the window's validated events; of several sources, a view of each source's name), a view of each
other set that its contract names, and the moment ``as_of``; nothing else: no files, no network, no settings. All of this happens in a
process of its own (``transform_process``), which limits its time and memory. What a statement may contain does not belong here
(``core.compute.transform_sql``), nor do compiled aggregations (``core.compute.features_sql``).
"""

import json
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final

import duckdb

from feature_platform.core.compute.dialect import identifier, identifiers, moment_literal, outside_calendar, sql_type
from feature_platform.core.compute.transform_sql import MOMENT, place_moment, transform_faults
from feature_platform.core.contract import types
from feature_platform.core.contract.feature_set import Contract
from feature_platform.errors import ContractError, InvalidDataError

RESULT: Final = "transform_result"

_INTEGERS: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")
_NUMBERS: Final = (*_INTEGERS, "FLOAT", "DOUBLE", "DECIMAL")


def prepare_transform(connection: duckdb.DuckDBPyConnection, contract: Contract, columns: Collection[str], *, as_of: datetime) -> str:
    """A contract's statement as it is run: checked, and with its plain ``as_of`` rewritten. The connection has the views that the statement
    reads; ``columns`` are the names of their columns.

    Raises:
        ContractError: It is not one SELECT, contains what no transform may contain, or names a table or column that does not exist.
    """
    statement, faults = _judged(connection, contract, columns, as_of)
    if faults:
        raise ContractError(f"SQL transform {contract.feature_set}.sql has statements that no transform may have; correct it:", faults)
    _describe(connection, contract, _as_relation(statement))
    return statement


def bound_faults(connection: duckdb.DuckDBPyConnection, contract: Contract, columns: Collection[str], *, as_of: datetime) -> list[str]:
    """Every fault of a contract's statement that can be found without running it."""
    faults: list[str] = []
    try:
        statement, faults = _judged(connection, contract, columns, as_of)
        return faults + _column_faults(contract, _describe(connection, contract, _as_relation(statement)))
    except ContractError as error:
        return [*faults, *(error.faults or [error.subject])]


def _judged(connection: duckdb.DuckDBPyConnection, contract: Contract, columns: Collection[str], as_of: datetime) -> tuple[str, list[str]]:
    text, tree = _one_select(connection, contract)
    listed = connection.execute("SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'").fetchall()
    _create_window(connection, as_of, contract)
    faults = transform_faults(tree, inconstant=[name for (name,) in listed], columns=columns)
    return place_moment(text, tree, columns=columns), faults


def _as_relation(statement: str) -> str:
    return f"SELECT * FROM (\n{statement}\n) AS transform"


def select_transform(connection: duckdb.DuckDBPyConnection, contract: Contract, statement: str, *, as_of: datetime) -> str:
    """Run a prepared statement and return the query for its checked rows.

    Shape: as :func:`compile_features`; the event timestamp is ``as_of`` where the transform does not give it.

    Raises:
        ContractError: The statement cannot be run.
        InvalidDataError: Its rows do not fit the contract; every fault together.
        duckdb.OutOfMemoryException: It needs more memory and disk than there is.
    """
    try:
        connection.execute(f"CREATE TEMP TABLE {RESULT} AS {_as_relation(statement)}")
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise _cannot_run(contract, error) from error
    found = _describe(connection, contract, RESULT)
    faults = _column_faults(contract, found)
    faults += _key_faults(connection, contract, found)
    faults += _value_faults(connection, contract, found, as_of)
    if faults:
        raise InvalidDataError(f"Rows of SQL transform {contract.feature_set}.sql do not fit the contract; correct either:", faults)
    columns = ", ".join(
        f"CAST({identifier(column.name)} AS {sql_type(column.type)}) AS {identifier(column.name)}"
        if column.name in found
        else f"{moment_literal(as_of)} AS {identifier(column.name)}"
        for column in contract.all_columns
    )
    return f"SELECT {columns} FROM {RESULT} ORDER BY {identifiers(contract.primary_keys)}"


def _describe(connection: duckdb.DuckDBPyConnection, contract: Contract, relation: str) -> dict[str, str]:
    """Column → type of a table or query."""
    try:
        return {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE {relation}").fetchall()}
    except duckdb.Error as error:
        raise _cannot_run(contract, error) from error


def _cannot_run(contract: Contract, error: duckdb.Error) -> ContractError:
    said = str(error).split("\n\nLINE", 1)[0]
    if MOMENT in said:
        said += f"\nThe moment is written {MOMENT}, or {MOMENT}() where something else is called so."
    return ContractError(f"SQL transform {contract.feature_set}.sql cannot be run; correct it:", [said])


def _one_select(connection: duckdb.DuckDBPyConnection, contract: Contract) -> tuple[str, dict[str, Any]]:
    try:
        statements = connection.extract_statements(contract.sql or "")
    except duckdb.Error as error:
        raise ContractError(
            f"SQL transform {contract.feature_set}.sql is not SQL; correct it:", [str(error).split("\n\n", 1)[0]]
        ) from error
    kinds = [str(statement.type).rsplit(".", 1)[-1] for statement in statements]
    if kinds != ["SELECT"]:
        raise ContractError(
            f"SQL transform {contract.feature_set}.sql: expected one SELECT statement, found {', '.join(kinds) or 'none'}. "
            "Write it as one query."
        )
    text = _without_end(str(statements[0].query))
    ((serialized,),) = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchall()
    tree = json.loads(serialized)
    if tree["error"]:
        raise ContractError(f"SQL transform {contract.feature_set}.sql is not one plain SELECT; rewrite it:", [tree["error_message"]])
    return text, tree


def _without_end(statement: str) -> str:
    """A statement without the semicolons and comments at its end, which cannot stand in a subquery."""
    body = statement.encode()
    for start, kind in reversed(duckdb.tokenize(statement)):
        if kind != duckdb.token_type.comment and body[start:].strip() != b";":
            break
        body = body[:start]
    return body.decode().strip()


def _create_window(connection: duckdb.DuckDBPyConnection, as_of: datetime, contract: Contract) -> None:
    """Define ``as_of`` and ``window_start`` as variables, and ``as_of()`` as a macro."""
    connection.execute(f"SET VARIABLE as_of = {moment_literal(as_of)}")
    connection.execute(f"SET VARIABLE window_start = {moment_literal(as_of - timedelta(days=contract.window_days))}")
    connection.execute(f"CREATE TEMP MACRO as_of() AS {moment_literal(as_of)}")


def _column_faults(contract: Contract, found: dict[str, str]) -> list[str]:
    expected = {column.name for column in contract.all_columns}
    faults = [
        f"column {name!r} is missing; expected {', '.join(column.name for column in contract.all_columns)}"
        for name in (column.name for column in contract.all_columns)
        if name not in found and name != contract.timestamp_field
    ]
    faults += [f"column {name!r} is not in the contract; expected only its columns" for name in found if name not in expected]
    faults += [
        f"column {column.name!r} has type {found[column.name]}; expected {column.type}"
        for column in contract.all_columns
        if column.name in found and not _accepts(column.type, found[column.name])
    ]
    return faults


def _accepts(kind: str, found: str) -> bool:
    cast = _NUMBERS if kind in types.NUMERIC else ("TIMESTAMP",) if kind == "timestamp" else ()
    return found == sql_type(kind) or found.split("(", 1)[0] in cast


def _key_faults(connection: duckdb.DuckDBPyConnection, contract: Contract, found: dict[str, str]) -> list[str]:
    keys = [key for key in contract.primary_keys if key in found]
    if len(keys) < len(contract.primary_keys):
        return []
    faults = []
    missing = " OR ".join(f"{identifier(key)} IS NULL" for key in keys)
    count = connection.execute(f"SELECT count(*) FROM {RESULT} WHERE {missing}").fetchall()[0][0]
    if count:
        faults.append(f"primary key ({', '.join(keys)}) is null in {count} row(s); expected a value in every row")
    names = identifiers(keys)
    repeated = connection.execute(
        f"SELECT {names}, count(*) FROM {RESULT} WHERE NOT ({missing}) GROUP BY {names} HAVING count(*) > 1 ORDER BY {names} LIMIT 3"
    ).fetchall()
    faults += [
        f"primary key {', '.join(f'{key}={value!r}' for key, value in zip(keys, row, strict=False))} stands {row[-1]} times; expected once"
        for row in repeated
    ]
    return faults


def _value_faults(connection: duckdb.DuckDBPyConnection, contract: Contract, found: dict[str, str], as_of: datetime) -> list[str]:
    faults = []
    for column in contract.all_columns:
        if column.name not in found or not _accepts(column.type, found[column.name]):
            continue
        name = identifier(column.name)
        wrong, expected = _wrong(name, found[column.name], column.type), f"that fits {column.type} exactly"
        if wrong == "false":
            wrong, expected = outside_calendar(name, kind=column.type), "from 0001-01-01 to 9999-12-30"
        if column.name == contract.timestamp_field:
            wrong, expected = f"{name} IS NULL OR {name} > {moment_literal(as_of)} OR {wrong}", f"at or before {as_of.isoformat()}"
        count, example = connection.execute(f"SELECT count(*), any_value(CAST({name} AS VARCHAR)) FROM {RESULT} WHERE {wrong}").fetchall()[
            0
        ]
        if count:
            faults.append(f"column {column.name!r}: {count} row(s) hold values such as {example}; expected one {expected}")
    return faults


def _wrong(name: str, found: str, column_type: str) -> str:
    """The condition of a value that the cast would lose or change: a fraction or overflow to an integer, NaN or infinity to a float."""
    kind = sql_type(column_type)
    cast = f"TRY_CAST({name} AS {kind})"
    if kind in {"FLOAT", "DOUBLE"}:
        exact = f" OR CAST({cast} AS {found}) <> {name}" if found in _INTEGERS else ""
        return f"{name} IS NOT NULL AND ({cast} IS NULL OR NOT isfinite({cast}){exact})"
    if kind in {"INTEGER", "BIGINT"}:
        return f"{name} IS NOT NULL AND ({cast} IS NULL OR TRY_CAST({cast} AS {found}) IS DISTINCT FROM {name})"
    return "false"
