"""The feature registry port in this process's memory, over the online store in memory: it does what Feast does, without importing it.

For tests; it passes the same contract suite as Feast. Nothing outlives the process. Storing values does not belong here
(``adapters.online_store.memory``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from feature_platform.adapters.online_store.memory import MemoryOnlineStore
from feature_platform.core.contract import types
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.online.decoding import MOMENTS, column_reader, timestamp_of
from feature_platform.core.online.encoding import encode_keys
from feature_platform.core.online.layout import ViewLayout, view_layout
from feature_platform.core.online.parity import OnlineRows
from feature_platform.core.versions.findings import Finding, registry_findings
from feature_platform.errors import ContractError

Row = dict[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MemoryFeatureRegistry:
    """See :class:`FeatureRegistry`.

    Args:
        online: The online store whose values are read and removed.
    """

    def __init__(self, online: MemoryOnlineStore, *, project: str) -> None:
        self._online, self._project = online, project
        self._applied: dict[str, Contract] = {}

    def apply(self, contracts: Iterable[Contract]) -> None:
        self._applied |= {contract.feature_set: contract for contract in contracts}

    def findings(self, contract: Contract) -> list[Finding]:
        known = self._applied.get(contract.feature_set)
        if known is None:
            return registry_findings(contract, features=None, schema_hash=None)
        return registry_findings(contract, features=[column.name for column in known.feature_columns], schema_hash=known.schema_hash)

    def read(self, contract: Contract, keys: Sequence[Mapping[str, Any]], *, as_of: datetime | None = None) -> list[Row]:
        if contract.feature_set not in self._applied:
            raise ContractError(f"{contract.feature_set} cannot be read online", ["the registry does not know it; apply its contract"])
        layout, moment = view_layout(contract, project=self._project), as_of or datetime.now(UTC)
        kinds = {name: types.arrow_type(kind) for name, kind in layout.keys}
        batch = pa.RecordBatch.from_pylist(list(keys), pa.schema(list(kinds.items())))
        hashes = [self._online.hashes.get(key, {}) for key in encode_keys(batch, layout).to_pylist()]
        return [{**key, **_served(fields, layout, contract, moment=moment)} for key, fields in zip(keys, hashes, strict=True)]

    def reader(self, contract: Contract, *, as_of: datetime) -> Callable[[pa.RecordBatch, pa.Array], OnlineRows]:
        del as_of  # a version is never past its ttl at its own moment
        layout = view_layout(contract, project=self._project)
        return lambda _batch, keys: self._online.stored(layout, keys)

    def registered(self, feature_set: str) -> tuple[str, ...]:
        if feature_set not in self._applied:
            return ()
        return (f"feature_service/{feature_set}", f"feature_view/{feature_set}", f"data_source/{feature_set}_latest")

    def remove(self, contract: Contract) -> tuple[str, ...]:
        removed = self.registered(contract.feature_set)
        self._online.forget(view_layout(contract, project=self._project))
        self._applied.pop(contract.feature_set, None)
        return removed


def _served(fields: Mapping[bytes, bytes], layout: ViewLayout, contract: Contract, *, moment: datetime) -> Row:
    """The values that a service gets from one entity's hash; nulls where it has none, or where they are past their ttl."""
    nothing = dict.fromkeys(name for name, _ in layout.features)
    if layout.timestamp_key not in fields:
        return nothing
    seconds, nanos = timestamp_of(fields[layout.timestamp_key])
    if _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000) < moment - contract.ttl_duration:
        return nothing
    stored = zip(layout.features, layout.fields[1:], strict=True)
    return {name: column_reader(kind, MOMENTS)([fields.get(place)])[0] for (name, kind), place in stored}
