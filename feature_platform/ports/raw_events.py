"""The raw events port: which raw objects of a day there are. Judging their rows belongs to the compute engine."""

from collections.abc import Sequence
from typing import Protocol

from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawManifest
from feature_platform.core.objects import ObjectInfo


class RawEvents(Protocol):
    """Raw objects as upstream delivers them, one directory a source and day. They are never written or copied.

    Both methods raise :class:`StorageError` where the store does not answer.
    """

    @property
    def uri(self) -> str:
        """The base below which every source lies."""

    def listed(self, source: str, partition: str) -> Sequence[ObjectInfo]:
        """Every object of a day in key order, also what is no data; by one listing, nothing is opened."""

    def discover(self, source: SourceContract, partition: str) -> RawManifest:
        """The raw objects of a day, pinned by ETag, with the records that each holds.

        Raises:
            NotFoundError: There is no data object for the day.
            InvalidDataError: Objects cannot be read as a whole; all of them are named.
            ConflictError: An object changed while it was read.
        """
