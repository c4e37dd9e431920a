"""The marker of a feature view in the online store, which says which version it serves, and the keys that guard its loads.

These keys lie beside Feast's hashes, never in them. Reading and writing does not belong here (``adapters.online_store.redis_store``).

The marker of a view has two states. ``loading`` is written before the first entity is touched and keeps everything a successor needs to
make the store exact again: what was online, and every version whose load began since. ``online`` is written after the last entity was
acknowledged. So a marker may say ``loading`` of a load that has finished (its writer died before the last write), but never ``online`` of
one that has not.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from feature_platform.core.online.layout import ViewLayout
from feature_platform.errors import InvalidDataError

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class OnlineVersion:
    """One published version as the online store knows it.

    ``sequence`` is the number of the log record that made it the head: a rollback to an older version has a higher one.
    ``keys`` and ``features`` are (column, contract type); a successor needs them to remove what a contract no longer names.
    """

    version: str
    sequence: int
    schema_hash: str
    content_hash: str
    row_count: int
    keys: tuple[tuple[str, str], ...]
    features: tuple[tuple[str, str], ...]

    def layout(self, current: ViewLayout) -> ViewLayout:
        """The layout this version was written in."""
        return ViewLayout(current.project, current.view, self.keys, self.features, current.timestamp_field)


@dataclass(frozen=True, slots=True)
class Basis:
    """The facts by which a later load may write only what differs.

    ``servers`` are the run ids of the server processes that hold the rows, ``full_at_ms`` is when every row was last written, and
    ``expire_at_ms`` when the server drops the first key of the view, None for never (both the server's clock, Unix time).
    """

    servers: tuple[str, ...]
    full_at_ms: int
    expire_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Marker:
    """The state of one view.

    ``target`` is what is online, or what is being loaded. ``since`` is the server's clock (ISO 8601, UTC) when that state began.
    ``token`` names the load that wrote the marker. ``previous`` and ``interrupted`` are what a ``loading`` state may have left behind;
    ``swept`` is False while the store may hold keys that no known version wrote. ``basis`` is None where the next load must write all rows.
    """

    state: Literal["loading", "online"]
    target: OnlineVersion
    since: str
    token: str
    previous: OnlineVersion | None = None
    interrupted: tuple[OnlineVersion, ...] = ()
    swept: bool = True
    basis: Basis | None = None

    @property
    def newest_sequence(self) -> int:
        """The highest log sequence that this store has heard of; a load of a lower one is stale."""
        return max(version.sequence for version in (self.target, self.previous, *self.interrupted) if version)

    @property
    def leftovers(self) -> tuple[OnlineVersion, ...]:
        """Versions whose entities may be in the store."""
        if self.state == "online":
            return (self.target,)
        known = (*((self.previous,) if self.previous else ()), *self.interrupted, self.target)
        return tuple({(item.version, item.keys, item.features): item for item in known}.values())


def encode_marker(marker: Marker) -> bytes:
    """The marker as JSON, one line."""
    return json.dumps({"format": FORMAT, **asdict(marker)}, separators=(",", ":"), ensure_ascii=False).encode()


def decode_marker(raw: bytes) -> Marker:
    """The marker that :func:`encode_marker` wrote.

    Raises:
        InvalidDataError: It is not such a document, or of another format.
    """
    try:
        document = json.loads(raw)
        return Marker(
            **{
                **_of_known_format(document),
                "target": _version(document["target"]),
                "previous": _version(document["previous"]) if document["previous"] else None,
                "interrupted": tuple(_version(item) for item in document["interrupted"]),
                "basis": _basis(document.get("basis")),
            }
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidDataError(
            f"The online marker {raw[:80]!r} is not one of format {FORMAT}; remove it and load again: that rebuilds the view by a scan."
        ) from error


def marker_key(project: str, view: str) -> bytes:
    """The key of a view's marker.

    >>> marker_key("feature_store_local", "user_features")
    b'feature_platform:{feature_store_local:user_features}:marker'
    """
    return _key(project, view, "marker")


def lease_key(project: str, view: str) -> bytes:
    """The key that holds the token of the running load; Redis drops it when that load stops renewing it."""
    return _key(project, view, "lease")


def fence_key(project: str, view: str) -> bytes:
    """The key that holds the token of the newest load; every chunk of a load is conditional on it."""
    return _key(project, view, "fence")


def retention_key(project: str, prefix: bytes) -> bytes:
    """The key of a hash, view → seconds: how long each view of one entity (its key prefix) needs the entity's keys to be kept."""
    return b"feature_platform:{" + project.encode() + b":" + prefix.hex().encode() + b"}:retention"


def _key(project: str, view: str, role: str) -> bytes:
    return f"feature_platform:{{{project}:{view}}}:{role}".encode()


def _of_known_format(document: dict[str, Any]) -> dict[str, Any]:
    if document.pop("format") != FORMAT:
        raise ValueError("another format")
    return document


def _basis(document: dict[str, Any] | None) -> Basis | None:
    return None if document is None else Basis(**{**document, "servers": tuple(str(item) for item in document["servers"])})


def _version(document: dict[str, Any]) -> OnlineVersion:
    pairs = {name: tuple((str(column), str(kind)) for column, kind in document[name]) for name in ("keys", "features")}
    return OnlineVersion(**{**document, **pairs})
