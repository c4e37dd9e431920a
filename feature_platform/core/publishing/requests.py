"""The requests that the pure protocols make of an object store, and their answers: values only.

A protocol (``publication``, ``retention``) is a generator that yields these requests and is sent their answers, so the very same code
runs against S3, against memory and inside a deterministic simulator. Performing a request does not belong here.

Every answer may instead be an exception thrown into the generator: :class:`ConflictError` when a precondition failed,
:class:`StorageError` when the outcome is not known.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

from feature_platform.core.objects import Condition, Content
from feature_platform.core.versions.log import History


@dataclass(frozen=True, slots=True)
class CopyOf:
    """A body that is the bytes of another object, read whole and checked against ``sha256`` before it is written.

    ``padding`` is inserted before the footer of a Parquet file, where no reader looks: the same pages under new bytes. ``size_bytes`` of
    the other object are known where the log names it.
    """

    uri: str
    sha256: str
    padding: bytes | None = None
    size_bytes: int = 0


Body = Content | CopyOf
"""Bytes, or another object."""


@dataclass(frozen=True, slots=True)
class HeadObject:
    """Ask for :class:`ObjectInfo`, or None where there is no object."""

    uri: str


@dataclass(frozen=True, slots=True)
class GetObject:
    """Ask for a :class:`StoredObject`, or None where there is no object."""

    uri: str


@dataclass(frozen=True, slots=True)
class GetImmutable:
    """Ask for the bodies of objects that never change (log records), in order; a performer may read them in parallel."""

    uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scan:
    """Ask for the :class:`ObjectInfo` of every object below a prefix, in key order (strongly consistent, as S3 is).

    ``after`` leaves out every object up to and including that URI in the order of keys.
    """

    prefix: str
    after: str = ""


@dataclass(frozen=True, slots=True)
class Recall:
    """Ask for the :class:`History` of a log that this process remembers, or None."""

    log: str


@dataclass(frozen=True, slots=True)
class Remember:
    """Have this process remember the :class:`History` of a log: what it read once never changes."""

    log: str
    history: History


@dataclass(frozen=True, slots=True)
class Put:
    """Write one object under a condition; answered with the new ETag.

    ``write_id`` is unique to this write, so that its author can recognise it after a lost answer. ``sha256`` is the body's digest where
    it is known already.
    """

    uri: str
    body: Body
    write_id: str
    condition: Condition
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove one object; removing an absent one is not an error."""

    uri: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Let a grace period pass."""

    seconds: float


ResultT = TypeVar("ResultT")
PublishingProtocol = Generator[object, object, ResultT]
"""A pure protocol: yields requests (these, and its own such as ``publication.Prepare``), is sent answers, returns a result.

Not ``typing.Protocol``, which is an interface.
"""
