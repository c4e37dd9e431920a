"""Loads of the online store: what is requested, what is decided and what is reported, as values and pure decisions.

Performing a load does not belong here (``adapters.online_store.redis_store``), nor the marker's form (``core.online.marker``).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.online.layout import ViewLayout, feature_key, timestamp_key
from feature_platform.core.online.marker import Basis, Marker, OnlineVersion
from feature_platform.errors import ConflictError, InvalidDataError

FULL_EVERY_S: Final = 7 * 86_400
"""Seconds after which a load writes every row again by default: that also overwrites values that others wrote to the store."""

EXPIRY_MARGIN_S: Final = 3_600
"""A load writes every row where Redis would drop keys within this many seconds, because a load may take as long."""

IDENTITY: Final = ("feature_set", "version", "schema_hash", "content_hash")
"""Keys of the Parquet file's own key-value metadata that a load compares."""


@dataclass(frozen=True, slots=True)
class OnlineLoad:
    """One published version that shall be exactly what is online.

    ``sequence`` is the number of the log record that made the version the head; it orders loads, so that a rollback is newer than what
    it replaces. ``open_features`` opens the version's immutable ``features.parquet`` (seekable; may be called more than
    once), ``open_earlier`` the same file of another version by its id, and raises :class:`NotFoundError` where it is gone.
    """

    contract: Contract
    project: str
    version: str
    sequence: int
    schema_hash: str
    content_hash: str
    open_features: Callable[[], BinaryIO]
    open_earlier: Callable[[str], BinaryIO]


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a finished load did.

    ``rows`` are those of the version, ``written`` those that were sent; ``removed`` are entities of earlier versions, ``swept`` such as a
    scan found. ``full_because`` says why all rows were sent, and is None where only those were that differ from what was online.
    """

    version: str
    sequence: int
    rows: int
    written: int
    removed: int
    swept: int
    marker: Marker
    full_because: str | None


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair saw: hashes of the project scanned, entities of the view that its version lacks and that were removed."""

    scanned: int
    removed: int
    marker: Marker


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What has to happen for the store to become exact.

    ``marker`` is written before the first entity. ``stale`` are earlier versions whose entities have to go unless the target has them;
    ``stale_fields`` are removed from each of those, ``obsolete_fields`` from every entity of the target. ``sweep`` asks for a scan of the
    whole keyspace, because nobody knows what is there.
    """

    marker: Marker
    stale: tuple[OnlineVersion, ...]
    stale_fields: tuple[bytes, ...]
    obsolete_fields: tuple[bytes, ...]
    sweep: bool


def online_version(request: OnlineLoad, layout: ViewLayout, *, row_count: int) -> OnlineVersion:
    """How the marker will call the version of a request."""
    return OnlineVersion(
        request.version, request.sequence, request.schema_hash, request.content_hash, row_count, layout.keys, layout.features
    )


def plan_load(marker: Marker | None, target: OnlineVersion, *, view: str, token: str, since: str) -> LoadPlan:
    """Decide how to make ``target`` exactly what is online.

    Args:
        marker: What the store says about itself; None where it says nothing, e.g. after it was flushed.
        token: The load's fencing token.
        since: Now, by the server's clock, ISO 8601.

    Raises:
        ConflictError: The store knows of a later record, or of another version under the same sequence number.
    """
    if marker is None:
        return LoadPlan(Marker("loading", target, since, token, swept=False), (), _fields(view, (target,)), (), sweep=True)
    _refuse_stale(marker, target, view)
    previous = marker.target if marker.state == "online" else marker.previous
    interrupted = () if marker.state == "online" else tuple(item for item in marker.leftovers if item != marker.previous)
    stale = tuple(item for item in marker.leftovers if (item.version, item.keys) != (target.version, target.keys))
    known = _fields(view, (target, *marker.leftovers))
    return LoadPlan(
        marker=Marker("loading", target, since, token, previous, interrupted, swept=marker.swept),
        stale=stale,
        stale_fields=known,
        obsolete_fields=tuple(field for field in known if field not in _fields(view, (target,))),
        sweep=not marker.swept,
    )


def reason_for_full(
    marker: Marker | None, target: OnlineVersion, *, servers: tuple[str, ...], now_ms: int, full_every_s: int
) -> str | None:
    """Why a load has to write every row, or None where it may write what differs from the version that the marker names.

    Args:
        servers: Run ids of the server processes now.
        now_ms: The server's clock, Unix time.
        full_every_s: Seconds after which every row is written again.
    """
    if marker is None:
        return "nothing says what is online"
    basis, online = marker.basis, marker.target
    if marker.state != "online" or not marker.swept or basis is None:
        return "what is online is in doubt" if marker.state == "online" else "the load before did not finish"
    age_ms, left_ms = now_ms - basis.full_at_ms, None if basis.expire_at_ms is None else basis.expire_at_ms - now_ms
    reasons = {
        "the contract changed": (online.schema_hash, online.keys, online.features) != (target.schema_hash, target.keys, target.features),
        "a server was restarted or replaced": basis.servers != servers,
        f"the last full load was {age_ms // 3_600_000} hours ago": age_ms >= full_every_s * 1000,
        "keys are about to expire": left_ms is not None and left_ms < EXPIRY_MARGIN_S * 1000,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def finished(marker: Marker, *, since: str, basis: Basis) -> Marker:
    """The marker of a load whose every row was acknowledged."""
    return replace(marker, state="online", since=since, previous=None, interrupted=(), swept=True, basis=basis)


def require_identity(found: dict[str, str], version: OnlineLoad | OnlineVersion, *, feature_set: str) -> None:
    """Refuse a file that is not the version it was asked for, by its key-value metadata, so that two versions never mix.

    Raises:
        InvalidDataError: With one sentence for each difference.
    """
    expected = dict(zip(IDENTITY, (feature_set, version.version, version.schema_hash, version.content_hash), strict=True))
    faults = [f"{name}: expected {value!r}, found {found.get(name)!r}" for name, value in expected.items() if found.get(name) != value]
    if faults:
        raise InvalidDataError(f"features.parquet of {feature_set} {version.version} is another file:", faults)


def require_repairable(marker: Marker | None, request: OnlineLoad) -> Marker:
    """The marker, where it says that the version of a request is online; anything else would make a repair remove what is right.

    Raises:
        ConflictError: Another version is online, none is, or the last load did not finish.
    """
    if marker is not None and marker.state == "online" and marker.target.version == request.version:
        return marker
    found = f"{marker.state} {marker.target.version}" if marker else "no marker"
    raise ConflictError(
        f"{request.contract.feature_set}: cannot repair {request.version}, the online store holds: {found}. Load the version first."
    )


def _refuse_stale(marker: Marker, target: OnlineVersion, view: str) -> None:
    known = marker.newest_sequence
    if target.sequence < known:
        raise ConflictError(
            f"{view}: {target.version} was published as record {target.sequence}, but the online store already knows record {known}. "
            "Read the head of the log again and load that."
        )
    others = [item.version for item in marker.leftovers if item.sequence == target.sequence and item.version != target.version]
    if others:
        raise ConflictError(
            f"{view}: record {target.sequence} is {others[0]} to the online store, but {target.version} to this load. "
            "One of them reads another log: check FEATURE_PLATFORM_FEATURE_BASE and the Redis database of this environment."
        )


def _fields(view: str, versions: tuple[OnlineVersion, ...]) -> tuple[bytes, ...]:
    names = dict.fromkeys(name for version in versions for name, _ in version.features)
    return (timestamp_key(view), *(feature_key(view, name) for name in names))
