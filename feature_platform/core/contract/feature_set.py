"""A feature set's contract: keys, columns, types, how each column is computed, checks, and the hash that names it.

Reading files does not belong here (``adapters.contract_files``), nor compiling aggregations to SQL (``core.compute.features_sql``).
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from feature_platform.core.contract import documents, types
from feature_platform.core.contract.expressions import expression_faults
from feature_platform.core.layout import FILES
from feature_platform.errors import ContractError

Function = Literal["count", "sum", "mean", "min", "max", "stddev", "first", "last", "age_of_first", "age_of_last", "approx_distinct"]
Scalar = bool | int | float | str
RESERVED_NAMES: Final = frozenset({"latest", "events", "as_of", *FILES})

_WITHOUT_COLUMN: Final = frozenset({"count", "age_of_first", "age_of_last"})
_RESULT_TYPES: Final = MappingProxyType(
    {
        "count": frozenset({"int32", "int64"}),
        "age_of_first": frozenset({"int32", "int64", "float64"}),
        "age_of_last": frozenset({"int32", "int64", "float64"}),
        "approx_distinct": frozenset({"int32", "int64"}),
        "mean": frozenset({"float32", "float64"}),
        "stddev": frozenset({"float32", "float64"}),
        "sum": types.NUMERIC,
    }
)


def _known_type(name: str) -> str:
    if not types.is_known(name):
        raise ValueError(f"found type {name!r}, expected one of {', '.join(types.SCALARS)} or list<one of these>")
    return name


def _duration(text: str) -> str:
    documents.duration(text)
    return text


def _days(text: str) -> str:
    documents.days(text)
    return text


SafeName = Annotated[str, Field(pattern=rf"\A{documents.SAFE_NAME}\z")]
ColumnName = Annotated[str, Field(pattern=rf"\A{documents.COLUMN_NAME}\z")]
TypeName = Annotated[str, AfterValidator(_known_type)]
Duration = Annotated[str, AfterValidator(_duration)]
Window = Annotated[str, AfterValidator(_days)]
Ratio = Annotated[float, Field(ge=0, le=1)]


class Document(BaseModel):
    """A frozen part of a contract that refuses unknown keys and silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Comparison(Document):
    """Bounds that an event's column must lie within; each given bound must hold, and null never does."""

    gt: Scalar | None = None
    ge: Scalar | None = None
    lt: Scalar | None = None
    le: Scalar | None = None
    ne: Scalar | None = None


class Aggregation(Document):
    """How one feature column follows from the events of a window ending at the as-of moment (exclusive)."""

    function: Function
    window: Window
    column: ColumnName | None = None
    source: SafeName = ""
    """Whose events, where the contract has several ``sources``."""
    where: dict[ColumnName, Scalar | list[Scalar] | Comparison] = Field(default_factory=dict)
    """Event column → the value it must equal, the values it must be among, or bounds. All must hold."""

    @property
    def window_days(self) -> int:
        return documents.days(self.window)


class ColumnChecks(Document):
    """Bounds of a column's values, inclusive; nulls are bounded by ``checks.max_null_ratio``.

    ``min_distinct_ratio`` is the least share of different values among those that are not null.
    """

    min: int | float | None = None
    max: int | float | None = None
    min_distinct_ratio: Ratio | None = None


class Column(Document):
    """One column of the feature set, in contract order."""

    name: ColumnName
    type: TypeName
    description: str = ""
    aggregation: Aggregation | None = None
    expression: str | None = None
    """How a derived column follows from aggregated ones of the same row (``core.contract.expressions``)."""
    checks: ColumnChecks = ColumnChecks()

    @property
    def arrow_type(self) -> pa.DataType:
        return types.arrow_type(self.type)


Severity = Literal["warn", "block"]
Limit = Annotated[float, Field(gt=0)] | None


