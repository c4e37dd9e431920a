"""The attempts of one call of the S3 client: a deadline for its retries, and whether the server may have seen a request.

botocore bounds the number of attempts, but not their total time, and does not say how each ended; its documented event hooks allow both.
The meaning of an answer does not belong here (``s3_errors``).
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

_log = logging.getLogger(__name__)
_UNREACHED: Final = ("EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "AttemptsDeadlineError")
"""Exceptions (botocore's, by name, so that this module stays cheap to import) of attempts that never reached the server."""

_SERVER_ERROR: Final = 500


class AttemptsDeadlineError(Exception):
    """No further attempt is made: the time for one call, its retries included, is over."""


class Attempts(threading.local):
    """The attempts of the call that this thread is making."""

    deadline_s: float = float("inf")
    reached_server: bool = False
    is_announced: bool = False

    @contextmanager
    def within(self, seconds: float, *, attempts: int) -> Iterator[None]:
        """Start one call. Its attempts (``attempts`` for each request) must all begin within ``seconds``.

        The first attempt that fails is logged at once where another follows: a client that waits without a word seems to hang.
        """
        self.deadline_s, self.reached_server, self.is_announced = time.monotonic() + seconds, False, attempts < 2
        try:
            yield
        finally:
            self.deadline_s = float("inf")

    def watch(self, client: Any) -> None:
        client.meta.events.register("before-send.s3", self._before_send)
        client.meta.events.register("needs-retry.s3", self._after_attempt)

    def _before_send(self, **_: Any) -> None:
        if time.monotonic() > self.deadline_s:
            raise AttemptsDeadlineError

    def _after_attempt(self, response: Any = None, caught_exception: Exception | None = None, **_: Any) -> None:
        if caught_exception is None or type(caught_exception).__name__ not in _UNREACHED:
            self.reached_server = True
        status = response[0].status_code if response else 0
        if (caught_exception or status >= _SERVER_ERROR) and not self.is_announced:
            self.is_announced = True
            why, left_s = type(caught_exception).__name__ if caught_exception else status, self.deadline_s - time.monotonic()
            _log.warning("S3 does not answer as it should (%s); the request is tried again for up to %.0f s.", why, left_s)
