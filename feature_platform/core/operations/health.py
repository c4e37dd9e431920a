"""The state of a feature set over its whole path, raw to online: which findings make it late, degraded or failing.

A state says what readers notice. Looking does not belong here (``use_cases.health``), nor telling people of it (``incidents``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from feature_platform.core.deviation import CheckResult
from feature_platform.core.operations import LATE_AFTER_H
from feature_platform.core.versions.findings import Code, Finding

State = Literal["healthy", "late", "degraded", "failing"]
STATES: Final[tuple[State, ...]] = ("healthy", "late", "degraded", "failing")
"""From good to bad.

``healthy`` is also what a check that only warns leaves it: worth knowing, and no reason to get up. ``late``: readers get a whole, old
version, or wait for the first one. ``degraded``: what they get is right as published, and something beside it is not as it must be.
``failing``: they get nothing, or what was not published.
"""

LATE_AFTER: Final = timedelta(hours=LATE_AFTER_H)
"""How long after a day's end its version may become latest."""

_DAY: Final = timedelta(days=1)
_FAILING: Final[frozenset[Code]] = frozenset({"not_online", "mismatched", "missing", "extra", "not_applied", "features_differ"})
_LATE: Final[frozenset[Code]] = frozenset({"not_committed", "not_promoted", "held_back", "never_built"})


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps a subject from being healthy, or that is worth knowing (state ``healthy``).

    ``subject`` is a feature set, or ``dagster``; ``code`` is a finding's, or one of :data:`OTHER_CODES`; ``part`` tells problems of one
    code apart. ``link`` leads to a page about it.
    """

    subject: str
    code: str
    part: str
    state: State
    told: str
    remedy: str
    link: str | None = None

    @property
    def key(self) -> str:
        """Identifies the problem as long as it lasts."""
        return f"{self.subject}/{self.code}/{self.part}"


OTHER_CODES: Final = (
    "late",
    "orchestrator_unreachable",
    "daemon_dead",
    "location_broken",
    "schedule_off",
    "schedule_missed",
    "run_stuck",
    "run_failed",
)
"""Codes of problems that are not a :class:`Finding`."""


@dataclass(frozen=True, slots=True)
class Health:
    """A feature set's state, why, which version readers get meanwhile (None where that is none, or unknown), and the checks of latest."""

    feature_set: str
    problems: tuple[Problem, ...]
    served: str | None
    as_of: datetime | None
    checks: tuple[CheckResult, ...] = ()

    @property
    def state(self) -> State:
        """The worst of its problems."""
        return max((problem.state for problem in self.problems), key=STATES.index, default="healthy")

    @property
    def why(self) -> str:
        """What is wrong, all of it; empty where nothing is."""
        return "; ".join(problem.told for problem in self.problems)

    def row(self) -> dict[str, Any]:
        remedies = dict.fromkeys(problem.remedy for problem in self.problems)
        shown = {"feature_set": self.feature_set, "state": self.state, "online": self.served, "as_of": self.as_of}
        return {**shown, "why": self.why or None, "remedy": " ".join(remedies) or None}


def problems_of(feature_set: str, findings: Sequence[Finding]) -> list[Problem]:
    """Findings as problems of a feature set, each with the state it means."""
    return [
        Problem(feature_set, finding.code, finding.file, _state(finding), f"{finding.file}: {finding.sentence}", finding.remedy)
        for finding in findings
    ]


def lateness(feature_set: str, as_of: datetime | None, *, now: datetime, late_after: timedelta = LATE_AFTER) -> list[Problem]:
    """The problem that latest should be of a newer day, if it should: its as-of moment decides, not the time of the last build."""
    if as_of is None or now - as_of <= _DAY + late_after:
        return []
    due = as_of + _DAY + late_after
    told = f"latest is as of {as_of:%Y-%m-%d %H:%M} UTC; the version as of the next day was due by {due:%Y-%m-%d %H:%M} UTC"
    remedy = (
        "See the runs of that day and whether its raw objects arrived: `feature-platform status`, then `feature-platform refresh --plan`."
    )
    return [Problem(feature_set, "late", "latest", "late", told, remedy)]


def _state(finding: Finding) -> State:
    if finding.code in _FAILING or (finding.code == "unreachable" and finding.file == "online"):
        return "failing"
    return "healthy" if finding.code == "warned" else "late" if finding.code in _LATE else "degraded"
