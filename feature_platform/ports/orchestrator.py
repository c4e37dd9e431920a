"""The orchestrator port: what schedules and runs the work, as one who watches it sees it. Starting runs does not belong here."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

from feature_platform.core.operations.health import Problem

SUBJECT: Final = "dagster"


class Orchestrator(Protocol):
    """Something that runs the platform's work."""

    def problems(self, *, now: datetime) -> Sequence[Problem]:
        """What keeps it from working, all of :data:`SUBJECT`; that it does not answer is a problem too."""
