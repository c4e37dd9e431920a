"""What happened on the wire during one call of the S3 client: a deadline for its retries, and whether the server may have seen a request.

botocore bounds the number of attempts but neither their total time nor says what became of each; its documented event hooks do. The
meaning of an answer does not belong here (``s3_errors``).
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

_UNREACHED: Final = ("EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "AttemptsDeadlineError")
"""Exceptions (botocore's, by name, so that this module stays cheap to import) of attempts that never reached the server."""


class AttemptsDeadlineError(Exception):
    """No further attempt is made: the time for one call, its retries included, is over."""


class Attempts(threading.local):
    """The attempts of the call that this thread is making."""

    deadline_s: float = float("inf")
    reached_server: bool = False

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Start one call, whose attempts must all begin within so many seconds."""
        self.deadline_s, self.reached_server = time.monotonic() + seconds, False
        try:
            yield
        finally:
            self.deadline_s = float("inf")

    def watch(self, client: Any) -> None:
        """Subscribe to a client's requests and their outcomes."""
        client.meta.events.register("before-send.s3", self._before_send)
        client.meta.events.register("needs-retry.s3", self._after_attempt)

    def _before_send(self, **_: Any) -> None:
        if time.monotonic() > self.deadline_s:
            raise AttemptsDeadlineError

    def _after_attempt(self, caught_exception: Exception | None = None, **_: Any) -> None:
        if caught_exception is None or type(caught_exception).__name__ not in _UNREACHED:
            self.reached_server = True
