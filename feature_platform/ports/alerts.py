"""The alert port: tells people of incidents. Which incidents there are does not belong here (``core.operations``)."""

from typing import Protocol

from feature_platform.core.operations.incidents import Notice


class AlertChannel(Protocol):
    """One way to reach people."""

    def send(self, notice: Notice) -> None:
        """Tell of an incident's beginning or end.

        Raises:
            StorageError: The channel did not accept it; the caller may send it again.
        """
