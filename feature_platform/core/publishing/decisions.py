"""What may happen to a feature set, decided from its history alone: reuse, name, promote, roll back, expire.

Reading and writing do not belong here (``core.publishing.publication``, ``core.publishing.retention``).
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from feature_platform.core.layout import version_id
from feature_platform.core.versions.log import Head, History, Version
from feature_platform.errors import ConflictError, NotFoundError, UnknownNameError


def existing_version(
    history: History, *, moment: datetime, idempotency_key: str, schema_hash: str, content_hash: str, broken: Collection[str] = ()
) -> Version | None:
    """The committed version that a build need not write again, if there is one; it is none of ``broken``.

    That is the one this very run committed before, or the moment's newest when its contract and rows are the same. An *older*
    correction with the same rows is not enough: the truth went A → B → A, and reusing the first A would leave B in force. That holds
    where B itself is broken too.
    """
    newest = history.newest_of(moment)
    for version in history.live:
        is_of_run = version.idempotency_key == idempotency_key and version.as_of == moment
        is_same = version == newest and (version.schema_hash, version.content_hash) == (schema_hash, content_hash)
        if (is_of_run or is_same) and version.version not in broken:
            return version
    return None


def next_version_id(history: History, *, moment: datetime, taken: Collection[str] = ()) -> str:
    """The first free id of a moment: the moment itself, then second by second for its corrections."""
    used = {*history.versions, *history.expired, *taken}
    second = moment
    while version_id(second) in used:
        second += timedelta(seconds=1)
    return version_id(second)


def committed(history: History, version: str) -> Version:
    """A committed version that has not expired.

    Raises:
        UnknownNameError: It was never committed, or has expired.
    """
    found = history.versions.get(version)
    if found is None:
        known = ", ".join(v.version for v in history.live[-5:]) or "none"
        raise UnknownNameError(f"Version {version!r} was never committed; the newest are: {known}.")
    if found.is_expired:
        raise UnknownNameError(f"Version {version!r} has expired and its files may be gone; choose one that `versions list` shows.")
    return found


def head_of(history: History, feature_set: str) -> Head:
    """The head, where there is one.

    Raises:
        NotFoundError: Nothing was promoted yet.
    """
    if history.head is None:
        raise NotFoundError(f"{feature_set} has no latest yet; materialize {feature_set} and {feature_set}_latest first.")
    return history.head


def readable(history: History, version: str, *, pins: Collection[str]) -> Version:
    """A committed version that may be read: one that has not expired, or one that a pin has kept.

    A pin can be written while its version expires. It then keeps the files, and whoever wrote it reads on; latest never moves there.

    Raises:
        UnknownNameError: It was never committed, or has expired unpinned.
    """
    found = history.versions.get(version)
    return found if found is not None and found.is_expired and pins else committed(history, version)


def refusal_to_promote(history: History, version: str) -> str | None:
    """Why latest does not move to a version, or None when it may.

    Latest moves only forward: to a later moment, or to a later commit of the same moment. After a rollback it moves only beyond the
    moment that was rolled back from, so that the next scheduled rebuild of that moment does not undo a person's decision.
    """
    candidate = committed(history, version)
    current = history.head_version
    if current is None or history.head is None or history.floor is None:
        return None
    if history.head.version == version:
        return None
    if history.floor.is_held and candidate.as_of <= history.floor.as_of:
        return (
            f"latest was rolled back to {current.version}; until a moment after {history.floor.as_of.isoformat()} is built, "
            f"only a rollback by name moves it to {version}"
        )
    if not history.floor.is_held and candidate.order < current.order:
        return f"latest is {current.version}, which is newer than {version}; a backfill does not move it back"
    return None


def newest_promotable(history: History) -> list[Version]:
    """Versions that may become latest, best first; the head itself is not among them."""
    head = history.head.version if history.head else None
    return [v for v in reversed(history.live) if v.version != head and refusal_to_promote(history, v.version) is None]


def check_expirable(history: History, version: str) -> None:
    """Refuse to expire what latest names.

    Raises:
        ConflictError: The version is the head.
    """
    if history.head and history.head.version == version:
        raise ConflictError(f"Version {version} is latest; it cannot expire. Move latest first.")
