"""The alert port: where people hear of incidents. Which ones does not belong here."""

from typing import Protocol

from feature_platform.core.operations.incidents import Notice


class AlertChannel(Protocol):
    """One way to reach people."""

    def send(self, notice: Notice) -> None:
        """Tell of an incident's beginning or end.

        Raises:
            StorageError: It was not taken; the caller may send it again.
        """
