"""Names, values and types in the compiled SQL: DuckDB's dialect; every name and text is quoted here and nowhere else.

What a query computes does not belong here (``core.compute.features_sql``, ``core.compute.validation_sql``).
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from feature_platform.core.contract import types

_TYPES: Final = MappingProxyType(
    {
        "int32": "INTEGER",
        "int64": "BIGINT",
        "float32": "FLOAT",
        "float64": "DOUBLE",
        "bool": "BOOLEAN",
        "string": "VARCHAR",
        "bytes": "BLOB",
        "timestamp": "TIMESTAMP WITH TIME ZONE",
        "date": "DATE",
    }
)

# Sums and products are wider than their column; DuckDB would raise on a cast without naming the column, so ranges are compared first.
INTEGER_RANGES: Final = MappingProxyType({"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)})


def sql_type(kind: str) -> str:
    """The SQL type of a contract type.

    >>> sql_type("list<int64>")
    'BIGINT[]'
    """
    element = types.element_type(kind)
    return f"{_TYPES[element]}[]" if element else _TYPES[kind]


def identifier(name: str) -> str:
    """A quoted name.

    >>> identifier('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def identifiers(names: Iterable[str]) -> str:
    """Quoted names with commas between them."""
    return ", ".join(identifier(name) for name in names)


def text_literal(text: str) -> str:
    """A quoted string.

    >>> text_literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def no_rows(kinds: Mapping[str, str]) -> str:
    """A query of columns of these SQL types, without a row.

    >>> no_rows({"k": "BIGINT"})
    'SELECT CAST(NULL AS BIGINT) AS "k" WHERE false'
    """
    return f"SELECT {', '.join(f'CAST(NULL AS {kind}) AS {identifier(name)}' for name, kind in kinds.items())} WHERE false"


def moment_literal(moment: datetime) -> str:
    """A moment, UTC, to the microsecond.

    >>> moment_literal(datetime(2026, 1, 15, tzinfo=UTC))
    "TIMESTAMPTZ '2026-01-15 00:00:00.000000+00'"
    """
    # With its offset, so that the session's time zone cannot move it.
    return f"TIMESTAMPTZ '{moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ', timespec='microseconds')}+00'"


def outside_calendar(value: str, *, kind: str) -> str:
    """The condition that a date or moment, or one of a list, is none that Python has: infinite, before the year 1 or in the last day.

    >>> outside_calendar("x", kind="date")
    "(x < CAST('0001-01-01' AS DATE) OR x >= CAST('9999-12-31' AS DATE))"
    >>> outside_calendar("x", kind="int64")
    'false'
    """
    element = types.element_type(kind)
    if element:
        beyond = outside_calendar("item", kind=element)
        return beyond if beyond == "false" else f"len(list_filter({value}, lambda item: {beyond})) > 0"
    if kind not in {"timestamp", "date"}:
        return "false"
    # The last day is left out, because an offset may carry its moments into the year 10000.
    return f"({value} < CAST('0001-01-01' AS {sql_type(kind)}) OR {value} >= CAST('9999-12-31' AS {sql_type(kind)}))"


def value_literal(value: object, *, kind: str) -> str:
    """A value of a contract as a literal of a column's type.

    >>> value_literal("2026-01-01", kind="date")
    "CAST('2026-01-01' AS DATE)"
    >>> value_literal("2026-01-01T00:00:00+01:00", kind="timestamp")
    "TIMESTAMPTZ '2025-12-31 23:00:00.000000+00'"
    """
    if kind == "timestamp":  # engines read other spellings than Python, by which the contract was checked
        return moment_literal(datetime.fromisoformat(str(value)))
    # Through text and a cast, so that a value has the column's type and not the one that the parser would give a bare number.
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text_literal(text) if kind == "string" else f"CAST({text_literal(text)} AS {sql_type(kind)})"


def nearest_double(whole: str) -> str:
    """A whole number of up to 128 bits as the double that is nearest to it, as every engine computes it.

    A cast alone rounds twice on DuckDB where the number has more than 64 bits, or is below -2^54.

    >>> nearest_double("x")
    'coalesce(CAST(TRY_CAST(x AS BIGINT) AS DOUBLE), CAST(CAST(x AS VARCHAR) AS DOUBLE))'
    """
    return f"coalesce(CAST(TRY_CAST({whole} AS BIGINT) AS DOUBLE), CAST(CAST({whole} AS VARCHAR) AS DOUBLE))"


def units(value: str, *, decimals: int) -> str:
    """A floating value as a whole number of 10^-decimals, halves up, as every engine computes it.

    A cast alone rounds halves to even on one engine and truncates on another. From 2^52 on every double is whole, and adding a half to
    one would change it.

    >>> units("x", decimals=0)
    'CAST(floor(CAST(x AS DOUBLE) * 1e0 + CASE WHEN abs(CAST(x AS DOUBLE) * 1e0) < 4503599627370496e0 THEN 0.5e0 ELSE 0e0 END) AS BIGINT)'
    """
    scaled = f"CAST({value} AS DOUBLE) * 1e{decimals}"
    # The half is chosen and not the sum: one branch of a sum that is computed for every value costs 5% of a build.
    return f"CAST(floor({scaled} + CASE WHEN abs({scaled}) < {2**52}e0 THEN 0.5e0 ELSE 0e0 END) AS BIGINT)"
