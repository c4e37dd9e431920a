"""A source contract compiled to the SQL that judges raw rows: it casts each cell and names the first reason to reject a row.

Cells arrive as text (CSV, JSON lines) or typed (Parquet). A cell that has the contract's type is taken as it is, any other one is read from
its text, so that one set of rules holds for all formats:

- integers: digits with an optional sign, also ``12.0``; floats: decimal or scientific; booleans: true, false, t, f, 1, 0;
- timestamps: ISO 8601 date and time; an offset is honoured, none means UTC, a date alone is its midnight, digits after the microsecond
  are cut. Whole numbers are accepted only where the contract gives ``epoch_unit``, because a number does not say its unit;
- dates: ``2026-01-15``; bytes: base64; lists: a JSON array. Binary cells of Parquet are text in UTF-8 where no bytes are expected. An
  absent JSON key and an empty CSV cell are null.

Running the SQL does not belong here (``adapters.compute.duckdb.validation``), nor which of the good rows are kept (``judged_sql``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from feature_platform.core.compute.dialect import moment_literal, outside_calendar, sql_type, text_literal
from feature_platform.core.contract import types
from feature_platform.core.contract.source import SourceColumn, SourceContract

PARSED: Final = "parsed"
"""Every row of the day: ``file`` (position in the manifest), ``row``, ``reason``, ``detail``, ``original``, and ``v0…`` (typed values)."""

LARGEST_UNITS: Final = "9.2e18"
"""Floats are summed as whole multiples of 10^-decimals in 64 bits (``features_sql``); a value that does not fit is rejected here."""

SHOWN_CHARACTERS: Final = 80

# Shapes are checked before values are cast, so that exactly the forms listed above are accepted, whatever a release of DuckDB can cast.
_WHITE: Final = " \t\n\f\r"
"""The characters that ``\\s`` matches in the shapes."""
_INTEGER: Final = r"\s*[+-]?\d+(\.0*)?\s*"
_FLOAT: Final = r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*"
_NON_FINITE: Final = r"(?i)\s*[+-]?(nan|inf|infinity)\s*"
_MOMENT: Final = r"\s*\d{4}-\d{2}-\d{2}([Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]| UTC|[+-]\d{2}(:?\d{2})?)?)?\s*"
_SHAPES: Final = {
    "bool": r"(?i)\s*(true|false|t|f|1|0)\s*",
    "date": r"\s*\d{4}-\d{2}-\d{2}\s*",
    "bytes": r"\s*[A-Za-z0-9+/]*={0,2}\s*",
}
_QUICK_SHAPES: Final = {
    "float32": r"-?\d+(\.\d+)?",
    "float64": r"-?\d+(\.\d+)?",
    "timestamp": r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?Z?",
    "date": r"\d{4}-\d\d-\d\d",
}
"""Shapes of texts that a plain cast reads like the exact rules; each is a part of the longer shape of its type."""

_EPOCH_MICROSECONDS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NAIVE_TYPES: Final = frozenset({"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"})
_DECODED: Final = {"BLOB": "decode({})", "BLOB[]": "CAST(to_json(list_transform({}, lambda bytes: decode(bytes))) AS VARCHAR)"}
"""The text of binary cells, as Parquet files hold it whose writer did not declare it; an error where it is no UTF-8."""
_INTEGER_TYPES: Final = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"})


@dataclass(frozen=True, slots=True)
class RawCells:
    """The column of the relation that holds a contract column's cells: a name of ours, never one of the file's, and its SQL type."""

    name: str
    sql_type: str = "VARCHAR"


@dataclass(frozen=True, slots=True)
class _Cell:
    """Expressions over one raw cell: its value, and a condition for each way in which it can be wrong."""

    value: str
    wrong: str = "false"
    non_finite: str = "false"
    out_of_range: str = "false"


@dataclass(frozen=True, slots=True)
class _Quick:
    """A cheap reading of a cell, and the condition under which the exact rules give the same value and no fault.

    Most cells are plain; a regular expression, a trim and a cast for each way to be wrong would cost four times as much.
    """

    value: str
    holds: str


def create_parsed(source: SourceContract) -> str:
    """The table that every raw row of a day is inserted into."""
    values = ", ".join(f"v{place} {sql_type(column.type)}" for place, column in enumerate(source.columns))
    return f"CREATE TABLE {PARSED} (file INTEGER, row BIGINT, reason VARCHAR, detail VARCHAR, original VARCHAR, {values})"


def insert_parsed(source: SourceContract, *, relation: str, file: int, original: str, cells: Sequence[RawCells], day: datetime) -> str:
    """Judge the rows of a raw relation and insert them all.

    Args:
        relation: The relation that is read; it has ``row`` (number), ``fault`` (why the row is unreadable, or null) and the cells.
        file: Position of the raw object in the manifest.
        original: Expression over the relation for a row's text; it is evaluated for rejected rows only.
        cells: The relation's column for each column of the contract, in its order.
        day: Start of the partition, UTC.
    """
    faults = list(_tests(source, cells, day))
    reason = "CASE " + " ".join(f"WHEN {condition} THEN {text_literal(code)}" for condition, code, _ in faults) + " END"
    detail = "CASE " + " ".join(f"WHEN {condition} THEN {text}" for condition, _, text in faults) + " END"
    values = ", ".join(f"v{place}" for place in range(len(cells)))
    rejected = "CASE WHEN reason IS NOT NULL THEN {} END"
    return (
        f"INSERT INTO {PARSED}\nSELECT {file}, row, reason, {rejected.format(detail)}, {rejected.format(original)}, {values}\n"
        f"FROM (SELECT *, CASE WHEN NOT ({_is_clean(source, day)} AND fault IS NULL) THEN {reason} END AS reason\n"
        f"FROM ({_valued(source, relation, cells)}))"
    )


def insert_clean(source: SourceContract, *, relation: str, file: int, cells: Sequence[RawCells], day: datetime) -> str:
    """Insert the rows of a raw relation that certainly have no fault; the others, some of which may be good, are then judged as text.

    Args: See :func:`insert_parsed`; the relation needs no ``fault``.
    """
    values = ", ".join(f"v{place}" for place in range(len(cells)))
    return (
        f"INSERT INTO {PARSED}\nSELECT {file}, row, NULL, NULL, NULL, {values} FROM ({_valued(source, relation, cells)}) "
        f"WHERE {_is_clean(source, day)}"
    )


def select_unclean(source: SourceContract, *, relation: str, cells: Sequence[RawCells], day: datetime) -> str:
    """``row`` of the rows that :func:`insert_clean` does not insert."""
    return f"SELECT row FROM ({_valued(source, relation, cells)}) WHERE NOT {_is_clean(source, day)}"


def _valued(source: SourceContract, relation: str, cells: Sequence[RawCells]) -> str:
    """The relation with, for each column, whether its quick reading holds (``q``) and its value (``v``)."""
    quick = [_quick(column, cell, k=f"k{place}") for place, (column, cell) in enumerate(zip(source.columns, cells, strict=True))]
    read = ", ".join(f"{item.value} AS k{place}" for place, item in enumerate(quick))
    held = ", ".join(f"coalesce({item.holds}, false) AS q{place}" for place, item in enumerate(quick))
    exact = [_cell(column, cell).value for column, cell in zip(source.columns, cells, strict=True)]
    values = ", ".join(
        f"k{place} AS v{place}"
        if quick[place].value == exact[place]
        else f"CASE WHEN q{place} THEN k{place} WHEN {cell.name} IS NOT NULL THEN {exact[place]} END AS v{place}"
        for place, cell in enumerate(cells)
    )
    empty = ", ".join(f"{cell.name} IS NULL AS e{place}" for place, cell in enumerate(cells))
    return f"SELECT *, {values} FROM (SELECT *, {held}, {empty} FROM (SELECT *, {read} FROM {relation}))"


def _is_clean(source: SourceContract, day: datetime) -> str:
    """The condition that a row certainly has no fault, by its quick readings."""
    conditions = []
    for place, column in enumerate(source.columns):
        is_required = not column.nullable or column.name == source.event_time
        conditions.append(f"q{place}" if is_required else f"(q{place} OR e{place})")
        if column.name == source.event_time:
            conditions.append(f"v{place} >= {moment_literal(day)} AND v{place} < {moment_literal(day + timedelta(days=1))}")
    return f"({' AND '.join(conditions)})"


def _tests(source: SourceContract, raw: Sequence[RawCells], day: datetime) -> Iterator[tuple[str, str, str]]:
    """Condition, reason code and detail, in order of precedence.

    A row has one reason. A reason that makes the later ones meaningless comes first: an unreadable row has no cells, a cell of the wrong
    type has no value.
    """
    columns = list(enumerate(source.columns))
    cells = [_cell(column, raw[place]) for place, column in columns]
    end = day + timedelta(days=1)
    time = f"v{next(place for place, column in columns if column.name == source.event_time)}"
    moment = f"strftime({time}, '%Y-%m-%dT%H:%M:%S.%fZ')"
    yield "fault IS NOT NULL", "unreadable_row", "fault"
    for place, column in columns:
        yield cells[place].wrong, "wrong_type", _detail(column, raw[place], f"expected {column.type}{_unit(column)}")
    for place, column in columns:
        if not column.nullable or column.name == source.event_time:
            yield f"e{place}", "null_value", text_literal(f"column {column.name!r}: found no value, expected one")
    for place, column in columns:
        yield cells[place].non_finite, "non_finite", _detail(column, raw[place], "expected a finite number")
    for place, column in columns:
        yield cells[place].out_of_range, "out_of_range", _detail(column, raw[place], _range(column))
    yield f"{time} < {moment_literal(day)}", "before_partition", f"{moment} || {text_literal(f' lies before {day:%Y-%m-%d}')}"
    yield f"{time} >= {moment_literal(end)}", "after_partition", f"{moment} || {text_literal(f' lies after {day:%Y-%m-%d}')}"


def _detail(column: SourceColumn, raw: RawCells, expected: str) -> str:
    start, end = text_literal(f"column {column.name!r}: found "), text_literal(f", {expected}")
    return f"{start} || left({_as_text(raw)}, {SHOWN_CHARACTERS}) || {end}"


def _unit(column: SourceColumn) -> str:
    return f" (a whole number of {column.epoch_unit} since 1970, or ISO 8601)" if column.epoch_unit else ""


def _range(column: SourceColumn) -> str:
    if column.type.startswith("float"):
        return f"expected at most ±{LARGEST_UNITS} multiples of 1e-{column.decimals} (decimals) that fit {column.type}"
    return f"expected a value that fits {column.type}"


def _as_text(raw: RawCells) -> str:
    if raw.sql_type == "VARCHAR":
        return raw.name
    # A list becomes JSON, the only text form that the rules for lists read: DuckDB's own form has NULL where JSON has null.
    return f"CAST(to_json({raw.name}) AS VARCHAR)" if raw.sql_type.endswith("]") else f"CAST({raw.name} AS VARCHAR)"


def _quick(column: SourceColumn, raw: RawCells, *, k: str) -> _Quick:
    """The quick reading of a column's cells; ``k`` is the name under which its condition finds the value."""
    x, kind = raw.name, column.type
    if raw.sql_type == "VARCHAR" and kind == "string":
        return _Quick(value=x, holds=f"{x} IS NOT NULL")
    if raw.sql_type == "VARCHAR" and kind in _QUICK_SHAPES:
        shape = f"regexp_full_match({x}, {text_literal(_QUICK_SHAPES[kind])})"
        return _Quick(value=f"TRY_CAST({x} AS {sql_type(kind)})", holds=f"{shape} AND NOT ({_beyond(k, column)})")
    if raw.sql_type == "VARCHAR" and kind in {"int32", "int64"}:
        return _Quick(value=f"TRY_CAST({x} AS {sql_type(kind)})", holds=f"CAST({k} AS VARCHAR) = {x}")
    cell = _cell(column, raw)
    faults = [f"coalesce({fault}, false)" for fault in (cell.wrong, cell.non_finite, cell.out_of_range) if fault != "false"]
    return _Quick(value=cell.value, holds=" AND ".join([f"{x} IS NOT NULL", *(f"NOT {fault}" for fault in faults)]))


