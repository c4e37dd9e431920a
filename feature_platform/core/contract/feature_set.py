"""A feature set's contract: keys, columns, types, how each column is computed, checks, and the hash that identifies it.

Reading files does not belong here (``adapters.contract_files``), nor compiling aggregations to SQL (``core.compute.features_sql``).
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from feature_platform.core.contract import documents, types
from feature_platform.core.contract.set_faults import default_entity, document_faults
from feature_platform.errors import ContractError

Function = Literal["count", "sum", "mean", "min", "max", "stddev", "first", "last", "age_of_first", "age_of_last", "approx_distinct"]
Scalar = bool | int | float | str


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


DocumentT = TypeVar("DocumentT", bound=Document)


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
    """The source of the events, where the contract has several ``sources``."""
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
    """Checks of a version before it may become latest; one that fails keeps it back, or only warns where its ``severity`` is ``warn``.

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
    feature_sets: list[SafeName] = Field(default_factory=list)
    """Other sets whose versions a SQL transform reads."""
    window: Window = "1d"
    """How many days of events a SQL transform reads; each aggregation has its own window."""
    checks: Checks = Checks()
    missing_days: Literal["refuse", "warn", "allow"] = "warn"
    """What happens where a window lacks a day: no version is built, it is built and the check ``missing_days`` fails, or it is built."""

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
        """A contract for each source: that source's name, the keys, and the columns taken of its events; itself for one source."""
        if not self.sources:
            return (self,)
        fixed = {*self.primary_keys, self.timestamp_field}

        def of(name: str) -> list[Column]:
            return [c for c in self.columns if c.name in fixed or self.sql is not None or (c.aggregation and c.aggregation.source == name)]

        return tuple(self.model_copy(update={"source": name, "columns": of(name)}) for name in self.sources)

    def day_name(self, partition: str) -> str:
        """The name of a day of a part's source in metadata and messages: ``payments/2026-01-14`` where the set reads several sources."""
        return f"{self.source}/{partition}" if self.sources else partition

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """The columns of a version: the contract's, and the event timestamp at the end where the contract leaves it out."""
        if any(column.name == self.timestamp_field for column in self.columns):
            return tuple(self.columns)
        return (*self.columns, Column(name=self.timestamp_field, type="timestamp"))

    @property
    def feature_columns(self) -> tuple[Column, ...]:
        """The columns that are served: all but the keys and the event timestamp."""
        return tuple(column for column in self.all_columns if column.name not in {*self.primary_keys, self.timestamp_field})

    @property
    def arrow_schema(self) -> pa.Schema:
        """Shape of a version: one row per key, columns in contract order, keys and event timestamp not null."""
        required = {*self.primary_keys, self.timestamp_field}
        return pa.schema([pa.field(c.name, c.arrow_type, nullable=c.name not in required) for c in self.all_columns])


def read_document(
    model: type[DocumentT], document: Mapping[str, Any], *, file: str, key: str, expected_name: str | None, faults: Sequence[str]
) -> DocumentT:
    """A document as its model, with every fault in it reported together.

    Args:
        file: The document's name in messages.
        key: The key of its name.
        expected_name: The name it is loaded by, when that is known from its file name.
        faults: Those between its parts.

    Raises:
        ContractError: With one sentence for each fault: place, found, expected.
    """
    known, name, read = list(faults), document.get(key), None
    if expected_name is not None and isinstance(name, str) and name != expected_name:
        known.insert(0, f"{key}: found {name!r}, expected {expected_name!r}, the {key.replace('_', ' ')} it was loaded as")
    try:
        read = model.model_validate(document)
    except ValidationError as error:
        known = documents.faults_of(error, document) + known
    if known or read is None:
        kind = "Source contract" if key == "source" else "Contract"
        raise ContractError(f"{kind} {file} has {len(known)} fault(s); correct the file and load it again:", known)
    return read


def load_contract(text: str | bytes, *, file: str, expected_name: str | None = None, sql: str | None = None) -> Contract:
    """Read a contract document, and the SQL transform delivered beside it.

    Raises:
        ContractError: As :func:`read_document`.
    """
    document = documents.parse_object(text, file=file)
    faults = document_faults(document, has_sql=sql is not None)
    contract = read_document(Contract, document, file=file, key="feature_set", expected_name=expected_name, faults=faults)
    contract = contract.model_copy(update={} if contract.entity else {"entity": default_entity(contract.primary_keys[0])})
    contract._document, contract._sql = document, sql
    return contract
