"""The moment at which online reads judge ttl: now, unless a check of an old version says otherwise.

Apart from the online store plugin, so that naming a moment does not import Feast.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

_clock: ContextVar[float | None] = ContextVar("online_read_clock", default=None)


@contextmanager
def reading_as_of(moment: datetime) -> Iterator[None]:
    """Judge ttl at this moment instead of now within the block."""
    token = _clock.set(moment.timestamp())
    try:
        yield
    finally:
        _clock.reset(token)


def reading_time_s() -> float:
    """The moment at which a read is judged, Unix time."""
    moment = _clock.get()
    return time.time() if moment is None else moment
