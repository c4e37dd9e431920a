"""The online store port: exact loads of versions, and what is online. Bytes do not belong here (``core.online``)."""

from collections.abc import Callable
from typing import Protocol

import pyarrow as pa

from feature_platform.core.online.load import LoadReport, OnlineLoad, RepairReport
from feature_platform.core.online.marker import Marker
from feature_platform.core.online.parity import OnlineRows, ParityReport


class OnlineStore(Protocol):
    """Where services read features from: per feature view exactly one published version, and a marker that says which.

    Every method raises :class:`StorageError` when the server does not answer in time, is full or fails midway, and
    :class:`ConfigurationError` when it refuses the credentials, may evict keys, or an unknown Feast is installed.
    """

    def load(self, request: OnlineLoad, *, progress: Callable[[int, int], object] | None = None, is_full: bool = False) -> LoadReport:
        """Make a published version exactly what is online for its view: its entities with its values, and no others.

        On return the marker is ``online``. After an error it is ``loading`` (or what it was, if nothing was written), and the next load of
        this or a later record makes the store exact again. A store may write only what differs from the version that it knows to be
        online, so what others wrote to it stays until a full load.

        Args:
            request: The version; its file is checked before anything is written.
            progress: Called with rows done and rows in total.
            is_full: Write every row, whatever is online.

        Raises:
            InvalidDataError: The file must not be served; nothing was written.
            ConflictError: The version of a later record is online, another load is running, or one took over while this one was frozen.
        """

    def repair(self, request: OnlineLoad) -> RepairReport:
        """Scan everything and remove this view's fields from entities that the online version, which is ``request``'s, lacks.

        Raises:
            ConflictError: Another version is online, or the last load did not finish.
        """

    def marker(self, *, project: str, view: str) -> Marker | None:
        """What the store says about a view; None where it says nothing."""

    def parity(
        self,
        request: OnlineLoad,
        *,
        limit: int | None,
        now_us: int,
        read: Callable[[pa.RecordBatch, pa.Array], OnlineRows] | None = None,
    ) -> ParityReport:
        """Compare what is online with a published version.

        Args:
            limit: Rows above which a sample by key hash is compared; None compares everything.
            now_us: Now (Unix time, microseconds), to count entities older than the ttl.
            read: Reads published rows (and their Redis keys) back, e.g. through Feast's SDK; the stored bytes where left out.
        """

    def glance(self, request: OnlineLoad, *, rows: int) -> ParityReport:
        """Compare the stored bytes of a version's first rows, at a cost that does not grow with the version.

        The file is not checked, and nothing is looked for that should not be there.
        """

    def used_ratio(self) -> float:
        """How much of its memory limit the fullest server uses; 0 where none has a limit."""
