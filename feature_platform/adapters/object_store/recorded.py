"""An object store for computing a version again: only the recorded raw objects can be read, and every write stays in memory.

Computing does not belong here (``use_cases.reproduce``).
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.objects import Condition, Content, ObjectInfo, StoredObject
from feature_platform.ports.object_store import ObjectStore


class RecordedObjects:
    """See :class:`ObjectStore`.

    Args:
        store: Where the recorded objects are read from; it is never written.
    """

    def __init__(self, store: ObjectStore, recorded: Collection[str]) -> None:
        self._store, self._recorded, self._scratch = store, frozenset(recorded), MemoryObjectStore()

    def head(self, uri: str) -> ObjectInfo | None:
        return self._of(uri).head(uri)

    def get(self, uri: str) -> StoredObject | None:
        return self._of(uri).get(uri)

    def open(self, uri: str, *, etag: str) -> BinaryIO:
        return self._of(uri).open(uri, etag=etag)

    def download(self, uri: str, target: Path, *, etag: str | None = None) -> ObjectInfo:
        return self._of(uri).download(uri, target, etag=etag)

    def scan(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Leaves out raw objects that were delivered after the version was built."""
        if any(uri.startswith(prefix) for uri in self._recorded):
            yield from (info for info in self._store.scan(prefix, after=after) if info.uri in self._recorded)
        else:
            yield from self._scratch.scan(prefix, after=after)

    def directories(self, prefix: str) -> Sequence[str]:
        return self._of(prefix).directories(prefix)

    def put(self, uri: str, body: Content, *, write_id: str, sha256: str | None, condition: Condition) -> str:
        return self._scratch.put(uri, body, write_id=write_id, sha256=sha256, condition=condition)

    def delete(self, uri: str) -> None:
        self._scratch.delete(uri)

    def _of(self, uri: str) -> ObjectStore:
        return self._store if uri in self._recorded else self._scratch
