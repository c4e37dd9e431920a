"""The response log, for proof and for training: rows of answers as Parquet files, in a directory or on S3.

A request puts a reference to its answer into a bounded queue; a thread writes the files. Where the thread cannot keep up, answers are left
out of the log and counted: a log that cannot be written never fails a request. What rows look like does not belong here (``log_rows``), nor
checking them (``log_proof``).
"""

import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from feature_platform.core.objects import IfAbsent
from feature_platform.errors import FeaturePlatformError
from feature_platform.ports.object_store import ObjectStore
from feature_platform.server.answers import LoggedAnswer, ViewColumns
from feature_platform.server.metrics import LOGGED, Counts
from feature_platform.server.proof import Proof

QUEUED: Final = 2_000
"""How many answers may wait for the thread."""

FILE_ROWS: Final = 100_000
FILE_S: Final = 10.0
_PAUSE_S: Final = 0.1
_log = logging.getLogger(__name__)

Put = Callable[[str, bytes], None]
"""Stores one file under a name; raises the platform's errors or OSError."""


class ResponseLog:
    """The response log of one worker.

    Args:
        rate: The share of entities that is logged, by a hash of their keys: the same ones in every answer and worker.
    """

    def __init__(self, put: Put, *, rate: float, counts: Counts) -> None:
        self._put, self._rate, self._counts = put, rate, counts
        self._queue: deque[LoggedAnswer] = deque()
        self._name = f"{int(time.time())}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._numbers = self._files = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="response-log", daemon=True)
        self._thread.start()

    def add(self, project: str, keys: Mapping[str, Sequence[Any]], views: Sequence[ViewColumns], proofs: Sequence[Proof]) -> None:
        """Queue an answer, or count its rows as dropped where too many wait."""
        self._numbers += 1
        answer = LoggedAnswer(time.time(), self._numbers, project, keys, views, proofs)
        if len(self._queue) < QUEUED:
            self._queue.append(answer)
        else:
            self._counts.add(LOGGED, "dropped", count=_rows(answer))

    def close(self) -> None:
        """Write what is left; waits a few seconds at most."""
        self._ended.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        from feature_platform.server.log_rows import LogRows

        rows = LogRows(self._name, rate=self._rate)
        begun_s = time.monotonic()
        while True:
            ending = self._ended.wait(_PAUSE_S)
            while self._queue:
                self._add(rows, self._queue.popleft())
            if rows.count and (ending or rows.count >= FILE_ROWS or time.monotonic() - begun_s > FILE_S):
                self._write(rows)
                rows, begun_s = LogRows(self._name, rate=self._rate), time.monotonic()
            if ending:
                return

    def _add(self, rows: Any, answer: LoggedAnswer) -> None:
        try:
            rows.add(answer)
        except Exception:  # noqa: BLE001  one answer that nobody foresaw must not end the log of all others
            self._counts.add(LOGGED, "failed", count=_rows(answer))
            _log.exception("An answer could not be logged.")

    def _write(self, rows: Any) -> None:
        try:
            files = list(rows.files())
        except (ValueError, TypeError, NotImplementedError, ArithmeticError) as error:  # values that the registry's types do not hold
            self._counts.add(LOGGED, "failed", count=rows.count)
            _log.error("%d rows of the response log are lost: they do not fit the registry's types. %s", rows.count, error)
            return
        for view, body, count in files:
            self._files += 1
            name = f"{view}/dt={time.strftime('%Y-%m-%d', time.gmtime())}/{self._name}-{self._files:06d}.parquet"
            try:
                self._put(name, body)
                self._counts.add(LOGGED, "written", count=count)
            except (FeaturePlatformError, OSError) as error:
                self._counts.add(LOGGED, "failed", count=count)
                _log.error("%d rows of the response log are lost: %s could not be written. %s", count, name, error)


def _rows(answer: LoggedAnswer) -> int:
    return len(next(iter(answer.keys.values()))) * len(answer.views)


def stored_at(target: str, objects: ObjectStore) -> Put:
    """Writes files below a directory, or below an ``s3://`` URI of the object store."""
    if not target.startswith("s3://"):
        return lambda name, body: _write_file(Path(target) / name, body)

    def put(name: str, body: bytes) -> None:
        objects.put(f"{target.rstrip('/')}/{name}", body, write_id=uuid.uuid4().hex, sha256=None, condition=IfAbsent())

    return put


def _write_file(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(body)
    fresh.replace(path)
