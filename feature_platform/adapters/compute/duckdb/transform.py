"""SQL transforms that authors deliver beside a contract: one SELECT over ``events``, and its rows checked against the contract.

An author's SQL sees the view ``events`` (the window's validated events) and the moment ``getvariable('as_of')``, also spelled ``as_of()``;
nothing else: no files, no network, no settings. Compiled aggregations do not belong here (``core.compute.features_sql``).
"""

from datetime import datetime, timedelta
from typing import Final

import duckdb

from feature_platform.adapters.compute.duckdb.session import bounded_time
from feature_platform.core.compute.dialect import identifier, identifiers, moment_literal, sql_type
from feature_platform.core.contract.feature_set import Contract
from feature_platform.errors import ContractError, InvalidDataError

RESULT: Final = "transform_result"

_INTEGERS: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")
_NUMBERS: Final = (*_INTEGERS, "FLOAT", "DOUBLE", "DECIMAL")
_ACCEPTED: Final = {
    "int32": _NUMBERS,
    "int64": _NUMBERS,
    "float32": _NUMBERS,
    "float64": _NUMBERS,
    "bool": ("BOOLEAN",),
    "string": ("VARCHAR",),
    "bytes": ("BLOB",),
    "timestamp": ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP"),
    "date": ("DATE",),
}


def select_transform(connection: duckdb.DuckDBPyConnection, contract: Contract, *, as_of: datetime, timeout_s: float) -> str:
    """Run a contract's SQL transform and return the query for its checked rows.

    Shape: as :func:`compile_features`; the event timestamp is ``as_of`` where the transform does not give it.

    Raises:
        ContractError: The SQL is not one SELECT that can be run over ``events``.
        InvalidDataError: Its rows do not fit the contract; every fault together.
    """
    text = _one_select(connection, contract)
    _create_window(connection, as_of, contract)
    try:
        with bounded_time(connection, seconds=timeout_s, subject=f"SQL transform of {contract.feature_set!r}"):
            connection.execute(f"CREATE TEMP TABLE {RESULT} AS SELECT * FROM (\n{text}\n) AS transform")
    except duckdb.Error as error:
        raise ContractError(
            f"SQL transform {contract.feature_set}.sql cannot be run; correct it:", [str(error).split("\n\nLINE", 1)[0]]
        ) from error
    found = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE {RESULT}").fetchall()}
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


def _one_select(connection: duckdb.DuckDBPyConnection, contract: Contract) -> str:
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
    return str(statements[0].query).strip().removesuffix(";")


def _create_window(connection: duckdb.DuckDBPyConnection, as_of: datetime, contract: Contract) -> None:
    """``as_of`` as a variable and a macro."""
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
    bare = found.split("(", 1)[0]
    return found == sql_type(kind) or bare in _ACCEPTED.get(kind, ())


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
        name, kind = identifier(column.name), sql_type(column.type)
        wrong = _wrong(name, found[column.name], kind)
        expected = f"that fits {column.type} exactly"
        if column.name == contract.timestamp_field:
            wrong, expected = f"{name} IS NULL OR {name} > {moment_literal(as_of)}", f"at or before {as_of.isoformat()}"
        count, example = connection.execute(f"SELECT count(*), any_value(CAST({name} AS VARCHAR)) FROM {RESULT} WHERE {wrong}").fetchall()[
            0
        ]
        if count:
            faults.append(f"column {column.name!r}: {count} row(s) hold values such as {example}; expected one {expected}")
    return faults


def _wrong(name: str, found: str, kind: str) -> str:
    """Whether a value is lost or bent by the cast: a fraction or overflow under an integer, NaN or infinity under a float."""
    cast = f"TRY_CAST({name} AS {kind})"
    if kind in {"FLOAT", "DOUBLE"}:
        exact = f" OR CAST({cast} AS {found}) <> {name}" if found in _INTEGERS else ""
        return f"{name} IS NOT NULL AND ({cast} IS NULL OR NOT isfinite({cast}){exact})"
    if kind in {"INTEGER", "BIGINT"}:
        return f"{name} IS NOT NULL AND ({cast} IS NULL OR TRY_CAST({cast} AS {found}) IS DISTINCT FROM {name})"
    return "false"
