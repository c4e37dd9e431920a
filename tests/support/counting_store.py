"""An object store in memory that counts the calls of its port, by method and by what they touch."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.objects import Condition, Content, ObjectInfo, StoredObject


class CountingObjectStore:
    """Memory whose ``calls`` are (method, URI) pairs, oldest first; ``open`` counts once, whatever ranges are then read."""

    def __init__(self) -> None:
        self._store = MemoryObjectStore()
        self.calls: list[tuple[str, str]] = []

    def counted(self) -> Counter[str]:
        """Calls by method since the last count, which this one ends."""
        counts = Counter(method for method, _ in self.calls)
        self.calls.clear()
        return counts

    def head(self, uri: str) -> ObjectInfo | None:
        self.calls.append(("head", uri))
        return self._store.head(uri)

    def get(self, uri: str) -> StoredObject | None:
        self.calls.append(("get", uri))
        return self._store.get(uri)

    def open(self, uri: str, *, etag: str) -> BinaryIO:
        self.calls.append(("open", uri))
        return self._store.open(uri, etag=etag)

    def download(self, uri: str, target: Path, *, etag: str | None = None) -> ObjectInfo:
        self.calls.append(("download", uri))
        return self._store.download(uri, target, etag=etag)

    def scan(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        self.calls.append(("scan", prefix))
        return self._store.scan(prefix, after=after)

    def directories(self, prefix: str) -> Sequence[str]:
        self.calls.append(("directories", prefix))
        return self._store.directories(prefix)

    def put(self, uri: str, body: Content, *, write_id: str, sha256: str | None, condition: Condition) -> str:
        self.calls.append(("put", uri))
        return self._store.put(uri, body, write_id=write_id, sha256=sha256, condition=condition)

    def delete(self, uri: str) -> None:
        self.calls.append(("delete", uri))
        self._store.delete(uri)
