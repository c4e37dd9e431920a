"""A contract's aggregations compiled to SQL: over the events of its longest window, or over the aggregates of its days (tiles).

Everything is exact, so that any number of threads, either way of reading a window and every engine give the same bits: floating values are
summed as whole multiples of 10^-decimals and divided once; the variance follows from integer sums. Running a query does not belong here
(``adapters.compute.duckdb.engine``), nor the SQL of a single aggregate (``core.compute.aggregates``).

Semantics, for events with ``as_of - window <= event_time < as_of`` that meet ``where``; nulls in the aggregated column do not count:

- One row for each key with any event in the longest window of any source, sorted by key. Where no event counts, counts are 0 and all other
  values are null.
- ``sum``, ``mean``: exact in units of 10^-decimals (halves go up); ``stddev`` is the sample's (n - 1), null below two values.
- ``first``, ``last``: the value of the first, last event that has one, in the order of validated events: event time, then all columns in
  the order of the source contract. So all ``last`` features take events of one moment in the same order.
- ``age_of_first``, ``age_of_last``: seconds from the first, last event to as-of, whole seconds rounded down for integers.
- ``approx_distinct``: see ``core.compute.distinct_sql``.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from feature_platform.core.compute.aggregates import DAY, EVENTS, TILES, Aggregate, Kind, Rows, Sketch, tile_names
from feature_platform.core.compute.dialect import (
    INTEGER_RANGES,
    identifier,
    identifiers,
    moment_literal,
    nearest_double,
    sql_type,
    text_literal,
    units,
    value_literal,
)
from feature_platform.core.compute.distinct_sql import ESTIMATE, PACKED, estimated
from feature_platform.core.compute.expressions_sql import expression_sql
from feature_platform.core.contract.feature_set import Aggregation, Column, Comparison, Contract
from feature_platform.core.contract.source import SourceColumn, SourceContract

_COMPARISONS: Mapping[str, str] = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "ne": "<>"}

_BEYOND_FLOAT32: Final = "3.4028235677973366e38"
"""The least double that has no nearest float of 32 bits: half a step above the greatest of these."""


def compile_features(contract: Contract, *, sources: Sequence[SourceContract], as_of: datetime, from_tiles: Collection[str] = ()) -> str:
    """The query whose rows are the feature set as of a moment.

    Shape: one row per primary key with an event in any source, sorted by it; columns and types of ``contract.all_columns``; the event
    timestamp is ``as_of``.

    Args:
        contract: A contract without a SQL transform, already checked against ``sources``.
        sources: The source contract of each of ``contract.parts``, in their order: types and decimals of the events' columns.
        as_of: End of every window, exclusive; the end of a day where tiles are read.
        from_tiles: Sources whose windows are read from tiles of their days instead of their events; the rows are equal.
    """
    keys = identifiers(contract.primary_keys)
    parts = [_Part(part, source, as_of) for part, source in zip(contract.parts, sources, strict=True)]
    columns = {name: value for part in parts for name, value in part.columns().items()}
    selected = [f"{_output(column, contract, columns, as_of)} AS {identifier(column.name)}" for column in contract.all_columns]
    grouped: list[str] = []
    sketches: dict[str, str] = {}
    for part, source in zip(parts, sources, strict=True):
        aggregates, registers = part.queries(from_tiles=source.source in from_tiles)
        grouped.append(aggregates)
        sketches |= registers
    return _joined(",\n  ".join(selected), grouped, sketches, keys=keys)


def explained(message: str) -> str:
    """An engine's message with what to do, where it only says that a number has too many bits: that can be a sum of squares alone."""
    if "overflow" not in message.lower() or "does not fit" in message:
        return message
    return f"{message}. stddev adds the squares of values in 128 bits; take it of smaller values, or give the source column fewer decimals."


def relation_of(part: Contract, *, from_tiles: bool) -> str:
    """The relation that the query of a feature set reads a part's window from."""
    kind = TILES if from_tiles else EVENTS
    return f"{kind}_{part.sources.index(part.source)}" if part.sources else kind


def compile_tile(contract: Contract, *, source: SourceContract, from_tiles: bool = False) -> str:
    """The query for a part's tile: of one day, from ``events`` of that day alone; of several days, from their ``tiles``.

    Shape: one row per primary key that has an event, sorted by it; the keys, then one column for each aggregate whatever its window. Equal
    queries give equal tiles, so windows and feature sets that need the same aggregates of a day share its tiles.
    """
    part = _Part(contract, source, datetime.max.replace(tzinfo=UTC))  # any moment: no value of a tile depends on it
    part.columns()
    return part.tile(merges=from_tiles)


