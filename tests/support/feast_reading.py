"""Two Feast stores over the same registry and database, ours and Feast's own, and rows that Feast's own code wrote."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from feature_platform.adapters.feast.objects import feast_objects
from feature_platform.adapters.feast.repository import ONLINE_STORE
from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.contract.feature_set import Contract
from tests.support.feast_registries import open_registry
from tests.support.services import ValkeyDatabase


@dataclass(frozen=True)
class Readers:
    """The same data through two online stores."""

    ours: Any
    stock: Any

    def write(self, contract: Contract, table: pa.Table) -> None:
        """Write rows with Feast's own code."""
        from feast.utils import _convert_arrow_to_proto

        view = self.stock.get_feature_view(contract.feature_set)
        join_keys = {column.name: column.dtype.to_value_type() for column in view.entity_columns}
        rows = _convert_arrow_to_proto(table, view, join_keys)
        self.stock.provider.online_store.online_write_batch(self.stock.config, view, rows, None)

    def close(self) -> None:
        """Close what they hold open; Feast leaves it to the collector."""
        for store in (self.ours, self.stock):
            client = store.provider.online_store._client
            if client is not None:
                client.close()


def open_readers(valkey: ValkeyDatabase, *contracts: Contract, redis_type: str = "redis") -> Readers:
    """Both stores, with these contracts applied."""
    objects, options = (
        MemoryObjectStore(),
        {"connection_string": valkey.address(), "redis_type": redis_type, "skip_dedup": True},
    )
    ours = open_registry(objects, online_store={"type": ONLINE_STORE, **options})
    ours.apply(feast_objects(contracts, feature_base="s3://bucket/features").all)
    return Readers(ours=ours, stock=open_registry(objects, online_store={"type": "redis", **options}))
