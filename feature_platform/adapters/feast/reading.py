"""Online values read back through the Feast SDK, as a service reads them.

Loading values does not belong here (``adapters.online_store.redis_store``), nor comparing them (``core.online.parity``).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from feature_platform.core.contract.feature_set import Contract
from feature_platform.errors import ContractError, StorageError

READ_ROWS: Final = 500
"""Entities per SDK call."""

Row = dict[str, Any]


def read_online(store: Any, contract: Contract, keys: Sequence[Mapping[str, Any]], *, as_of: datetime | None = None) -> list[Row]:
    """What the online store serves for some entities, by the Feast SDK.

    Shape: one row per key, in the order of ``keys``: primary keys, then every feature of the contract; None where nothing is served.

    Args:
        store: A store of ``open_store`` with the contract applied.
        keys: Primary key values, each a mapping of column to value.
        as_of: Judge ttl at this moment; now where left out.

    Raises:
        ContractError: The registry does not know the feature set, or knows it by another contract.
        StorageError: Redis did not answer.
    """
    rows: list[Row] = []
    for start in range(0, len(keys), READ_ROWS):
        rows += _read(store, contract, keys[start : start + READ_ROWS], as_of=as_of)
    return rows


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
            [f"the registry of {store.project} does not have it by this contract: {error}; apply its contract"],
        ) from error
    except RedisError as error:
        raise StorageError(
            f"Online values of {contract.feature_set} could not be read: {error}. Check that Redis is up, then try again."
        ) from error
    wanted = [*contract.primary_keys, *names]
    return [dict(zip(wanted, values, strict=True)) for values in zip(*(found[name] for name in wanted), strict=True)]
