"""The orchestrator port: whether what schedules and runs the work does so. Starting runs does not belong here."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

from feature_platform.core.operations.health import Problem

SUBJECT: Final = "dagster"


class Orchestrator(Protocol):
    """Something that runs the platform's work."""

    def problems(self, *, now: datetime) -> Sequence[Problem]:
        """What keeps it from working, each with the subject :data:`SUBJECT`; that it does not answer is one of these problems."""
