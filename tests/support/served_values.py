"""What Feast should serve for a published row, and the comparison of a sample with what it does serve. Loading does not belong here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from datetime import date as calendar_date
from itertools import islice
from typing import Any

from feature_platform.adapters.feast.reading import Row, read_online
from feature_platform.core.contract import types
from feature_platform.core.contract.feature_set import Contract
from feature_platform.errors import InvalidDataError

FAULTS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class SampleReport:
    """What a sample check compared: ``rows`` entities, ``values`` features; ``expired`` of the rows are past their ttl by now."""

    rows: int
    values: int
    expired: int


def verify_sample(
    store: Any, contract: Contract, rows: Iterable[Mapping[str, Any]], *, as_of: datetime | None = None, limit: int = 1000
) -> SampleReport:
    """Compare rows of a published version with what the SDK serves, and refuse any difference.

    Floats are equal bit for bit (NaN and null are one, as in Feast); timestamps in whole seconds, as Feast keeps them.

    Args:
        store: A store of ``open_store`` with the contract applied and the version loaded.
        contract: The feature set.
        rows: Rows of the version's file as Python values, primary keys and event timestamp included.
        as_of: The moment that the version is true as of; ttl is judged there, so that an old version can be verified too.
        limit: How many of the rows are compared.

    Raises:
        InvalidDataError: With one sentence per entity and feature that differs, or because there was nothing to compare.
        ContractError, StorageError: As for :func:`read_online`.
    """
    expected = list(islice(rows, limit))
    if not expected:
        raise InvalidDataError(f"{contract.feature_set}: there is no row to compare with the online store; expected at least one.")
    keys = [{key: row[key] for key in contract.primary_keys} for row in expected]
    served = read_online(store, contract, keys, as_of=as_of)
    faults = [fault for row, found in zip(expected, served, strict=True) for fault in _differences(contract, row, found)]
    if faults:
        shown = faults[:FAULTS_SHOWN] + ([f"and {len(faults) - FAULTS_SHOWN} more"] if len(faults) > FAULTS_SHOWN else [])
        values = len(expected) * len(contract.feature_columns)
        raise InvalidDataError(
            f"{contract.feature_set}: {len(faults)} of {values} sampled online values differ from the published file. Load it again:",
            shown,
        )
    now = datetime.now(UTC)
    expired = sum(now - row[contract.timestamp_field] > contract.ttl_duration for row in expected if contract.timestamp_field in row)
    return SampleReport(rows=len(expected), values=len(expected) * len(contract.feature_columns), expired=expired)


def served_value(value: Any, kind: str) -> Any:
    """What Feast serves for a file's value of a contract type: dates are midnights, timestamps lose fractions, NaN is null."""
    element = types.element_type(kind)
    if value is None:
        return None
    if element == "timestamp":
        return [_towards_1970(item) for item in value]
    if element is not None:
        return list(value)
    if kind == "timestamp":
        return value.astimezone(UTC).replace(microsecond=0)
    if kind == "date":
        return datetime.combine(value, time(), UTC) if isinstance(value, calendar_date) else value
    return None if isinstance(value, float) and value != value else value


def _towards_1970(moment: datetime) -> datetime:
    whole = moment.astimezone(UTC).replace(microsecond=0)
    return whole + timedelta(seconds=1) if moment.year < 1970 and moment.microsecond else whole


def _differences(contract: Contract, row: Mapping[str, Any], found: Row) -> Iterable[str]:
    entity = ", ".join(f"{key}={row[key]!r}" for key in contract.primary_keys)
    for column in contract.feature_columns:
        expected = served_value(row[column.name], column.type)
        if not _equal(expected, found[column.name]):
            yield f"{entity}: {column.name} expected {expected!r}, found {found[column.name]!r} online"


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return left.hex() == right.hex()
    return type(left) is type(right) and bool(left == right)
