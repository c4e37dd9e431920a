"""One JSON line for each request, written in batches so that no request waits for a terminal or a pipe.

What was answered does not belong here (``response_log``).
"""

import asyncio
import logging
import sys
import time
from typing import Any, Final

import msgspec

FLUSH_S: Final = 0.5
KEPT: Final = 20_000
"""How many lines may wait to be written; further ones are dropped, and their number stands in the next line that is written."""

_log = logging.getLogger(__name__)


class AccessLog:
    """The access log of one worker, on standard output."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._dropped = 0
        self._is_broken = False

    def add(self, scope: dict[str, Any], *, status: int, size: int, took_s: float, caller: str) -> None:
        """Queue one request's line. Of its headers the line has only ``x-request-id``, and nothing of its body."""
        if len(self._lines) >= KEPT:
            self._dropped += 1
            return
        request_id = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        client = scope.get("client")
        line = {
            "at": round(time.time(), 3),
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "ms": round(took_s * 1000, 3),
            "bytes": size,
            "client": client[0] if client else "",
            "caller": caller,
            "request_id": request_id.decode("latin-1")[:128],
        }
        self._lines.append(msgspec.json.encode(line))

    async def keep_writing(self) -> None:
        """Write queued lines every half second until cancelled, and then the rest."""
        try:
            while True:
                await asyncio.sleep(FLUSH_S)
                await asyncio.to_thread(self.write)
        finally:
            self.write()

    def write(self) -> None:
        """Write queued lines; where that fails, which is logged once until it succeeds, they are dropped."""
        lines, self._lines = self._lines, []
        dropped, self._dropped = self._dropped, 0
        count = len(lines)
        if dropped:
            lines.append(msgspec.json.encode({"at": round(time.time(), 3), "dropped_lines": dropped}))
        try:
            if lines:
                sys.stdout.buffer.write(b"\n".join(lines) + b"\n")
                sys.stdout.buffer.flush()
                self._is_broken = False
        except OSError as error:  # a full disk, a reader that is gone
            if not self._is_broken:
                _log.error("The access log cannot be written; its lines are dropped until it can. %s", error)
            self._is_broken = True
            self._dropped += dropped + count
