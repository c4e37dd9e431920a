"""Objects in a store as values: what a store says of one, its bytes, and the conditions of a write. Keys belong in ``core.layout``."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored object as its store describes it.

    ``write_id`` and ``sha256`` are user metadata that the platform's own writes set; upstream objects have neither, and a listing
    carries neither.
    """

    uri: str
    etag: str
    size_bytes: int
    modified_at: datetime
    write_id: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One whole object: its description and its bytes, from one read."""

    info: ObjectInfo
    body: bytes


@dataclass(frozen=True, slots=True)
class IfAbsent:
    """Write only where no object exists (``If-None-Match: *``)."""


@dataclass(frozen=True, slots=True)
class IfMatch:
    """Write only over the object that has this ETag (``If-Match``)."""

    etag: str


Condition = IfAbsent | IfMatch | None