def _beyond(value: str, column: SourceColumn) -> str:
    """Whether a value lies beyond the range that sums and calendars can carry; null for null."""
    if column.type in {"float32", "float64"}:
        return f"NOT isfinite({value}) OR abs(CAST({value} AS DOUBLE)) * 1e{column.decimals} > {LARGEST_UNITS}"
    return outside_calendar(value, kind=column.type)


def _cell(column: SourceColumn, raw: RawCells) -> _Cell:
    x = raw.name
    if raw.sql_type == "VARCHAR":
        cell = _text_cell(x, column.type, column)
    elif raw.sql_type == sql_type(column.type):
        cell = _Cell(value=x, non_finite=_any_non_finite(x, column.type))
    elif column.type == "timestamp" and raw.sql_type in _NAIVE_TYPES:
        cell = _Cell(value=f"timezone('UTC', CAST({x} AS TIMESTAMP))")
    elif (column.type, raw.sql_type) == ("float64", "FLOAT"):
        cell = _Cell(value=f"CAST({x} AS DOUBLE)", non_finite=f"NOT isfinite({x})")
    elif column.type in {"int32", "int64"} and raw.sql_type in _INTEGER_TYPES:
        cast = f"TRY_CAST({x} AS {sql_type(column.type)})"
        cell = _Cell(value=cast, out_of_range=f"{x} IS NOT NULL AND {cast} IS NULL")
    elif raw.sql_type in _DECODED:
        text = f"TRY({_DECODED[raw.sql_type].format(x)})"
        cell = _text_cell(text, column.type, column)
        cell = replace(cell, wrong=f"({cell.wrong}) OR ({x} IS NOT NULL AND {text} IS NULL)")
    else:
        cell = _text_cell(_as_text(raw), column.type, column)
    return _bounded(cell, column)


