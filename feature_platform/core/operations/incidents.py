"""Incidents: a problem that lasts is told once, and once more when it is over. Pure; sending does not belong here (``use_cases.watch``)."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Self

from feature_platform.core.operations.health import Problem

PASSING: Final = timedelta(seconds=45)
"""A problem that is seen in one look and not in the next was none."""

_MENDING: Final = {
    **dict.fromkeys(("online_differs", "load_unfinished", "latest_differs"), timedelta(minutes=15)),
    **dict.fromkeys(("stale_versions", "stale_latest", "stale_online", "never_built"), timedelta(hours=1)),
}
"""What every run passes through on its way, and what the sensor of changed raw data mends by itself, may take as long as that takes."""

_LOOKED_AT_ALONE: Final = frozenset({"online", "registry", "latest"})
"""Parts of a feature set whose absence hides no other part's problems."""


@dataclass(frozen=True, slots=True)
class Incident:
    """A problem since it was first seen; ``alerted_at`` is None while nobody was told."""

    problem: Problem
    since: datetime
    served: str | None = None
    alerted_at: datetime | None = None

    def document(self) -> dict[str, Any]:
        """As JSON values."""
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
    """What people are told: that an incident began, or that it is over."""

    kind: Literal["alert", "recovery"]
    incident: Incident
    at: datetime

    @property
    def text(self) -> str:
        """One paragraph for people."""
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
        """The same for programs; ``incident_key`` is what alerting services group by."""
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
    """What one look changes.

    Args:
        known: Incidents by key, as the look before left them.
        problems: What this look found, each with the version that readers get.
        blind: What this look could not see, as ``subject`` or ``subject/part``: incidents of it stay as they are.
        now: When.

    Returns:
        The incidents now, and what is to be told. An alert that was told must be marked by :func:`told`; one that was not comes again.
        A recovery is told of incidents that are gone from the first.
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
    """What a problem says could not be looked at, as :func:`observe` takes it; None where it says no such thing."""
    if problem.code not in {"unreachable", "orchestrator_unreachable", "location_broken"}:
        return None
    return f"{problem.subject}/{problem.part}" if problem.part in _LOOKED_AT_ALONE else problem.subject


def _places(problem: Problem) -> set[str]:
    return {problem.subject, f"{problem.subject}/{problem.part}"}


def _patience(problem: Problem) -> timedelta:
    return _MENDING.get(problem.code, PASSING)
