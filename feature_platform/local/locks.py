"""Locks between processes that may start the same server or prepare the same home; waiting is bounded and then an error.

What is guarded does not belong here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from feature_platform.errors import StorageError

WITHIN_S: Final = 180.0
"""More than a holder needs at most: three starts and two stops of a server."""


@contextmanager
def held(path: Path, *, within_s: float = WITHIN_S) -> Iterator[None]:
    """Hold the lock of a file, which stays behind: removing it would let two processes lock two files of one name.

    Raises:
        StorageError: Another process holds it for longer than that.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=within_s, mode=0o600)
    try:
        lock.acquire()
    except Timeout as error:
        raise StorageError(
            f"Another process has held {path} for more than {within_s:g} s. End it (`fuser {path}` names it), then run again."
        ) from error
    try:
        yield
    finally:
        lock.release()