def _bounded(cell: _Cell, column: SourceColumn) -> _Cell:
    """Reject also values that the type can hold, but sums or calendars cannot."""
    if (beyond := _beyond(cell.value, column)) == "false":
        return cell
    beyond = f"NOT coalesce({cell.non_finite}, false) AND ({beyond})"
    return replace(cell, out_of_range=f"({cell.out_of_range}) OR ({beyond})")


def _text_cell(x: str, kind: str, column: SourceColumn) -> _Cell:
    element = types.element_type(kind)
    if element:
        return _list_cell(x, element, column)
    if kind in {"int32", "int64"}:
        # The digits before the point, as text: through a double an integer above 2^53 would change.
        fits = f"TRY_CAST(split_part({_trimmed(x)}, '.', 1) AS {sql_type(kind)})"
        shaped = f"regexp_full_match({x}, {text_literal(_INTEGER)})"
        return _Cell(
            value=f"CASE WHEN {shaped} THEN {fits} END",
            wrong=f"{x} IS NOT NULL AND NOT {shaped}",
            out_of_range=f"{shaped} AND {fits} IS NULL",
        )
    if kind in {"float32", "float64"}:
        value = f"TRY_CAST({_trimmed(x)} AS {sql_type(kind)})"
        special = f"regexp_full_match({x}, {text_literal(_NON_FINITE)})"
        shaped = f"regexp_full_match({x}, {text_literal(_FLOAT)})"
        return _Cell(
            value=f"CASE WHEN {shaped} THEN {value} END",
            wrong=f"{x} IS NOT NULL AND NOT {shaped} AND NOT {special}",
            non_finite=special,
            out_of_range=f"{shaped} AND ({value} IS NULL OR isinf({value}))",
        )
    if kind == "timestamp":
        return _moment_cell(x, column)
    if kind == "string":
        return _Cell(value=x)
    return _shaped(
        x, _SHAPES[kind], f"TRY(from_base64({_trimmed(x)}))" if kind == "bytes" else f"TRY_CAST({_trimmed(x)} AS {sql_type(kind)})"
    )


