"""Which version of a feature set was known at a moment, decided from the log alone. Reading versions does not belong here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from feature_platform.core.versions.log import History, Record, Version

KnownAt = Literal["publication", "event"]
"""``publication``: the version that was published at that moment. ``event``: what was true at that moment, as it is known today."""


@dataclass(frozen=True, slots=True)
class Known:
    """This version was known from ``since`` on, until the next entry begins."""

    since: datetime
    version: str


def timeline(history: History, *, known_at: KnownAt) -> tuple[Known, ...]:
    """The version of a feature set that was known at each time, oldest first; before the first entry nothing was known.

    Args:
        known_at: By publication, the head of each moment: promotions and rollbacks in the log's order, at the times in their records.
            By event, for every as-of moment the version that was committed last, corrections of today included; versions that a rollback
            replaced are left out, because a person judged them wrong.
    """
    found: list[Known] = []
    for known in _published(history) if known_at == "publication" else _true(history):
        # A later record holds from its own time on, even where its author's clock was behind that of the record before.
        while found and found[-1].since >= known.since:
            found.pop()
        found.append(known)
    return tuple(found)


def between(known: Sequence[Known], oldest: datetime, newest: datetime) -> tuple[Known, ...]:
    """The entries of a timeline that were known at any moment of a closed interval."""
    begun = [entry for entry in known if entry.since <= newest]
    first = max((place for place, entry in enumerate(begun) if entry.since <= oldest), default=0)
    return tuple(begun[first:])


def _published(history: History) -> Iterator[Known]:
    for record in _moves(history):
        # A version is never known before its as-of moment, even where the clock of its author was behind.
        yield Known(max(record.at, history.versions[record.version].as_of), record.version)


def not_withdrawn(history: History) -> list[Version]:
    """Versions that no rollback replaced, expired ones included: by their moments, and those of one moment as they were committed."""
    wrong = _withdrawn(history)
    return sorted((version for version in history.versions.values() if version.version not in wrong), key=lambda version: version.order)


def _true(history: History) -> list[Known]:
    newest = {version.as_of: version.version for version in not_withdrawn(history)}
    return [Known(moment, version) for moment, version in newest.items()]


def _withdrawn(history: History) -> set[str]:
    """Versions between the target of a rollback and the head that it left, unless one became the head again afterwards."""
    wrong: set[str] = set()
    head: Version | None = None
    for record in _moves(history):
        target = history.versions[record.version]
        if record.op == "rollback" and head is not None:
            passed = [v for v in history.versions.values() if target.order < v.order <= head.order and v.sequence < record.seq]
            wrong |= {version.version for version in passed}
        wrong.discard(target.version)
        head = target
    return wrong


def _moves(history: History) -> Iterator[Record]:
    return (record for record in history.records if record.op in {"promote", "rollback"})
