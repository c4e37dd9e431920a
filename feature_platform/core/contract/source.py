"""A raw source's contract: columns, types, nullability, event time, deduplication, and how many rejects a day may have.

Applying it to rows does not belong here (``core.compute.validation_sql`` and the compute engine).
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, PrivateAttr

from feature_platform.core.contract import documents, types
from feature_platform.core.contract.feature_set import (
    Column,
    ColumnName,
    Comparison,
    Contract,
    Document,
    Duration,
    Limit,
    Ratio,
    SafeName,
    Severity,
    TypeName,
    read_document,
)
from feature_platform.core.contract.set_faults import name_faults, named

REASONS: Final = (
    "unreadable_row",
    "wrong_type",
    "null_value",
    "non_finite",
    "out_of_range",
    "before_partition",
    "after_partition",
    "duplicate",
)
"""Reason codes of quarantined rows, in order of precedence: a row carries the first that applies."""

_VALUE_FORMS: Final = MappingProxyType(
    {
        "bool": "true or false",
        "int32": "a whole number that fits",
        "int64": "a whole number that fits",
        "float32": "a number",
        "float64": "a number",
        "string": "a string",
        "date": "a date such as '2026-01-15'",
        "timestamp": "a moment with its offset, such as '2026-01-15T00:00:00Z'",
    }
)


_GREATEST: Final = MappingProxyType({"float32": 3.4028234e38, "float64": 1.7976931348623157e308})
CALENDAR: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(\Z|[T ][0-9]{2}:[0-9]{2})")
"""How dates and moments begin; Python also reads weeks and dates without hyphens, which SQL does not."""


def _day(text: str) -> str:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError(f"found {text!r}, expected a day as YYYY-MM-DD")
    date.fromisoformat(text)
    return text


class SourceColumn(Document):
    """One column of a raw source.

    ``decimals`` is the number of decimal places that count in a floating column: sums are taken over whole multiples of 10^-decimals,
    which makes them exact and independent of order. Values beyond ±9.2e18 of these multiples are out of range. With ``epoch_unit`` a
    timestamp may also be a whole number of these units since 1970; without it a number is refused, because its unit is unknown.
    """

    name: ColumnName
    type: TypeName
    description: str = ""
    nullable: bool = True
    decimals: Annotated[int, Field(ge=0, le=12)] = 6
    epoch_unit: Literal["s", "ms", "us"] | None = None


class CompleteWhen(Document):
    """When a day's delivery is complete; where both are given, both must hold.

    An object named ``marker`` is no older than the data; no object was written for the duration ``quiet``.
    """

    marker: Annotated[str, Field(pattern=r"\A[^/]+\z")] | None = None
    quiet: Duration | None = None


class SourceChecks(Document):
    """Checks of each day of a source, besides the rules for its rows; one that blocks keeps the day's versions from latest if it fails.

    ``max_rejected_ratio`` is meant to be below the contract's own, above which the day is refused. ``max_delay`` is the longest time from
    the end of the day until its last raw object was written. ``every_column`` requires that each column has a value in some row.
    ``max_deviation`` (in spreads) compares rows and rejected ratio with the same weekday of the last 28 days.
    """

    min_rows: Annotated[int, Field(ge=1)] = 1
    max_rejected_ratio: Ratio = 1.0
    max_delay: Duration | None = None
    known_columns_only: bool = False
    every_column: bool = True
    max_deviation: Limit = None
    severity: dict[Literal["rows", "rejected_ratio", "freshness", "columns", "volume"], Severity] = Field(default_factory=dict)


class SourceContract(Document):
    """What upstream promises about one raw source.

    ``event_time`` names the timestamp column that decides an event's day; a timestamp without a zone is taken as UTC.
    ``dedup_keys`` name the columns that identify an event; without them whole equal rows are duplicates.
    ``first_day`` is the first day that can have data, where that is not the environment's first partition; earlier days are not missing.
    ``max_rejected_ratio`` is the largest share of a day's rows that may be quarantined before the day is refused.
    """

    source: SafeName
    columns: Annotated[list[SourceColumn], Field(min_length=1)]
    event_time: ColumnName
    version: Annotated[str, Field(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,62}\z")] = "v1"
    owner: str = ""
    description: str = ""
    dedup_keys: list[ColumnName] = Field(default_factory=list)
    max_rejected_ratio: Ratio = 0.5
    checks: SourceChecks | None = None
    complete_when: CompleteWhen | None = None
    first_day: Annotated[str, AfterValidator(_day)] | None = None

    _document: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def document(self) -> Mapping[str, Any]:
        """The document as its author wrote it."""
        return MappingProxyType(self._document)

    @property
    def schema_hash(self) -> str:
        return documents.schema_hash(self._document)


def load_source_contract(text: str | bytes, *, file: str, expected_name: str | None = None) -> SourceContract:
    """Read a source contract.

    Raises:
        ContractError: As :func:`read_document`.
    """
    document = documents.parse_object(text, file=file)
    faults = _semantic_faults(document)
    contract = read_document(SourceContract, document, file=file, key="source", expected_name=expected_name, faults=faults)
    contract._document = document
    return contract


def _semantic_faults(document: Mapping[str, Any]) -> list[str]:
    columns = named(document.get("columns"))
    kinds = {column["name"]: column.get("type") for column in columns}
    faults = name_faults([column["name"] for column in columns])
    time = document.get("event_time")
    if isinstance(time, str) and kinds.get(time) != "timestamp":
        found = f"type {kinds[time]!r}" if time in kinds else "no such column"
        faults.append(f"event_time: {time!r} has {found}; expected a column of type 'timestamp'")
    faults += [
        f"columns ({column['name']}): epoch_unit belongs to a timestamp; found type {column.get('type')!r}"
        for column in columns
        if column.get("epoch_unit") is not None and column.get("type") != "timestamp"
    ]
    keys = document.get("dedup_keys")
    faults += [
        f"dedup_keys: {key!r} is not a column; expected one of {', '.join(kinds)}"
        for key in (keys if isinstance(keys, list) else [])
        if isinstance(key, str) and key not in kinds
    ]
    return faults


def cross_faults(contract: Contract, source: SourceContract) -> list[str]:
    """Faults between a part of a feature set and its source: columns that do not exist, functions and values that do not fit a type."""
    if contract.sql is not None:
        return []
    columns = {column.name: column for column in source.columns}
    faults = _key_faults(contract, source, columns)
    for column in contract.columns:
        if column.aggregation is None:
            continue
        where = f"columns ({column.name}).aggregation"
        read = [column.aggregation.column] if column.aggregation.column else []
        faults += [
            f"{where}: {name!r} is not a column of source {source.source!r}; expected one of {', '.join(columns)}"
            for name in (*read, *column.aggregation.where)
            if name not in columns
        ]
        taken = columns.get(column.aggregation.column or "")
        if taken is not None:
            faults += _function_faults(where, column, taken)
        for name, rule in column.aggregation.where.items():
            if name in columns:
                faults += _rule_faults(f"{where}.where ({name})", rule, columns[name].type)
    return faults


def _key_faults(contract: Contract, source: SourceContract, columns: Mapping[str, SourceColumn]) -> list[str]:
    kinds = {column.name: column.type for column in contract.columns}
    faults = []
    for key in contract.primary_keys:
        if key not in columns:
            faults.append(f"primary_keys: {key!r} is not a column of source {source.source!r}; expected one of {', '.join(columns)}")
            continue
        if columns[key].type != kinds[key]:
            faults.append(
                f"columns ({key}): type {kinds[key]!r} is not that of the source's column; expected {columns[key].type!r}, "
                "because a key is taken as it is"
            )
        if columns[key].nullable:
            faults.append(f"primary_keys: {key!r} may be null in source {source.source!r}; expected 'nullable': false there")
    return faults


def _function_faults(where: str, column: Column, taken: SourceColumn) -> list[str]:
    assert column.aggregation is not None
    function = column.aggregation.function
    faults = []
    if function in {"sum", "mean", "stddev"} and taken.type not in types.NUMERIC:
        faults.append(f"{where}: {function} needs a numeric column; {taken.name!r} has type {taken.type!r}")
    if function in {"min", "max", "first", "last"} and taken.type != column.type:
        faults.append(f"{where}: yields type {taken.type!r}; expected the column's type {column.type!r}")
    if function in {"min", "max", "approx_distinct"} and types.element_type(taken.type):
        faults.append(f"{where}: {function} needs a scalar column; {taken.name!r} has type {taken.type!r}")
    return faults


def _rule_faults(where: str, rule: object, kind: str) -> list[str]:
    """A rule's values must be of the column's type: a comparison across types would silently never, or always, hold."""
    values = rule.model_dump(exclude_none=True).values() if isinstance(rule, Comparison) else rule if isinstance(rule, list) else [rule]
    return [
        f"{where}: found {value!r}, expected {_VALUE_FORMS.get(kind, 'no rule')} ({kind})" for value in values if not _fits(value, kind)
    ]


def _fits(value: object, kind: str) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if kind in {"int32", "int64"}:
        greatest = 2 ** (31 if kind == "int32" else 63) - 1
        return isinstance(value, int) and not isinstance(value, bool) and -greatest - 1 <= value <= greatest
    if kind in _GREATEST:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _GREATEST[kind]
    return isinstance(value, str) and kind in {"string", "date", "timestamp"} and _is_moment(value, kind)


def _is_moment(text: str, kind: str) -> bool:
    """Whether a text is a value of a string, date or timestamp column; every text is a string."""
    if kind == "string":
        return True
    if not CALENDAR.match(text):
        return False
    try:
        if kind == "date":
            return bool(date.fromisoformat(text))
        moment = datetime.fromisoformat(text)
        return moment.tzinfo is not None and bool(moment.astimezone(UTC))
    except (ValueError, OverflowError):
        return False
