"""Waiting for what another process does, by asking for it."""

import time
from collections.abc import Callable

POLL_S = 0.2


def wait_until(is_done: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Return once ``is_done`` is true; fail with ``what`` when it is not in time."""
    deadline = time.monotonic() + within_s
    while not is_done():
        assert time.monotonic() < deadline, f"{what}: not within {within_s} s"
        time.sleep(POLL_S)
