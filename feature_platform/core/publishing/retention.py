"""Pins and garbage collection: which versions are kept, and how others are deleted without harm to a reader.

A version is deleted only after an irreversible ``expire`` record, a grace period, and a look at its pins *after* that record. A pin is
valid only if the version had not expired when the log is read *after* the pin was written. So of a pin and an expiry at the same time, one
always sees the other. Files of crashed builds are deleted in the same way: their id is expired first, so a builder that was frozen cannot
commit files that were deleted. Moving latest does not belong here (``core.publishing.publication``).
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast

from feature_platform.core.layout import CSV, METADATA, PARQUET, SAFE_PIN, SCHEMA, FeatureSetLayout, version_moment
from feature_platform.core.objects import IfAbsent, ObjectInfo
from feature_platform.core.publishing import decisions
from feature_platform.core.publishing.log_access import append, read_history, settle
from feature_platform.core.publishing.publication import Author
from feature_platform.core.publishing.requests import Delete, PublishingProtocol, Put, Scan, Wait
from feature_platform.core.versions.log import History
from feature_platform.errors import ConflictError, InvalidDataError, NotFoundError, UnknownNameError

DELETE_ORDER: Final = (METADATA, SCHEMA, CSV, PARQUET)
"""Metadata first: a directory without it is no version to anybody."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What retention keeps: the newest ``keep_newest`` versions and all that were committed within ``keep_days`` of now.

    Age is counted from the commit: a version of an old day that was backfilled a minute ago is not old.
    """

    keep_newest: int = 14
    keep_days: int = 30
    grace_s: float = 900.0
    leftover_age: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One version id that may be deleted, and why."""

    version: str
    reason: str
    objects: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """The outcome of a collection: what was deleted, and what was spared at the last look."""

    deleted: tuple[Candidate, ...]
    spared: Mapping[str, str]


def pin(layout: FeatureSetLayout, *versions: str, name: str, author: Author) -> PublishingProtocol[bool]:
    """Keep versions until they are unpinned; False when every pin existed already. The log is read twice, however many there are.

    Raises:
        NotFoundError: One was never committed or has expired, possibly while it was being pinned; no pin of this call is left.
        InvalidDataError: The pin's name is not safe in a key.
    """
    if not SAFE_PIN.fullmatch(name):
        raise InvalidDataError(f"Pin name {name!r} is not allowed; expected letters, digits, '.', '_' and '-', at most 100.")
    before = yield from read_history(layout)
    for version in versions:
        decisions.committed(before, version)
    fresh: list[str] = []
    for version in versions:
        told = {"version": version, "pin": name, "actor": author.actor, "reason": author.reason, "at": author.at.isoformat()}
        if (yield from settle(Put(layout.pin(version, name), json.dumps(told).encode(), author.new_id(), IfAbsent()))):
            fresh.append(version)
    after = yield from read_history(layout)
    lost = [version for version in versions if version in after.expired]
    if lost:
        for version in fresh:
            yield Delete(layout.pin(version, name))
        raise NotFoundError(f"Version {lost[0]} expired while it was being pinned; its files may be gone. Choose another version.")
    return bool(fresh)


def unpin(layout: FeatureSetLayout, version: str, *, name: str) -> PublishingProtocol[None]:
    """Remove a pin.

    Raises:
        UnknownNameError: There is no such pin.
    """
    pins = yield from list_pins(layout, version=version)
    if name not in pins.get(version, ()):
        known = ", ".join(pins.get(version, ())) or "none"
        raise UnknownNameError(f"Version {version} has no pin {name!r}; it has: {known}.")
    yield Delete(layout.pin(version, name))


def list_pins(layout: FeatureSetLayout, *, version: str | None = None) -> PublishingProtocol[dict[str, tuple[str, ...]]]:
    """Pin names by version, of one version or of all."""
    prefix = layout.pins_of(version) if version else layout.pins
    pins: dict[str, tuple[str, ...]] = {}
    for info in cast("tuple[ObjectInfo, ...]", (yield Scan(prefix))):
        pinned, _, name = info.uri.removeprefix(layout.pins).partition("/")
        pins[pinned] = (*pins.get(pinned, ()), name.removesuffix(".json"))
    return pins


