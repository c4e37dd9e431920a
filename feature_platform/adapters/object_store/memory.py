"""An object store in memory, with the semantics of S3: conditional writes, content ETags, user metadata, ordered listings.

Real code that is shipped and passes the same contract suite as S3; tests and the simulator run the platform on it. Faults and delays do
not belong here.
"""

import hashlib
import io
import os
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from feature_platform.adapters.object_store.ranged_reader import buffered_reader
from feature_platform.core.layout import split_uri
from feature_platform.core.objects import Condition, Content, IfAbsent, IfMatch, ObjectInfo, StoredObject, Writes, require_sha256
from feature_platform.errors import ConfigurationError, ConflictError, NotFoundError


class MemoryObjectStore:
    """See :class:`ObjectStore`: objects held in this process; every method is atomic and safe to call from many threads.

    Args:
        buckets: Names of the buckets that exist; where left out, every bucket does.
        clock: Gives an object's modification time, kept in whole seconds as S3 does.
    """

    def __init__(self, *, buckets: Collection[str] | None = None, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._buckets = None if buckets is None else frozenset(buckets)
        self._clock = clock
        self._lock = threading.Lock()
        self._objects: dict[str, StoredObject] = {}

    def head(self, uri: str) -> ObjectInfo | None:
        stored = self.get(uri)
        return stored.info if stored else None

    def get(self, uri: str) -> StoredObject | None:
        self._require_bucket(uri)
        with self._lock:
            return self._objects.get(uri)

    def open(self, uri: str, *, etag: str) -> BinaryIO:
        def fetch(offset: int, length: int) -> bytes:
            return self._pinned(uri, etag).body[offset : offset + length]

        return buffered_reader(fetch, size_bytes=self._pinned(uri, etag).info.size_bytes, name=uri)

    def download(self, uri: str, target: Path, *, etag: str | None = None) -> ObjectInfo:
        stored = self._pinned(uri, etag)
        descriptor, partial = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(stored.body)
        Path(partial).replace(target)
        return stored.info

    def scan(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        self._require_bucket(prefix)
        with self._lock:
            objects = self._objects.items()
            found = [stored.info for uri, stored in objects if uri.startswith(prefix) and uri.encode() > after.encode()]
        for info in sorted(found, key=lambda info: info.uri.encode()):
            yield ObjectInfo(uri=info.uri, etag=info.etag, size_bytes=info.size_bytes, modified_at=info.modified_at)

    def directories(self, prefix: str) -> Sequence[str]:
        below = [info.uri.removeprefix(prefix) for info in self.scan(prefix)]
        return sorted({f"{prefix}{rest.split('/', 1)[0]}/" for rest in below if "/" in rest})

    def put(self, uri: str, body: Content, *, write_id: str, sha256: str | None, condition: Condition) -> str:
        self._require_bucket(uri)
        content = body.read_bytes() if isinstance(body, Path) else body if isinstance(body, bytes) else _written(uri, body, sha256=sha256)
        etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
        with self._lock:
            self._check(uri, condition)
            modified_at = self._clock().astimezone(UTC).replace(microsecond=0)
            info = ObjectInfo(uri=uri, etag=etag, size_bytes=len(content), modified_at=modified_at, write_id=write_id, sha256=sha256)
            self._objects[uri] = StoredObject(info=info, body=content)
        return etag

    def delete(self, uri: str) -> None:
        self._require_bucket(uri)
        with self._lock:
            self._objects.pop(uri, None)

    def _check(self, uri: str, condition: Condition) -> None:
        current = self._objects.get(uri)
        match condition:
            case IfAbsent() if current is not None:
                raise ConflictError(f"{uri} was not written: expected no object there, found one with ETag {current.info.etag}.")
            case IfMatch(etag=etag) if current is None:
                raise ConflictError(f"{uri} was not written: expected ETag {etag}, found no object.")
            case IfMatch(etag=etag) if current is not None and current.info.etag != etag.strip('"'):
                raise ConflictError(f"{uri} was not written: expected ETag {etag}, found {current.info.etag}.")

    def _pinned(self, uri: str, etag: str | None) -> StoredObject:
        stored = self.get(uri)
        if stored is None:
            raise NotFoundError(f"{uri} does not exist.")
        if etag is not None and stored.info.etag != etag.strip('"'):
            raise ConflictError(f"{uri} has changed: expected ETag {etag}, found {stored.info.etag}. Read its description again.")
        return stored

    def _require_bucket(self, uri: str) -> None:
        bucket, _ = split_uri(uri)
        if self._buckets is not None and bucket not in self._buckets:
            raise ConfigurationError(
                f"Bucket {bucket!r} does not exist in the memory store: needed for {uri}; create it or name another one."
            )


def _written(uri: str, write: Writes, *, sha256: str | None) -> bytes:
    sink = io.BytesIO()
    write(sink)
    require_sha256(uri, hashlib.sha256(sink.getvalue()).hexdigest(), expected=sha256)
    return sink.getvalue()
