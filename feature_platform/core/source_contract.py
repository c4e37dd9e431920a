"""A raw source's contract: columns, types, nullability, event time, deduplication, and how many rejects a day may have.

Applying it to files does not belong here (``core.compile`` and the compute engine do).
"""

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import Field, PrivateAttr, ValidationError

from feature_platform.core import documents
from feature_platform.core.contract import ColumnName, Contract, Document, Ratio, SafeName, TypeName
from feature_platform.errors import ContractError

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


class SourceColumn(Document):
    """One column of a raw source.

    ``decimals`` is how many decimal places of a floating column count: sums are taken over whole multiples of 10^-decimals, which makes
    them exact and independent of order. Values beyond ±9.2e18 of these are out of range. ``epoch_unit`` lets a timestamp be given as a
    whole number of these since 1970 too; without it a number is refused, because it does not say its unit.
    """

    name: ColumnName
    type: TypeName
    description: str = ""
    nullable: bool = True
    decimals: Annotated[int, Field(ge=0, le=12)] = 6
    epoch_unit: Literal["s", "ms", "us"] | None = None


class SourceContract(Document):
    """What upstream promises about one raw source.

    ``event_time`` names the timestamp column that decides an event's day; a timestamp without a zone is taken as UTC.
    ``dedup_keys`` name the columns that identify an event; without them whole equal rows are duplicates.
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

    _document: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def document(self) -> Mapping[str, Any]:
        """The document as its author wrote it."""
        return MappingProxyType(self._document)

    @property
    def schema_hash(self) -> str:
        return documents.schema_hash(self._document)


def load_source_contract(text: str | bytes, *, file: str, expected_name: str | None = None) -> SourceContract:
    """Read a source contract and report every fault in it together.

    Raises:
        ContractError: With one sentence for each fault: place, found, expected.
    """
    document = documents.parse_object(text, file=file)
    faults: list[str] = []
    contract = None
    try:
        contract = SourceContract.model_validate(document)
    except ValidationError as error:
        faults += documents.faults_of(error, document)
    name = document.get("source")
    if expected_name is not None and isinstance(name, str) and name != expected_name:
        faults.append(f"source: found {name!r}, expected {expected_name!r}, the source it was loaded as")
    faults += _semantic_faults(document)
    if faults or contract is None:
        raise ContractError(f"Source contract {file} has {len(faults)} fault(s); correct the file and load it again:", faults)
    contract._document = document
    return contract


def _semantic_faults(document: Mapping[str, Any]) -> list[str]:
    listed = document.get("columns")
    columns = [column for column in listed if isinstance(column, dict)] if isinstance(listed, list) else []
    kinds = {column["name"]: column.get("type") for column in columns if isinstance(column.get("name"), str)}
    counts = Counter(column["name"] for column in columns if isinstance(column.get("name"), str))
    faults = [f"columns: {name!r} stands {count} times; expected each name once" for name, count in counts.items() if count > 1]
    time = document.get("event_time")
    if isinstance(time, str) and kinds.get(time) != "timestamp":
        found = f"type {kinds[time]!r}" if time in kinds else "no such column"
        faults.append(f"event_time: {time!r} has {found}; expected a column of type 'timestamp'")
    keys = document.get("dedup_keys")
    faults += [f"dedup_keys: {key!r} is not a column" for key in (keys if isinstance(keys, list) else []) if key not in kinds]
    return faults


def cross_faults(contract: Contract, source: SourceContract) -> list[str]:
    """Faults between a feature set and its source: columns that are read but not there, functions that do not fit a type."""
    kinds = {column.name: column.type for column in source.columns}
    if contract.sql is not None:
        return []
    faults = [
        f"primary_keys: {key!r} is not a column of source {source.source!r}; expected one of {', '.join(kinds)}"
        for key in contract.primary_keys
        if key not in kinds
    ]
    for column in contract.columns:
        if column.aggregation is None:
            continue
        read = [column.aggregation.column] if column.aggregation.column else []
        where = f"columns ({column.name}).aggregation"
        faults += [
            f"{where}: {name!r} is not a column of source {source.source!r}; expected one of {', '.join(kinds)}"
            for name in (*read, *column.aggregation.where)
            if name not in kinds
        ]
        taken = kinds.get(column.aggregation.column or "")
        numeric = column.aggregation.function in {"sum", "mean", "stddev"}
        if numeric and taken is not None and taken not in {"int32", "int64", "float32", "float64"}:
            faults.append(
                f"{where}: {column.aggregation.function} needs a numeric column; {column.aggregation.column!r} has type {taken!r}"
            )
        if column.aggregation.function in {"min", "max", "first", "last"} and taken not in {None, column.type}:
            faults.append(f"{where}: yields type {taken!r}; expected the column's type {column.type!r}")
    return faults