def _joined(selected: str, grouped: Sequence[str], sketches: Mapping[str, str], *, keys: str) -> str:
    """The query that joins the groupings by key, with each key of any of them once, and adds the sketches' estimates or registers."""
    rows = [f"(\n  {query}\n  GROUP BY {keys}\n) AS aggregates{place or ''}" for place, query in enumerate(grouped)]
    joins = "".join(f"\nFULL JOIN {query} USING ({keys})" for query in rows[1:])
    joins += "".join(f"\nLEFT JOIN (\n{query}\n) AS {alias} USING ({keys})" for alias, query in sketches.items())
    return f"SELECT\n  {selected}\nFROM {rows[0]}{joins}\nORDER BY {keys}"


def _output(column: Column, contract: Contract, computed: Mapping[str, str], as_of: datetime) -> str:
    if column.name == contract.timestamp_field:
        return moment_literal(as_of)
    if column.expression is not None:
        return _derived(column, column.expression, computed)
    return computed.get(column.name, identifier(column.name))


def _derived(column: Column, expression: str, computed: Mapping[str, str]) -> str:
    value = expression_sql(expression, computed)
    if column.type == "float32":  # engines differ in what a cast of more than it can hold does
        return f"CASE WHEN abs({value}) < {_BEYOND_FLOAT32} THEN {_real(value, column)} END"
    if column.type not in INTEGER_RANGES:
        return value
    low, high = INTEGER_RANGES[column.type]
    return _whole(f"floor({value})", column, limits=(max(low, -(2**53)), min(high, 2**53)))  # beyond 2^53 doubles skip whole numbers


class _Part:
    """Collects the aggregates that the columns of one source need, each once, and the expressions over them."""

    def __init__(self, contract: Contract, source: SourceContract, as_of: datetime) -> None:
        self._contract, self._source, self._as_of = contract, source, as_of
        self._columns = {column.name: column for column in source.columns}
        self._time = identifier(source.event_time)
        self._keys = identifiers(contract.primary_keys)
        self._mark = f"{place}_" if contract.sources and (place := contract.sources.index(contract.source)) else ""
        self._aggregates: dict[Aggregate, str] = {}
        self._sketches: dict[Sketch, str] = {}

    def columns(self) -> dict[str, str]:
        """Column → the SQL of its value."""
        return {column.name: self._feature(column, column.aggregation) for column in self._contract.columns if column.aggregation}

    def queries(self, *, from_tiles: bool) -> tuple[str, dict[str, str]]:
        """The SELECT of the collected aggregates, without its GROUP BY; and alias → query of each sketch."""
        relation = relation_of(self._contract, from_tiles=from_tiles)
        names, moment = (tile_names([*self._aggregates, *self._sketches]), DAY) if from_tiles else (None, self._source.event_time)
        rows = Rows(relation, moment, self._as_of, self._contract.window_days, names)
        # One scan with a FILTER for each aggregate, not one scan for each window: each event is read once (docs/performance.md).
        # A sketch needs a grouping of its own (by key and register), so it is a subquery and joined.
        aggregates = [f"{rows.aggregate(item)} AS {alias}" for item, alias in self._aggregates.items()]
        grouped = f"SELECT {', '.join([self._keys, *aggregates])}\n  FROM {rows.relation}"
        return grouped, {alias: estimated(rows.registers(item), keys=item.keys) for item, alias in self._sketches.items()}

    def tile(self, *, merges: bool) -> str:
        """The query for a tile's rows, with a column for each aggregate and sketch."""
        names = tile_names([*self._aggregates, *self._sketches])
        items: list[Aggregate | Sketch] = [*self._aggregates, *self._sketches]
        queries = {names[item.kept()]: item.merged(names[item.kept()]) if merges else item.kept() for item in items}
        sketches = {name: queries.pop(name) for name in sorted({names[item.kept()] for item in self._sketches})}
        kept = [f"{query} AS {name}" for name, query in sorted(queries.items())]
        grouped = f"SELECT {', '.join([self._keys, *kept])}\n  FROM {TILES if merges else EVENTS}"
        # Columns are named, because engines differ in the columns that `*` gives after a join by USING.
        selected = [self._keys, *sorted(queries), *(f"{name}.{PACKED} AS {name}" for name in sketches)]
        return _joined(", ".join(selected), [grouped], sketches, keys=self._keys)

    def _feature(self, column: Column, aggregation: Aggregation) -> str:
        if aggregation.function == "count":
            # A key that only another source has gets no row from this source, so its count would be null.
            return _counted(f"coalesce({self._aggregate('count', '*', aggregation)}, 0)", column)
        if aggregation.function in {"age_of_first", "age_of_last"}:
            return self._age(column, self._aggregate("min" if aggregation.function == "age_of_first" else "max", self._time, aggregation))
        taken = self._columns[str(aggregation.column)]
        if aggregation.function == "approx_distinct":
            return _counted(self._sketch(taken, aggregation), column)
        if aggregation.function in {"min", "max", "first", "last"}:
            return self._aggregate(aggregation.function, identifier(taken.name), aggregation)
        return self._moments(column, taken, aggregation)

    def _age(self, column: Column, moment: str) -> str:
        age_us = f"(epoch_us({moment_literal(self._as_of)}) - epoch_us({moment}))"
        return f"{age_us} / 1e6" if column.type == "float64" else _counted(f"{age_us} // 1000000", column)

    def _moments(self, column: Column, taken: SourceColumn, aggregation: Aggregation) -> str:
        value, decimals = identifier(taken.name), 0
        if taken.type.startswith("float"):
            # avg() over doubles on several threads changes its last bits from run to run; whole numbers add up alike in any order, and are
            # 10 to 20% faster (docs/performance.md).
            decimals, value = taken.decimals, units(value, decimals=taken.decimals)
        total = self._aggregate("sum", value, aggregation)
        if aggregation.function == "sum":
            return _scaled_sum(total, column, decimals)
        count = self._aggregate("count", identifier(taken.name) if taken.nullable else "*", aggregation)
        if aggregation.function == "mean":
            return _real(f"{nearest_double(total)} / (CAST(nullif({count}, 0) AS DOUBLE) * 1e{decimals})", column)
        squares = self._aggregate("squares", value, aggregation)
        return _real(_stddev(count, total, squares, decimals), column)

    def _sketch(self, taken: SourceColumn, aggregation: Aggregation) -> str:
        sketch = Sketch(taken, tuple(self._contract.primary_keys), self._rule(aggregation), aggregation.window_days)
        alias = self._sketches.setdefault(sketch, f'"#d{self._mark}{len(self._sketches)}"')
        return f"coalesce({alias}.{ESTIMATE}, 0)"

    def _aggregate(self, kind: Kind, taken: str, aggregation: Aggregation) -> str:
        """The name of an aggregate over the aggregation's window and rules, computed once however often it is used."""
        wanted = Aggregate(kind, taken, self._rule(aggregation), aggregation.window_days)
        return self._aggregates.setdefault(wanted, f'"#a{self._mark}{len(self._aggregates)}"')

    def _rule(self, aggregation: Aggregation) -> str:
        return " AND ".join(_rule(identifier(name), rule, self._columns[name].type) for name, rule in aggregation.where.items())


