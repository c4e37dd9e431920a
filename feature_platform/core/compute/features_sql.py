"""A contract's aggregations compiled to one SQL query over the events of its longest window.

Everything is exact, so that any number of threads gives the same bits: floating values are summed as whole multiples of 10^-decimals and
divided once; the variance follows from integer sums. Running the query does not belong here (``adapters.compute.duckdb.engine``).

Semantics, for events with ``as_of - window <= event_time < as_of`` that meet ``where``; nulls in the aggregated column do not count:

- One row for each key with any event in the longest window, sorted by key. Of no events, counts are 0 and all else is null.
- ``sum``, ``mean``: exact in units of 10^-decimals (halves go to the even one); ``stddev`` is the sample's (n - 1), null below two values.
- ``first``, ``last``: the value of the first, last event that has one, in the order of validated events: event time, then all columns in
  the order of the source contract. Of events at one moment all ``last`` features therefore look at the same one first.
- ``age_of_last``: seconds from the last event to as-of, whole seconds rounded down for integers.
- ``approx_distinct``: see ``core.compute.distinct_sql``.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from feature_platform.core.compute.dialect import (
    INTEGER_RANGES,
    identifier,
    identifiers,
    moment_literal,
    sql_type,
    text_literal,
    value_literal,
)
from feature_platform.core.compute.distinct_sql import ESTIMATE, distinct_query
from feature_platform.core.contract.feature_set import Aggregation, Column, Comparison, Contract
from feature_platform.core.contract.source import SourceColumn, SourceContract

EVENTS = "events"
"""The relation that holds the window's events."""

POSITION = "#position"
"""A column of it: an integer that rises in the order of validated events. No source column can have this name."""

_COMPARISONS: Mapping[str, str] = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "ne": "<>"}


def compile_features(contract: Contract, *, source: SourceContract, as_of: datetime) -> str:
    """The query whose rows are the feature set as of a moment.

    Shape: one row per primary key, sorted by it; columns and types of ``contract.all_columns``; the event timestamp is ``as_of``.

    Args:
        contract: Without a SQL transform; its faults against ``source`` are assumed to have been refused.
        source: Types and decimals of the events' columns.
        as_of: End of every window, exclusive.
    """
    return _Compiler(contract, source, as_of).query()


class _Compiler:
    """Collects the aggregates that a contract needs, each once, and the expressions over them."""

    def __init__(self, contract: Contract, source: SourceContract, as_of: datetime) -> None:
        self._contract, self._as_of = contract, as_of
        self._columns = {column.name: column for column in source.columns}
        self._time = identifier(source.event_time)
        self._aggregates: dict[str, str] = {}
        self._sketches: dict[str, str] = {}

    def query(self) -> str:
        # One scan with a FILTER for each aggregate, not one scan for each window: each event is read once (docs/performance.md).
        # A sketch needs a grouping of its own (by key and register), so it is a subquery and joined.
        keys = identifiers(self._contract.primary_keys)
        selected = ",\n  ".join(f"{self._output(column)} AS {identifier(column.name)}" for column in self._contract.all_columns)
        aggregates = "".join(f",\n    {expression} AS {alias}" for expression, alias in self._aggregates.items())
        window = f"{self._time} >= {self._start(self._contract.window_days)} AND {self._time} < {moment_literal(self._as_of)}"
        joins = "".join(f"\nLEFT JOIN (\n{query}\n) AS {alias} USING ({keys})" for query, alias in self._sketches.items())
        return (
            f"SELECT\n  {selected}\n"
            f"FROM (\n  SELECT {keys}{aggregates}\n  FROM {EVENTS}\n  WHERE {window}\n  GROUP BY {keys}\n) AS aggregates{joins}"
            f"\nORDER BY {keys}"
        )

    def _output(self, column: Column) -> str:
        if column.name == self._contract.timestamp_field:
            return moment_literal(self._as_of)
        if column.aggregation is None:
            return identifier(column.name)
        return self._feature(column, column.aggregation)

    def _feature(self, column: Column, aggregation: Aggregation) -> str:
        if aggregation.function == "count":
            return _counted(self._aggregate("count(*)", aggregation), column)
        if aggregation.function == "age_of_last":
            return self._age(column, aggregation)
        taken = self._columns[str(aggregation.column)]
        if aggregation.function == "approx_distinct":
            return _counted(self._sketch(taken, aggregation), column)
        if aggregation.function in {"min", "max"}:
            return self._aggregate(f"{aggregation.function}({identifier(taken.name)})", aggregation)
        if aggregation.function in {"first", "last"}:
            return self._edge(taken, aggregation)
        return self._moments(column, taken, aggregation)

    def _age(self, column: Column, aggregation: Aggregation) -> str:
        last = self._aggregate(f"max({self._time})", aggregation)
        age_us = f"(epoch_us({moment_literal(self._as_of)}) - epoch_us({last}))"
        return f"{age_us} / 1e6" if column.type == "float64" else _counted(f"{age_us} // 1000000", column)

    def _edge(self, taken: SourceColumn, aggregation: Aggregation) -> str:
        """The value at the least or greatest position, nulls passed over."""
        # By position and not by time: events of one moment have an order, and the answer must not depend on threads.
        function = "arg_min" if aggregation.function == "first" else "arg_max"
        return self._aggregate(f"{function}({identifier(taken.name)}, {identifier(POSITION)})", aggregation)

    def _moments(self, column: Column, taken: SourceColumn, aggregation: Aggregation) -> str:
        value = identifier(taken.name)
        decimals, units = 0, value
        if taken.type.startswith("float"):
            decimals = taken.decimals
            # avg() over doubles on several threads changes its last bits from run to run; whole numbers add up alike in any order, and are
            # 10 to 20% faster (docs/performance.md). The cast rounds, halves to the even one.
            units = f"CAST(CAST({value} AS DOUBLE) * 1e{decimals} AS BIGINT)"
        total = self._aggregate(f"sum({units})", aggregation)
        if aggregation.function == "sum":
            return _scaled_sum(total, column, decimals)
        count = self._aggregate(f"count({value})" if taken.nullable else "count(*)", aggregation)
        if aggregation.function == "mean":
            return _real(f"CAST({total} AS DOUBLE) / (CAST({count} AS DOUBLE) * 1e{decimals})", column)
        # Squares of 64-bit integers, and sums of them, need 128 bits.
        squares = self._aggregate(f"sum(CAST({units} AS HUGEINT) * CAST({units} AS HUGEINT))", aggregation)
        return _real(_stddev(count, total, squares, decimals), column)

    def _sketch(self, taken: SourceColumn, aggregation: Aggregation) -> str:
        query = distinct_query(
            column=taken, keys=self._contract.primary_keys, condition=self._condition(aggregation, present=identifier(taken.name))
        )
        alias = self._sketches.setdefault(query, f'"#d{len(self._sketches)}"')
        return f"coalesce({alias}.{ESTIMATE}, 0)"

    def _aggregate(self, expression: str, aggregation: Aggregation, *, present: str | None = None) -> str:
        """The name of an aggregate over the aggregation's window and rules, computed once however often it is used."""
        condition = self._condition(aggregation, present=present)
        filtered = f"{expression} FILTER (WHERE {condition})" if condition else expression
        return self._aggregates.setdefault(filtered, f'"#a{len(self._aggregates)}"')

    def _condition(self, aggregation: Aggregation, *, present: str | None = None) -> str:
        parts = [] if present is None else [f"{present} IS NOT NULL"]
        if aggregation.window_days < self._contract.window_days or aggregation.function == "approx_distinct":
            parts.append(f"{self._time} >= {self._start(aggregation.window_days)}")
        if aggregation.function == "approx_distinct":
            parts.append(f"{self._time} < {moment_literal(self._as_of)}")
        for name, rule in aggregation.where.items():
            parts.append(_rule(identifier(name), rule, self._columns[name].type))
        return " AND ".join(parts)

    def _start(self, days: int) -> str:
        return moment_literal(self._as_of - timedelta(days=days))


