"""Signals during a query: the engine ends the query at once, and the run ends as interrupted.

Python calls a signal's handler only when the native call has returned, and DuckDB looks for signals only between pieces of work that the
calling thread does itself: with two threads, five of six long queries ran to their end before a SIGTERM or Ctrl-C was handled. What a
signal means to a run does not belong here.
"""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import duckdb

_ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM})


@contextmanager
def interruptible(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Let SIGINT and SIGTERM end what the connection does in this block. Threads other than the main one get no signals.

    Raises:
        KeyboardInterrupt: Such a signal came and the work failed: because it was interrupted, not because its data were wrong. An error
            that the signal's own handler raises is passed on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watch = _Watch(connection)
    try:
        yield
    except Exception as error:
        if watch.end():
            raise KeyboardInterrupt from error
        raise
    finally:
        watch.end()


class _Watch:
    """A thread that reads signals as they arrive, from the descriptor that the interpreter's own handler writes to."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._told = False
        self._reading, self._written = socket.socketpair()
        self._written.setblocking(False)
        self._before = signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name="signals of a query", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while numbers := self._reading.recv(64):
            if self._before >= 0:  # pass it on to the descriptor that was set before, e.g. an event loop's
                with suppress(OSError):
                    os.write(self._before, numbers)
            if _ENDING & set(numbers):
                self._told = True
                self._connection.interrupt()

    def end(self) -> bool:
        """Stop watching; whether such a signal came."""
        if self._written.fileno() >= 0:
            signal.set_wakeup_fd(self._before)
            self._written.close()
            self._thread.join()
            self._reading.close()
        return self._told
