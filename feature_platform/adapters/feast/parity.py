"""The online side of a parity comparison as a service sees it: through Feast's SDK. Comparing does not belong here (``core.online``)."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from feature_platform.adapters.feast.reading import read_online
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.online.parity import OnlineRows, encoded_values


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