def _rule(name: str, rule: object, kind: str) -> str:
    """The condition of a rule on an event column; a null never meets it."""
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
    return _real(f"{nearest_double(total)} / 1e{decimals}", column)


def _stddev(count: str, total: str, squares: str, decimals: int) -> str:
    """Sample standard deviation from exact sums: with m = s div n, Q = Σ(x-m)² and r = Σ(x-m), var = (Q - r²/n) / (n-1)."""
    # Around the whole mean the numbers stay small; s² - n·m² from doubles would lose every digit where the spread is small beside the mean.
    some = f"nullif({count}, 0)"  # dividing by zero gives null on DuckDB and fails elsewhere, even in a CASE branch that is not taken
    quotient = f"CAST({total} // {some} AS HUGEINT)"  # 128 bits, as the factor it is multiplied with, on every engine
    around = f"({squares} - {quotient} * (2 * {total} - {count} * {quotient}))"
    rest = f"({total} - {count} * {quotient})"
    numerator = f"greatest({nearest_double(around)} - {nearest_double(f'{rest} * {rest}')} / CAST({some} AS DOUBLE), 0e0)"
    return f"CASE WHEN {count} > 1 THEN sqrt({numerator} / CAST(nullif({count} - 1, 0) AS DOUBLE)) / 1e{decimals} END"


def _counted(expression: str, column: Column) -> str:
    """A count or an age: a BIGINT that no data can overflow, checked only where the column is narrower."""
    return expression if column.type == "int64" else _whole(expression, column)


def _whole(expression: str, column: Column, *, limits: tuple[int, int] | None = None) -> str:
    """An integer; the query fails where the column's type cannot hold it."""
    kind = sql_type(column.type)
    if column.type not in INTEGER_RANGES:
        return f"CAST({expression} AS {kind})"
    low, high = limits or INTEGER_RANGES[column.type]
    start, end = text_literal(f"column {column.name!r}: "), text_literal(f" does not fit {column.type}")
    # error() fails the query with the column and the value; a failed cast would name neither.
    fits = f"{expression} BETWEEN {low} AND {high} OR {expression} IS NULL"
    return f"CASE WHEN {fits} THEN TRY_CAST({expression} AS {kind}) ELSE CAST(error({start} || {expression} || {end}) AS {kind}) END"


def _real(expression: str, column: Column) -> str:
    return f"CAST({expression} AS FLOAT)" if column.type == "float32" else expression
