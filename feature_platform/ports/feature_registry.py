"""The feature registry port: the feature views that services know, and reads as services make them. Loading belongs to the online store."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import pyarrow as pa

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.online.parity import OnlineRows
from feature_platform.core.versions.findings import Finding

Row = dict[str, Any]


class FeatureRegistry(Protocol):
    """Feature views that services know, derived from contracts, and reads as a service makes them.

    Every method raises :class:`StorageError` where the registry or the online store does not answer.
    """

    def apply(self, contracts: Iterable[Contract]) -> None:
        """Make the registry say what these contracts say; others are not touched. Applying the same again writes nothing.

        Raises:
            ContractError: Feature sets share an entity but not its join key.
            ConflictError: Other writers changed the registry at each attempt; it is whole, without this change.
        """

    def findings(self, contract: Contract) -> list[Finding]:
        """Where the registry differs from a contract; empty where it does not."""

    def read(self, contract: Contract, keys: Sequence[Mapping[str, Any]], *, as_of: datetime | None = None) -> list[Row]:
        """What services get for some entities.

        Shape: one row per key, in the order of ``keys``: primary keys, then every feature; None where nothing is served.

        Args:
            keys: Primary key values, each a mapping of column to value.
            as_of: Judge ttl at this moment; now where left out.

        Raises:
            ContractError: The registry does not know the feature set, or knows it by another contract.
        """

    def reader(self, contract: Contract, *, as_of: datetime) -> Callable[[pa.RecordBatch, pa.Array], OnlineRows]:
        """Reads published rows back as a service does, ttl judged at ``as_of``, for :meth:`OnlineStore.parity`."""

    def remove(self, contract: Contract) -> tuple[str, ...]:
        """Remove one feature set with its online values; names of what was removed, ``kind/name`` each. Entities stay."""

    def registered(self, feature_set: str) -> tuple[str, ...]:
        """What :meth:`remove` would remove from the registry; writes nothing."""
