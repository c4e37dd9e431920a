"""The feature server port: what a running server answers over the network. Serving does not belong here."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from feature_platform.core.contract.feature_set import Contract


class FeatureServer(Protocol):
    """A server that services read features from. Both methods raise :class:`StorageError` where it does not answer."""

    @property
    def address(self) -> str:
        """How messages call it."""

    def health(self) -> None:
        """Return if the server says that it is well."""

    def read(self, contract: Contract, keys: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dict[str, list[Any]]:
        """What the server answers for some entities: column → one JSON value per key, in their order."""
