"""Online values read back through the Feast SDK, as a service reads them.

Loading values does not belong here (``adapters.online_store.redis_store``), nor comparing them (``core.online.parity``).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa

from feature_platform.adapters.feast.clock import reading_as_of
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.online.parity import OnlineRows, encoded_values
from feature_platform.errors import ContractError, StorageError

READ_ROWS: Final = 500
"""Entities per SDK call."""

Row = dict[str, Any]


def read_online(store: Any, contract: Contract, keys: Sequence[Mapping[str, Any]], *, as_of: datetime | None = None) -> list[Row]:
    """See :meth:`FeatureRegistry.read`; ``store`` is one of ``open_store`` with the contract applied."""
    rows: list[Row] = []
    for start in range(0, len(keys), READ_ROWS):
        rows += _read(store, contract, keys[start : start + READ_ROWS], as_of=as_of)
    return rows


def _read(store: Any, contract: Contract, keys: Sequence[Mapping[str, Any]], *, as_of: datetime | None) -> list[Row]:
    from feast.errors import FeatureViewNotFoundException
    from redis.exceptions import RedisError

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


def sdk_reader(store: Any, contract: Contract, *, as_of: datetime) -> Callable[[pa.RecordBatch, pa.Array], OnlineRows]:
    """A reader of published entities through the SDK, for ``OnlineStore.parity``.

    The SDK answers null both for a null feature and for an entity that is not there; an entity counts as absent when everything is null
    that is not null in the file too.

    Args:
        store: A store of ``open_store`` with the contract applied.
        as_of: The moment that ttl is judged at: the version's own, so that an old version can be compared too.
    """
    names = {column.name: column.type for column in contract.feature_columns}

    def read(batch: pa.RecordBatch, _keys: pa.Array) -> OnlineRows:
        rows = read_online(store, contract, batch.select(contract.primary_keys).to_pylist(), as_of=as_of)
        found = {name: [row[name] for row in rows] for name in names}
        served = _any_value([np.array([value is not None for value in values], np.bool_) for values in found.values()], batch.num_rows)
        published = _any_value([batch.column(name).is_valid().to_numpy(zero_copy_only=False) for name in names], batch.num_rows)
        return OnlineRows({name: encoded_values(values, names[name]) for name, values in found.items()}, present=served | ~published)

    return read


def _any_value(masks: list[Any], rows: int) -> Any:
    return np.logical_or.reduce(masks) if masks else np.ones(rows, np.bool_)
