"""Watch an environment: look, remember incidents, tell people of each once. When to look again does not belong here (``cli.watch``)."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from feature_platform.core.operations.health import LATE_AFTER, Health, Problem
from feature_platform.core.operations.incidents import Incident, Notice, observe, told, unseen
from feature_platform.errors import FeaturePlatformError
from feature_platform.ports.alerts import AlertChannel
from feature_platform.ports.orchestrator import Orchestrator
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.health import Judged, health

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look saw, and the notices that were sent."""

    healths: tuple[Health, ...]
    others: tuple[Problem, ...]
    sent: tuple[Notice, ...]


@dataclass
class Watch:
    """Looks at every feature set and the orchestrator, and remembers incidents between looks.

    Args:
        channels: Where people are told. An alert that no channel accepted is sent again at the next look.
        orchestrator: The orchestrator to watch; none where left out.
        incidents: By key, as an earlier process left them.
    """

    platform: Platform
    channels: Sequence[AlertChannel]
    orchestrator: Orchestrator | None = None
    late_after: timedelta = LATE_AFTER
    incidents: dict[str, Incident] = field(default_factory=dict)
    judged: Judged = field(default_factory=dict)

    def look(self, *, now: datetime, is_ended: Callable[[], bool] = lambda: False) -> Look:
        """One look at everything. ``is_ended`` is asked between feature sets: a stop need not wait for all of them."""
        catalog = self.platform.catalog
        healths: list[Health] = []
        for name in sorted(catalog.contracts):
            if is_ended():
                break
            contract = catalog.contract(name)
            healths.append(health(self.platform, contract, now=now, late_after=self.late_after, judged=self.judged))
        others = tuple(self.orchestrator.problems(now=now)) if self.orchestrator else ()
        seen: list[tuple[Problem, str | None]] = [(problem, item.served) for item in healths for problem in item.problems]
        seen += [(problem, None) for problem in others]
        blind = catalog.contracts.keys() - {item.feature_set for item in healths}
        blind |= {place for problem, _ in seen if (place := unseen(problem))}
        self.incidents, notices = observe(self.incidents, seen, blind=blind, now=now)
        return Look(tuple(healths), others, tuple(notice for notice in notices if self._tell(notice)))

    def _tell(self, notice: Notice) -> bool:
        """Send to every channel; whether one accepted it, else it is sent again at the next look."""
        key, taken = notice.incident.problem.key, not self.channels
        subject, level = notice.incident.problem.subject, logging.WARNING if notice.kind == "alert" else logging.INFO
        known = {"feature_set": subject, "version": notice.incident.served} if subject in self.platform.catalog.contracts else {}
        _log.log(level, "%s", notice.text, extra=known)
        for channel in self.channels:
            try:
                channel.send(notice)
                taken = True
            except FeaturePlatformError as error:
                _log.error("%s", error)
        if notice.kind == "alert" and taken:
            self.incidents[key] = told(notice)
        if notice.kind == "recovery" and not taken:
            self.incidents[key] = notice.incident
        return taken
