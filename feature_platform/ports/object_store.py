"""The object store port: an S3-like store of whole objects. What is stored does not belong here."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from feature_platform.core.objects import Condition, Content, ObjectInfo, StoredObject


class ObjectStore(Protocol):
    """An S3-like object store, addressed by ``s3://bucket/key`` URIs.

    Every method raises :class:`StorageError` when the store cannot be reached or answers nonsense after the client's own bounded
    retries, and :class:`ConfigurationError` when credentials or the bucket are wrong (401, 403, no such bucket).
    """

    def head(self, uri: str) -> ObjectInfo | None:
        """The object's description with its user metadata, or None where it does not exist."""

    def get(self, uri: str) -> StoredObject | None:
        """One whole object by one GET, or None where it does not exist. A broken body is read again."""

    def open(self, uri: str, *, etag: str) -> BinaryIO:
        """A seekable reader pinned to one ETag, for files larger than memory.

        Raises:
            NotFoundError: There is no such object.
            ConflictError: The object has another ETag, now or at any later read.
        """

    def download(self, uri: str, target: Path, *, etag: str | None = None) -> ObjectInfo:
        """Write one whole object to a local file.

        Raises:
            NotFoundError: There is no such object.
            ConflictError: The object has another ETag than the one asked for.
        """

    def scan(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Every object below a prefix, in key order, without user metadata; only those whose URI sorts after ``after`` where it is given.

        With ``after``, the cost depends only on the objects that are returned.
        """

    def directories(self, prefix: str) -> Sequence[str]:
        """What lies one level below a prefix that ends in ``/``: URIs that end in ``/``, sorted, each once."""

    def put(self, uri: str, body: Content, *, write_id: str, sha256: str | None, condition: Condition) -> str:
        """Write one object, which appears whole or not at all, and return its ETag; ``write_id`` and ``sha256`` become user metadata.

        Raises:
            InvalidDataError: What a function wrote does not have the given ``sha256``; there is no object then.
            ConflictError: The condition did not hold (409, 412); the write may still be ours if an earlier answer was lost.
            UnknownOutcomeError: No answer came, so the write may or may not have happened.
        """

    def delete(self, uri: str) -> None:
        """Remove one object; an absent one is not an error."""
