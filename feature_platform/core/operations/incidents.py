"""Incidents: people are told of a lasting problem once, and once more when it is over. Pure; sending belongs to ``use_cases.watch``."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Self

from feature_platform.core.operations.health import Problem

PASSING: Final = timedelta(seconds=45)
"""How long a problem must last before people are told: one that is gone at the next look is ignored."""

_MENDING: Final = {
    **dict.fromkeys(("online_differs", "load_unfinished", "latest_differs"), timedelta(minutes=15)),
    **dict.fromkeys(("stale_versions", "stale_latest", "stale_online", "never_built"), timedelta(hours=1)),
}
"""Longer times for problems that end by themselves: those that every run causes for a while, and those that the raw data sensor mends."""

_LOOKED_AT_ALONE: Final = frozenset({"online", "registry", "latest"})
"""Parts of a feature set that can be unreachable without hiding problems of other parts."""


@dataclass(frozen=True, slots=True)
class Incident:
    """A problem, since when it has been seen, and when people were told of it (None where they were not)."""

    problem: Problem
    since: datetime
    served: str | None = None
    alerted_at: datetime | None = None

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "since": self.since.isoformat(), "alerted_at": self.alerted_at and self.alerted_at.isoformat()}

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`document`.

        Raises:
            KeyError, TypeError, ValueError: It is none.
        """
        alerted = document["alerted_at"]
        return cls(
            Problem(**document["problem"]),
            datetime.fromisoformat(document["since"]),
            document["served"],
            datetime.fromisoformat(alerted) if alerted else None,
        )


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to people: an incident has begun, or is over."""

    kind: Literal["alert", "recovery"]
    incident: Incident
    at: datetime

    @property
    def text(self) -> str:
        problem, since = self.incident.problem, f"{self.incident.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        if self.kind == "recovery":
            return f"[recovered] {problem.subject}: it was {problem.told}. It lasted from {since} to {self.at.astimezone(UTC):%H:%M} UTC."
        served = (
            f" Readers get {self.incident.served}."
            if self.incident.served
            else " Readers get nothing."
            if problem.state == "failing"
            else ""
        )
        link = f" {problem.link}" if problem.link else ""
        level = "warning" if problem.state == "healthy" else problem.state
        return f"[{level}] {problem.subject}: {problem.told}, since {since}.{served} {problem.remedy}{link}"

    def document(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "incident_key": self.incident.problem.key,
            "text": self.text,
            "at": self.at.isoformat(),
            **self.incident.document(),
        }


def observe(
    known: Mapping[str, Incident], problems: Sequence[tuple[Problem, str | None]], *, blind: Set[str], now: datetime
) -> tuple[dict[str, Incident], list[Notice]]:
    """The incidents after a look, and the notices to send.

    Args:
        known: Incidents by key, as they were after the look before.
        problems: The problems that this look found, each with the version that readers get.
        blind: What this look could not see, as ``subject`` or ``subject/part``: incidents of it stay as they are.

    Returns:
        The incidents now, and the notices. An alert that was sent must be marked by :func:`told`; one that was not is returned again.
        A recovery belongs to an incident that is no longer among those returned.
    """
    found = {problem.key: (problem, served) for problem, served in problems}
    kept = {key: incident for key, incident in known.items() if key in found or not blind.isdisjoint(_places(incident.problem))}
    ended = [incident for key, incident in known.items() if key not in kept and incident.alerted_at is not None]
    for key, (problem, served) in found.items():
        before = kept.get(key)
        kept[key] = replace(before, problem=problem, served=served) if before else Incident(problem, now, served)
    lasting = [
        incident for incident in kept.values() if incident.alerted_at is None and now - incident.since >= _patience(incident.problem)
    ]
    return kept, [*(Notice("recovery", each, now) for each in ended), *(Notice("alert", each, now) for each in lasting)]


def told(notice: Notice) -> Incident:
    """The incident of an alert that was sent."""
    return replace(notice.incident, alerted_at=notice.at)


def unseen(problem: Problem) -> str | None:
    """The place that a problem hides from the look, as ``blind`` of :func:`observe`; None for a problem that hides nothing."""
    if problem.code not in {"unreachable", "orchestrator_unreachable", "location_broken"}:
        return None
    return f"{problem.subject}/{problem.part}" if problem.part in _LOOKED_AT_ALONE else problem.subject


def _places(problem: Problem) -> set[str]:
    return {problem.subject, f"{problem.subject}/{problem.part}"}


def _patience(problem: Problem) -> timedelta:
    return _MENDING.get(problem.code, PASSING)