def _rule(name: str, rule: object, kind: str) -> str:
    """An event column's condition; null meets none."""
    if isinstance(rule, Comparison):
        given = rule.model_dump(exclude_none=True)
        return " AND ".join(f"{name} {_COMPARISONS[bound]} {value_literal(value, kind=kind)}" for bound, value in given.items())
    if isinstance(rule, list):
        return f"{name} IN ({', '.join(value_literal(value, kind=kind) for value in rule)})"
    return f"{name} = {value_literal(rule, kind=kind)}"


def _scaled_sum(total: str, column: Column, decimals: int) -> str:
    if column.type in INTEGER_RANGES:
        if not decimals:
            return _whole(total, column)
        unit, kind = 10**decimals, sql_type(column.type)
        start, end = text_literal(f"column {column.name!r}: sum "), text_literal(f"e-{decimals} is not whole; expected {column.type}")
        lossy = f"CAST(error({start} || {total} || {end}) AS {kind})"
        return f"CASE WHEN {total} % {unit} <> 0 THEN {lossy} ELSE {_whole(f'({total} // {unit})', column)} END"
    return _real(f"CAST({total} AS DOUBLE) / 1e{decimals}", column)


def _stddev(count: str, total: str, squares: str, decimals: int) -> str:
    """Sample standard deviation from exact sums: with m = s div n, Q = Σ(x-m)² and r = Σ(x-m), var = (Q - r²/n) / (n-1)."""
    # Around the whole mean the numbers stay small; s² - n·m² from doubles would lose every digit where the spread is small beside the mean.
    quotient = f"({total} // {count})"
    around = f"({squares} - {quotient} * (2 * {total} - {count} * {quotient}))"
    rest = f"({total} - {count} * {quotient})"
    numerator = f"greatest(CAST({around} AS DOUBLE) - CAST({rest} * {rest} AS DOUBLE) / CAST({count} AS DOUBLE), 0.0)"
    return f"CASE WHEN {count} > 1 THEN sqrt({numerator} / CAST({count} - 1 AS DOUBLE)) / 1e{decimals} END"


def _counted(expression: str, column: Column) -> str:
    """A count or an age: a BIGINT that no data can overflow, checked only where the column is narrower."""
    return expression if column.type == "int64" else _whole(expression, column)


def _whole(expression: str, column: Column) -> str:
    """An integer, refused where the column's type cannot hold it."""
    kind = sql_type(column.type)
    if column.type not in INTEGER_RANGES:
        return f"CAST({expression} AS {kind})"
    low, high = INTEGER_RANGES[column.type]
    start, end = text_literal(f"column {column.name!r}: "), text_literal(f" does not fit {column.type}")
    # error() fails the query with the column and the value; a failed cast would name neither.
    fits = f"{expression} BETWEEN {low} AND {high} OR {expression} IS NULL"
    return f"CASE WHEN {fits} THEN TRY_CAST({expression} AS {kind}) ELSE CAST(error({start} || {expression} || {end}) AS {kind}) END"


def _real(expression: str, column: Column) -> str:
    return f"CAST({expression} AS FLOAT)" if column.type == "float32" else expression
