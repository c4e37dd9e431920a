"""The moment at which online reads apply the ttl: now, or another one that a check of an old version sets.

It is not in the online store plugin, so that setting a moment does not import Feast. Applying the ttl does not belong here.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

_clock: ContextVar[float | None] = ContextVar("online_read_clock", default=None)


@contextmanager
def reading_as_of(moment: datetime) -> Iterator[None]:
    """Apply the ttl at this moment instead of now within the block."""
    token = _clock.set(moment.timestamp())
    try:
        yield
    finally:
        _clock.reset(token)


def reading_time_s() -> float:
    """The moment at which a read applies the ttl, Unix time."""
    moment = _clock.get()
    return time.time() if moment is None else moment
