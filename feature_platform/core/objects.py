"""Objects in a store as values: what a store says of one, its bytes, and the conditions of a write. Keys belong in ``core.layout``."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from feature_platform.errors import InvalidDataError

Writes = Callable[[BinaryIO], object]
"""A function that writes the bytes of an object into a sink."""

Content = bytes | Path | Writes
"""The bytes of an object: in memory, in a local file, or written when they are wanted."""


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


def require_sha256(uri: str, found: str, *, expected: str | None) -> None:
    """What is about to become an object has the digest that it must have, if any.

    Raises:
        InvalidDataError: It has another one.
    """
    if expected not in (None, found):
        raise InvalidDataError(f"{uri} was not written: its bytes have SHA-256 {found}, expected {expected}. Run again.")


Condition = IfAbsent | IfMatch | None