class Checks(Document):
    """Checks of a version; each is evaluated before it may become latest, and keeps it out unless ``severity`` says ``warn``.

    ``max_drift_psi`` and ``max_mean_shift`` (in standard deviations of the reference) compare with the version before; ``max_history_psi``
    and ``max_deviation`` (in spreads) with the same weekday of the last 28 days.
    """

    min_rows: Annotated[int, Field(ge=0)] = 1
    max_null_ratio: dict[ColumnName, Ratio] = Field(default_factory=dict)
    max_drift_psi: Limit = None
    max_mean_shift: Limit = None
    max_history_psi: Limit = None
    max_deviation: Limit = None
    severity: dict[Literal["row_count", "null_ratio", "value_bounds", "uniqueness", "drift", "history", "source_day"], Severity] = Field(
        default_factory=dict
    )


class Contract(Document):
    """A feature set's contract. ``schema_hash`` is the hash of the document as it was written, not this model's defaults."""

    feature_set: SafeName
    version: Annotated[str, Field(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,62}\z")]
    columns: Annotated[list[Column], Field(min_length=1)]
    primary_keys: Annotated[list[ColumnName], Field(min_length=1)]
    owner: str = ""
    description: str = ""
    entity: SafeName = ""
    timestamp_field: ColumnName = "event_timestamp"
    ttl: Duration = "7d"
    source: SafeName = "events"
    sources: list[SafeName] = Field(default_factory=list)
    """In place of ``source``: the sources of a set that reads several."""
    window: Window = "1d"
    """How many days of events a SQL transform reads; aggregations carry their own windows."""
    checks: Checks = Checks()
    missing_days: Literal["refuse", "warn", "allow"] = "warn"
    """What becomes of a version whose window lacks a day: it is not built, is built and named by a check that fails, or is built."""

    _document: dict[str, Any] = PrivateAttr(default_factory=dict)
    _sql: str | None = PrivateAttr(default=None)

    @property
    def document(self) -> Mapping[str, Any]:
        """The document as its author wrote it."""
        return MappingProxyType(self._document)

    @property
    def schema_hash(self) -> str:
        return documents.schema_hash(self._document)

    @property
    def sql(self) -> str | None:
        """The SQL transform delivered beside the contract, if it has one."""
        return self._sql

    @property
    def sql_hash(self) -> str | None:
        """SHA-256 of the SQL transform's text, which ``schema_hash`` does not cover; None without one."""
        return None if self._sql is None else hashlib.sha256(self._sql.encode()).hexdigest()

    @property
    def ttl_duration(self) -> timedelta:
        return documents.duration(self.ttl)

    @property
    def window_days(self) -> int:
        """Days of events that one version reads: the longest window."""
        windows = [column.aggregation.window_days for column in self.columns if column.aggregation]
        return max(windows, default=documents.days(self.window))

    @property
    def source_names(self) -> tuple[str, ...]:
        """Every source that it reads, in the contract's order."""
        return tuple(self.sources) or (self.source,)

    @property
    def parts(self) -> "tuple[Contract, ...]":
        """The contract as each of its sources sees it: that source's name, the keys, and what is taken of its events; itself for one."""
        if not self.sources:
            return (self,)
        fixed = {*self.primary_keys, self.timestamp_field}

        def of(name: str) -> list[Column]:
            return [c for c in self.columns if c.name in fixed or self.sql or (c.aggregation and c.aggregation.source == name)]

        return tuple(self.model_copy(update={"source": name, "columns": of(name)}) for name in self.sources)

    def day_name(self, partition: str) -> str:
        """What metadata and messages call a day of a part's source: ``payments/2026-01-14`` where the set reads several."""
        return f"{self.source}/{partition}" if self.sources else partition

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """The columns of a version: the contract's, and the event timestamp at the end where the contract leaves it out."""
        if any(column.name == self.timestamp_field for column in self.columns):
            return tuple(self.columns)
        return (*self.columns, Column(name=self.timestamp_field, type="timestamp"))

    @property
    def feature_columns(self) -> tuple[Column, ...]:
        """What is served: every column that is neither a key nor the event timestamp."""
        return tuple(column for column in self.all_columns if column.name not in {*self.primary_keys, self.timestamp_field})

    @property
    def arrow_schema(self) -> pa.Schema:
        """Shape of a version: one row per key, columns in contract order, keys and event timestamp not null."""
        required = {*self.primary_keys, self.timestamp_field}
        return pa.schema([pa.field(c.name, c.arrow_type, nullable=c.name not in required) for c in self.all_columns])


def load_contract(text: str | bytes, *, file: str, expected_name: str | None = None, sql: str | None = None) -> Contract:
    """Read a contract document and report every fault in it together.

    Args:
        text: The JSON document.
        file: How messages call it.
        expected_name: The feature set it is loaded as, when that is known from its file name.
        sql: The SQL transform delivered beside it.

    Raises:
        ContractError: With one sentence for each fault: place, found, expected.
    """
    document = documents.parse_object(text, file=file)
    faults: list[str] = []
    contract = None
    try:
        contract = Contract.model_validate(document)
    except ValidationError as error:
        faults += documents.faults_of(error, document)
    name = document.get("feature_set")
    if expected_name is not None and isinstance(name, str) and name != expected_name:
        faults.append(f"feature_set: found {name!r}, expected {expected_name!r}, the feature set it was loaded as")
    faults += _semantic_faults(document, has_sql=sql is not None)
    if faults or contract is None:
        raise ContractError(f"Contract {file} has {len(faults)} fault(s); correct the file and load it again:", faults)
    contract = contract.model_copy(update={} if contract.entity else {"entity": contract.primary_keys[0].removesuffix("_id").lower()})
    contract._document, contract._sql = document, sql
    return contract


def named(listed: object) -> list[dict[str, Any]]:
    """The items of a list that are objects with a text as name: what can be judged whatever else is wrong with the document."""
    items = listed if isinstance(listed, list) else []
    return [item for item in items if isinstance(item, dict) and isinstance(item.get("name"), str)]


def name_faults(names: Sequence[str]) -> list[str]:
    """Column names that stand twice, or differ in case alone: SQL, which computes the columns, does not tell those apart."""
    faults = [f"columns: {name!r} stands {count} times; expected each name once" for name, count in Counter(names).items() if count > 1]
    spellings: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        spellings.setdefault(name.casefold(), []).append(name)
    return faults + [
        f"columns: {' and '.join(map(repr, same))} differ in case alone; expected names that differ otherwise"
        for same in spellings.values()
        if len(same) > 1
    ]


def _semantic_faults(document: Mapping[str, Any], *, has_sql: bool) -> list[str]:
    """Faults between parts of a document, found even where single parts are wrong too."""
    columns = named(document.get("columns"))
    kinds = {column["name"]: column.get("type") for column in columns}
    timestamp = document.get("timestamp_field", "event_timestamp")
    timestamp = timestamp if isinstance(timestamp, str) else ""
    listed = document.get("primary_keys")
    keys = [key for key in listed if isinstance(key, str)] if isinstance(listed, list) else []
    faults = name_faults([column["name"] for column in columns])
    faults += [f"primary_keys: {key!r} stands {count} times; expected once" for key, count in Counter(keys).items() if count > 1]
    faults += [f"primary_keys: {key!r} is not a column; expected one of {', '.join(kinds)}" for key in keys if key not in kinds]
    faults += [
        f"primary_keys: {key!r} has type {kinds[key]!r}; expected one of {', '.join(types.KEY_TYPES)}"
        for key in keys
        if key in kinds and kinds[key] not in types.KEY_TYPES
    ]
    if kinds.get(timestamp, "timestamp") != "timestamp":
        faults.append(f"timestamp_field: {timestamp!r} has type {kinds[timestamp]!r}; expected 'timestamp'")
    faults += [f"timestamp_field: {timestamp!r} is a primary key; expected another column" for key in keys if key == timestamp]
    name = document.get("feature_set")
    if isinstance(name, str) and name in RESERVED_NAMES:
        faults.append(f"feature_set: {name!r} is reserved; expected another name")
    checks = document.get("checks")
    nulls = checks.get("max_null_ratio") if isinstance(checks, dict) else None
    faults += [
        f"checks.max_null_ratio: {name!r} is not a column; expected one of {', '.join(kinds)}"
        for name in (nulls if isinstance(nulls, dict) else ())
        if name not in kinds
    ]
    computed = [column for column in columns if column["name"] not in {*keys, timestamp}]
    faults += _source_faults(document, computed, has_sql=has_sql)
    return faults + _computation_faults(computed, has_sql=has_sql) + _key_faults(columns, {*keys, timestamp})


def _source_faults(document: Mapping[str, Any], columns: list[dict[str, Any]], *, has_sql: bool) -> list[str]:
    """Faults of ``sources``, and of what columns say of them."""
    listed = document.get("sources", [])
    sources = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    taken = {column["name"]: column["aggregation"].get("source") for column in columns if isinstance(column.get("aggregation"), dict)}
    if "sources" not in document:
        expected = "expected none, because the contract has one 'source'"
        return [f"columns ({name}).aggregation.source: found {found!r}, {expected}" for name, found in taken.items() if found is not None]
    faults = [f"sources: {name!r} stands {count} times; expected once" for name, count in Counter(sources).items() if count > 1]
    faults += ["sources: found beside 'source'; expected one of them"] if "source" in document else []
    faults += ["sources: expected two or more; a set of one source names it by 'source'"] if len(sources) < 2 else []
    faults += [
        f"columns ({name}).aggregation.source: found {found!r}, expected one of {', '.join(sources)}"
        for name, found in taken.items()
        if found not in sources
    ]
    unread = [name for name in dict.fromkeys(sources) if name not in taken.values()]
    return faults + [f"sources: no column is taken of {name!r}; expected one, or the source left out" for name in unread if not has_sql]


def _key_faults(columns: list[dict[str, Any]], fixed: set[str]) -> list[str]:
    return [
        f"columns ({column['name']}): a key or the event timestamp is not computed; expected no {said!r}"
        for column in columns
        for said in ("aggregation", "expression")
        if column["name"] in fixed and said in column
    ]


def _computation_faults(columns: list[dict[str, Any]], *, has_sql: bool) -> list[str]:
    faults = []
    aggregated = [column for column in columns if isinstance(column.get("aggregation"), dict)]
    numeric = [column["name"] for column in aggregated if isinstance(column.get("type"), str) and column["type"] in types.NUMERIC]
    for column in columns:
        where = f"columns ({column['name']})"
        aggregation, expression = column.get("aggregation"), column.get("expression")
        if has_sql and (aggregation is not None or expression is not None):
            kind = "an aggregation" if aggregation is not None else "an expression"
            faults.append(f"{where}: has {kind} although a SQL transform is delivered; expected one or the other")
        elif aggregation is not None and expression is not None:
            faults.append(f"{where}: has an aggregation and an expression; expected one of them")
        elif not has_sql and aggregation is None and expression is None:
            faults.append(
                f"{where}: says nothing about how it is computed; expected an 'aggregation', an 'expression' or a <feature_set>.sql beside "
                "the contract"
            )
        elif isinstance(aggregation, dict):
            faults += _aggregation_faults(where, column.get("type"), aggregation)
        elif isinstance(expression, str):
            if column.get("type") not in sorted(types.NUMERIC):
                expected = ", ".join(sorted(types.NUMERIC))
                faults.append(f"{where}: an expression cannot fill type {column.get('type')!r}; expected one of {expected}")
            faults += [f"{where}.expression: {fault}" for fault in expression_faults(expression, numeric=numeric)]
    return faults


def _aggregation_faults(where: str, kind: object, aggregation: dict[str, Any]) -> list[str]:
    function, faults = aggregation.get("function"), []
    if not isinstance(function, str):
        return []  # said where the document's form is judged
    if function in _WITHOUT_COLUMN and "column" in aggregation:
        faults.append(f"{where}.aggregation: {function} takes no column; expected none, found {aggregation['column']!r}")
    if function not in _WITHOUT_COLUMN and aggregation.get("column") is None:
        faults.append(f"{where}.aggregation: {function} needs the event column it is taken over; expected 'column'")
    allowed = _RESULT_TYPES.get(function)
    if allowed and isinstance(kind, str) and types.is_known(kind) and kind not in allowed:
        faults.append(f"{where}: {function} cannot fill type {kind!r}; expected one of {', '.join(sorted(allowed))}")
    for name, rule in aggregation.get("where", {}).items() if isinstance(aggregation.get("where"), dict) else ():
        if not re.fullmatch(documents.COLUMN_NAME, name):
            faults.append(f"{where}.aggregation.where: {name!r} is no column name")
        if rule in ([], {}):
            faults.append(f"{where}.aggregation.where ({name}): found {rule!r}, expected a value, a list of values or bounds")
    return faults
