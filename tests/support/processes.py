"""Waiting for what another process does, by asking for it."""

import time
from collections.abc import Callable
from urllib.request import urlopen

POLL_S = 0.2


def wait_until(is_done: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Return once ``is_done`` is true; fail with ``what`` when it is not in time."""
    deadline = time.monotonic() + within_s
    while not is_done():
        assert time.monotonic() < deadline, f"{what}: not within {within_s} s"
        time.sleep(POLL_S)


def read_url(url: str) -> bytes:
    """What a URL answers; nothing while it does not."""
    try:
        with urlopen(url, timeout=5) as answer:
            return bytes(answer.read())
    except OSError:
        return b""
