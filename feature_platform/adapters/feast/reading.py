"""Online values read back through the Feast SDK, and compared with the file they were loaded from.

Loading values does not belong here (``adapters.online_store.redis_store``), nor reading them past Feast.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from datetime import date as calendar_date
from itertools import islice
from typing import Any, Final

import pyarrow as pa

from feature_platform.core.contract import types
from feature_platform.core.contract.feature_set import Contract
from feature_platform.errors import ContractError, InvalidDataError, StorageError

READ_ROWS: Final = 500
"""Entities per SDK call."""

FAULTS_SHOWN: Final = 20

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SampleReport:
    """What a sample check compared: ``rows`` entities, ``values`` features; ``expired`` of the rows are past their ttl by now."""

    rows: int
    values: int
    expired: int


def read_online(store: Any, contract: Contract, keys: Sequence[Mapping[str, Any]], *, as_of: datetime | None = None) -> list[Row]:
    """What the online store serves for some entities, by the Feast SDK.

    Shape: one row per key, in the order of ``keys``: primary keys, then every feature of the contract; None where nothing is served.

    Args:
        store: A store of ``open_store`` with the contract applied.
        contract: The feature set.
        keys: Primary key values, each a mapping of column to value.
        as_of: Judge ttl at this moment; now where left out.

    Raises:
        ContractError: The registry knows the feature set not at all, or not as this contract.
        StorageError: Redis did not answer.
    """
    rows: list[Row] = []
    for start in range(0, len(keys), READ_ROWS):
        rows += _read(store, contract, keys[start : start + READ_ROWS], as_of=as_of)
    return rows


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


def sample_rows(table: pa.Table, *, limit: int = 1000) -> list[Row]:
    """Rows spread evenly over a table, first and last included, as :func:`verify_sample` takes them.

    Shape: at most ``limit`` rows in table order.
    """
    count = table.num_rows
    if count > limit:
        table = table.take(pa.array(sorted({round(place * (count - 1) / (limit - 1)) for place in range(limit)}), pa.int64()))
    rows: list[Row] = table.to_pylist()
    return rows


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
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124  NaN alone differs from itself


def _towards_1970(moment: datetime) -> datetime:
    whole = moment.astimezone(UTC).replace(microsecond=0)
    return whole + timedelta(seconds=1) if moment.year < 1970 and moment.microsecond else whole


def _read(store: Any, contract: Contract, keys: Sequence[Mapping[str, Any]], *, as_of: datetime | None) -> list[Row]:
    from contextlib import nullcontext

    from feast.errors import FeatureViewNotFoundException
    from redis.exceptions import RedisError

    from feature_platform.adapters.feast.clock import reading_as_of

    names = [column.name for column in contract.feature_columns]
    references = [f"{contract.feature_set}:{name}" for name in names]
    columns = {key: [row[key] for row in keys] for key in contract.primary_keys}
    try:
        with nullcontext() if as_of is None else reading_as_of(as_of):
            found = store.get_online_features(features=references, entity_rows=columns).to_dict()
    except (FeatureViewNotFoundException, KeyError) as error:
        raise ContractError(
            f"{contract.feature_set} cannot be read online",
            [f"the registry of {store.project} does not know it so: {error}; apply its contract"],
        ) from error
    except RedisError as error:
        raise StorageError(
            f"Online values of {contract.feature_set} could not be read: {error}. Check that Redis is up, then try again."
        ) from error
    wanted = [*contract.primary_keys, *names]
    return [dict(zip(wanted, values, strict=True)) for values in zip(*(found[name] for name in wanted), strict=True)]


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
