"""An object store whose next calls fail as told: before the server, after it, or with a broken body."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.objects import Condition, Content, StoredObject
from feature_platform.errors import ConflictError, UnknownOutcomeError

GetFault = Exception | Callable[[bytes], bytes]
PutFault = Exception | Callable[[], None]


class LostAnswerError(Exception):
    """The write arrives and its answer does not."""


class LostAnswerThenConflictError(Exception):
    """The write arrives, its answer does not, and the client's own second attempt meets it."""


class FaultyObjectStore(MemoryObjectStore):
    """Memory with faults: each of ``get_faults`` and ``put_faults`` is met by one call, oldest first.

    An exception is raised instead of the call; a callable changes the body that a read returns, or runs before a write does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.get_faults: deque[GetFault] = deque()
        self.put_faults: deque[PutFault] = deque()
        self.writes = 0

    def get(self, uri: str) -> StoredObject | None:
        """One whole object, unless a fault is due."""
        fault = self.get_faults.popleft() if self.get_faults else None
        if isinstance(fault, Exception):
            raise fault
        stored = super().get(uri)
        return replace(stored, body=fault(stored.body)) if fault and stored else stored

    def put(self, uri: str, body: Content, *, write_id: str, sha256: str | None, condition: Condition) -> str:
        """Write one object, unless a fault is due."""
        fault: Any = self.put_faults.popleft() if self.put_faults else None
        if callable(fault):
            fault()
        elif isinstance(fault, Exception) and not isinstance(fault, LostAnswerError | LostAnswerThenConflictError):
            raise fault
        etag = super().put(uri, body, write_id=write_id, sha256=sha256, condition=condition)
        self.writes += 1
        if isinstance(fault, LostAnswerError):
            raise UnknownOutcomeError(f"No answer for {uri}.")
        if isinstance(fault, LostAnswerThenConflictError):
            raise ConflictError(f"{uri} was not written: 412.")
        return etag