def _trimmed(x: str) -> str:
    """A cell without the white space that the shapes allow around a value; DuckDB's own trim removes only spaces."""
    return f"trim({x}, {text_literal(_WHITE)})"


def _moment_cell(x: str, column: SourceColumn) -> _Cell:
    iso = f"TRY_CAST(upper({_trimmed(x)}) AS {sql_type('timestamp')})"  # RFC 3339 also writes t and z, which DuckDB does not read
    shaped = f"regexp_full_match({x}, {text_literal(_MOMENT)})"
    if column.epoch_unit is None:
        return _shaped(x, _MOMENT, iso)
    whole = f"regexp_full_match({x}, {text_literal(_INTEGER)})"
    count = f"TRY_CAST(split_part({_trimmed(x)}, '.', 1) AS BIGINT)"
    epoch = f"TRY(make_timestamptz({count} * {_EPOCH_MICROSECONDS[column.epoch_unit]}))"
    return _Cell(
        value=f"CASE WHEN {whole} THEN {epoch} WHEN {shaped} THEN {iso} END",
        wrong=f"{x} IS NOT NULL AND NOT {whole} AND (NOT {shaped} OR {iso} IS NULL)",
        out_of_range=f"{whole} AND {epoch} IS NULL",
    )


def _shaped(x: str, shape: str, value: str) -> _Cell:
    """A cell of a shape whose value is null where it is wrong all the same."""
    shaped = f"regexp_full_match({x}, {text_literal(shape)})"
    return _Cell(value=f"CASE WHEN {shaped} THEN {value} END", wrong=f"{x} IS NOT NULL AND (NOT {shaped} OR {value} IS NULL)")


def _list_cell(x: str, element: str, column: SourceColumn) -> _Cell:
    items = f"TRY_CAST(TRY_CAST({x} AS JSON) AS VARCHAR[])"
    cell = _text_cell("item", element, column)

    def any_of(condition: str) -> str:
        return f"len(list_filter({items}, lambda item: coalesce({condition}, false))) > 0"

    return _Cell(
        value=f"list_transform({items}, lambda item: {cell.value})",
        wrong=f"{x} IS NOT NULL AND ({items} IS NULL OR {any_of(cell.wrong)})",
        non_finite="false" if cell.non_finite == "false" else any_of(cell.non_finite),
        out_of_range="false" if cell.out_of_range == "false" else any_of(cell.out_of_range),
    )


def _any_non_finite(x: str, kind: str) -> str:
    if kind in {"float32", "float64"}:
        return f"NOT isfinite({x})"
    if types.element_type(kind) in {"float32", "float64"}:
        return f"len(list_filter({x}, lambda item: NOT isfinite(item))) > 0"
    return "false"
