"""An object store in which only the environment that owns a base writes below it.

Two environments with the same base would move each other's latest. So the first that writes below a base puts a mark there, and every other
environment is refused before its first write. Reading is not restricted. How objects are stored does not belong here.
"""

import json
import uuid
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from feature_platform.core.layout import owner_mark
from feature_platform.core.objects import Condition, Content, IfAbsent, ObjectInfo, StoredObject
from feature_platform.errors import ConfigurationError, ConflictError
from feature_platform.ports.object_store import ObjectStore


class OwnedObjects:
    """See :class:`ObjectStore`; the first write below a base reads the base's mark, once in the life of this object.

    A base without a mark (it is empty, or older than marks) gets one with the first write.

    Args:
        bases: URIs below which only the owner writes.
        owner: The environment.
    """

    def __init__(self, store: ObjectStore, *, bases: Collection[str], owner: str) -> None:
        self._store, self._owner = store, owner
        self._unasked = frozenset(base.rstrip("/") for base in bases)

    def head(self, uri: str) -> ObjectInfo | None:
        return self._store.head(uri)

    def get(self, uri: str) -> StoredObject | None:
        return self._store.get(uri)

    def open(self, uri: str, *, etag: str) -> BinaryIO:
        return self._store.open(uri, etag=etag)

    def download(self, uri: str, target: Path, *, etag: str | None = None) -> ObjectInfo:
        return self._store.download(uri, target, etag=etag)

    def scan(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        return self._store.scan(prefix, after=after)

    def directories(self, prefix: str) -> Sequence[str]:
        return self._store.directories(prefix)

    def put(self, uri: str, body: Content, *, write_id: str, sha256: str | None, condition: Condition) -> str:
        """See :meth:`ObjectStore.put`.

        Raises:
            ConfigurationError: The base belongs to another environment; nothing was written.
        """
        self._require_owner(uri)
        return self._store.put(uri, body, write_id=write_id, sha256=sha256, condition=condition)

    def delete(self, uri: str) -> None:
        """See :meth:`ObjectStore.delete`.

        Raises:
            ConfigurationError: The base belongs to another environment; nothing was deleted.
        """
        self._require_owner(uri)
        self._store.delete(uri)

    def _require_owner(self, uri: str) -> None:
        for base in [base for base in self._unasked if uri.startswith(f"{base}/")]:
            mark = owner_mark(base)
            owner = _owner_of(self._store.get(mark)) or self._marked(mark)
            if owner != self._owner:
                raise ConfigurationError(
                    f"{base} belongs to environment {owner!r}, as {mark} says, and this is {self._owner!r}; nothing was written. "
                    "Give each environment a base of its own, or remove the mark if the base has changed hands."
                )
            self._unasked -= {base}

    def _marked(self, mark: str) -> str:
        """The owner after writing a mark: this environment, or that of another process that was faster."""
        body = json.dumps({"format": 1, "environment": self._owner}).encode()
        try:
            self._store.put(mark, body, write_id=uuid.uuid4().hex, sha256=None, condition=IfAbsent())
        except ConflictError:
            return _owner_of(self._store.get(mark)) or "unknown"
        return self._owner


def _owner_of(stored: StoredObject | None) -> str | None:
    """The environment that a mark names; None without a mark, and "unknown", which may not write, where it cannot be read."""
    if stored is None:
        return None
    try:
        return str(json.loads(stored.body)["environment"])
    except (ValueError, KeyError, TypeError):
        return "unknown"