def plan(
    history: History,
    objects: Collection[ObjectInfo],
    *,
    layout: FeatureSetLayout,
    pins: Mapping[str, tuple[str, ...]],
    protected: Collection[str],
    policy: Policy,
    now: datetime,
) -> list[Candidate]:
    """What may be deleted, oldest first: versions beyond the policy, the remains of expired ones, and leftovers of crashed builds.

    Args:
        objects: Every object below the feature set's root.
        protected: Versions that something outside the log names, e.g. the online marker.
        now: The moment that ages are measured to, UTC.
    """
    directories: dict[str, list[ObjectInfo]] = {}
    for info in objects:
        version = layout.version_of(info.uri)
        # Objects of others stay where they are: counted, they would make a deleted version a candidate for ever.
        if version and info.uri in {layout.version_file(version, name) for name in DELETE_ORDER}:
            directories.setdefault(version, []).append(info)
    newest = {v.version for v in history.live[-policy.keep_newest :]} if policy.keep_newest else set()
    head = {history.head.version} if history.head else set()
    kept = newest | head | set(protected) | set(pins)
    kept |= {v.version for v in history.live if v.committed_at > now - timedelta(days=policy.keep_days)}
    candidates = []
    for version, infos in sorted(directories.items(), key=lambda item: version_moment(item[0])):
        if version in pins:
            continue
        if version in history.expired:
            reason = "expired earlier, not deleted yet"
        elif version not in history.versions:
            if max(info.modified_at for info in infos) > now - policy.leftover_age:
                continue
            reason = "left by a build that never committed"
        elif version in kept:
            continue
        else:
            reason = f"beyond the newest {policy.keep_newest} and committed more than {policy.keep_days} days ago"
        candidates.append(Candidate(version, reason, tuple(i.uri for i in infos), sum(i.size_bytes for i in infos)))
    return candidates


def survey(layout: FeatureSetLayout, *, protected: Collection[str], policy: Policy, now: datetime) -> PublishingProtocol[list[Candidate]]:
    """Read the objects, pins and log, and plan; writes nothing. A dry run shows this."""
    objects = cast("tuple[ObjectInfo, ...]", (yield Scan(layout.root)))
    pins = yield from list_pins(layout)
    history = yield from read_history(layout)
    return plan(history, objects, layout=layout, pins=pins, protected=protected, policy=policy, now=now)


def collect(
    layout: FeatureSetLayout, *, protected: Callable[[], Collection[str]], policy: Policy, author: Author
) -> PublishingProtocol[Sweep]:
    """Expire what the plan names, wait the grace, look at pins and marker again, then delete.

    Args:
        protected: Reads, each time anew, the versions that something outside the log names.
        policy: What to keep, and the grace in seconds.
        author: Who collects; ``author.at`` is now.
    """
    candidates = yield from survey(layout, protected=protected(), policy=policy, now=author.at)
    spared: dict[str, str] = {}
    for candidate in candidates:
        if refusal := (yield from _expire(layout, candidate, author=author)):
            spared[candidate.version] = refusal
    if len(spared) == len(candidates):
        return Sweep((), spared)
    yield Wait(policy.grace_s)
    pins, named, deleted = (yield from list_pins(layout)), set(protected()), []
    for candidate in candidates:
        if candidate.version in spared:
            continue
        if candidate.version in pins:
            spared[candidate.version] = f"pinned meanwhile ({', '.join(pins[candidate.version])})"
        elif candidate.version in named:
            spared[candidate.version] = "named meanwhile by what is online, or by a version that was computed from it"
        else:
            for name in DELETE_ORDER:
                yield Delete(layout.version_file(candidate.version, name))
            deleted.append(candidate)
    return Sweep(tuple(deleted), spared)


def _expire(layout: FeatureSetLayout, candidate: Candidate, *, author: Author) -> PublishingProtocol[str | None]:
    """Append the expire record unless latest names the version by then; answers why not, or None."""
    while True:
        history = yield from read_history(layout)
        if candidate.version in history.expired:
            return None
        try:
            decisions.check_expirable(history, candidate.version)
        except ConflictError as error:
            return str(error)
        if candidate.version in history.versions and candidate.reason.startswith("left by"):
            return "committed meanwhile"
        record = author.record(history, "expire", candidate.version, as_of=version_moment(candidate.version), reason=candidate.reason)
        if (yield from append(layout, record, after=history)) is not None:
            return None


def describe(candidate: Candidate) -> dict[str, Any]:
    """A candidate as JSON values."""
    return {"version": candidate.version, "reason": candidate.reason, "objects": len(candidate.objects), "bytes": candidate.size_bytes}
