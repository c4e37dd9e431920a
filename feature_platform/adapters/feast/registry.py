"""The feature registry port on Feast, which is imported at the first call, because that takes seconds.

Declaring objects does not belong here (``objects``), nor changing the registry (``repository``), nor reading by the SDK (``reading``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import pyarrow as pa

from feature_platform.adapters.feast import repository
from feature_platform.adapters.feast.reading import read_online, sdk_reader
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.online.parity import OnlineRows
from feature_platform.core.versions.findings import Finding, registry_findings

Row = dict[str, Any]


class FeastRegistry:
    """See :class:`FeatureRegistry`."""

    def __init__(self, environment: repository.Environment) -> None:
        self._environment = environment

    @cached_property
    def store(self) -> Any:
        return repository.open_store(self._environment)

    def apply(self, contracts: Iterable[Contract]) -> None:
        repository.apply_contracts(self.store, contracts, environment=self._environment)

    def findings(self, contract: Contract) -> list[Finding]:
        store = self.store
        from feast.errors import FeatureViewNotFoundException

        try:
            view = store.get_feature_view(contract.feature_set)
        except FeatureViewNotFoundException:
            return registry_findings(contract, features=None, schema_hash=None)
        return registry_findings(contract, features=[field.name for field in view.features], schema_hash=view.tags.get("schema_hash"))

    def read(self, contract: Contract, keys: Sequence[Mapping[str, Any]], *, as_of: datetime | None = None) -> list[Row]:
        return read_online(self.store, contract, keys, as_of=as_of)

    def reader(self, contract: Contract, *, as_of: datetime) -> Callable[[pa.RecordBatch, pa.Array], OnlineRows]:
        return sdk_reader(self.store, contract, as_of=as_of)

    def registered(self, feature_set: str) -> tuple[str, ...]:
        return repository.registered(self.store, feature_set)

    def remove(self, contract: Contract) -> tuple[str, ...]:
        return repository.decommission(self.store, contract.feature_set)
