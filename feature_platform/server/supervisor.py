"""The process that owns the listening sockets and keeps workers alive. What a worker does belongs to ``worker``.

Every worker has a socket of its own on the shared port (``SO_REUSEPORT``: the kernel spreads connections over them). This process keeps
the sockets open: connections that wait at a worker that died are accepted by the one that takes its place.
"""

import gc
import logging
import multiprocessing
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from feature_platform.errors import ConfigurationError
from feature_platform.server.options import ServeOptions

FROZEN_S: Final = 10.0
"""Seconds without a heartbeat of its event loop after which a worker is replaced."""

STOP_S: Final = 15.0
_PAUSE_S: Final = 1.0
"""Seconds between two starts of a worker that ends at once."""

_POLL_S: Final = 0.25
_log = logging.getLogger(__name__)

RunWorker = Callable[[socket.socket, int], None]
"""Serves on a socket, with a descriptor for heartbeats."""


@dataclass(slots=True)
class _Worker:
    process: Any
    heartbeat: int
    heard_s: float
    started_s: float


def supervise(options: ServeOptions, run: RunWorker, *, said: Callable[[], None] = lambda: None) -> None:
    """Run workers until SIGTERM or SIGINT, then let them finish.

    Args:
        said: Called once the address is listened on.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    listeners = listening_sockets(options)
    said()
    ending: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: ending.append(received))
    gc.freeze()
    workers = [_start(run, listener) for listener in listeners]
    while not ending:
        _hear(workers)
        for place, listener in enumerate(listeners):
            if _is_lost(workers[place]):
                workers[place] = _start(run, listener, after_s=workers[place].started_s + _PAUSE_S)
    _stop(workers, grace_s=options.drain_s + STOP_S)
    for listener in listeners:
        listener.close()
    if options.uds:
        options.uds.unlink(missing_ok=True)


def listening_sockets(options: ServeOptions) -> list[socket.socket]:
    """One listening socket for each worker; on a Unix socket, which cannot be shared so, the same one for all.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    try:
        if options.uds:
            return [_unix_socket(options)] * options.workers
        return [_tcp_socket(options) for _ in range(options.workers)]
    except OSError as error:
        where = str(options.uds) if options.uds else f"{options.host}:{options.port}"
        raise ConfigurationError(f"Cannot listen on {where}: {error.strerror}.", ["free it, or choose another --port or --uds"]) from error


def _tcp_socket(options: ServeOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((options.host, options.port))
    listener.listen(1024)
    return listener


def _unix_socket(options: ServeOptions) -> socket.socket:
    path = options.uds
    assert path is not None
    if path.is_socket():
        path.unlink()  # left by a server that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o660)
    listener.listen(1024)
    return listener


def _start(run: RunWorker, listener: socket.socket, *, after_s: float = 0.0) -> _Worker:
    time.sleep(max(0.0, after_s - time.monotonic()))
    hears, says = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_child, args=(run, listener, hears, says))
    process.start()
    os.close(says)
    os.set_blocking(hears, False)
    now_s = time.monotonic()
    return _Worker(process, hears, now_s, now_s)


def _child(run: RunWorker, listener: socket.socket, hears: int, says: int) -> None:
    os.close(hears)
    run(listener, says)


def _hear(workers: list[_Worker]) -> None:
    """Wait a moment for heartbeats."""
    ready, _, _ = select.select([worker.heartbeat for worker in workers], [], [], _POLL_S)
    for worker in workers:
        if worker.heartbeat in ready and os.read(worker.heartbeat, 4096):
            worker.heard_s = time.monotonic()
    if ready:
        time.sleep(_POLL_S)


def _is_lost(worker: _Worker) -> bool:
    """Whether a worker has ended or hangs; one that hangs is ended."""
    if worker.process.is_alive():
        if time.monotonic() - worker.heard_s < FROZEN_S:
            return False
        _log.error("Worker %d was silent for %.0f s; it is replaced.", worker.process.pid, FROZEN_S)
        worker.process.kill()
    worker.process.join()
    _log.error("Worker %d ended with %s; another takes its place.", worker.process.pid, worker.process.exitcode)
    os.close(worker.heartbeat)
    return True


def _stop(workers: list[_Worker], *, grace_s: float) -> None:
    deadline_s = time.monotonic() + grace_s
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(max(0.0, deadline_s - time.monotonic()))
        if worker.process.is_alive():
            _log.error("Worker %d did not end in %.0f s; it is killed.", worker.process.pid, grace_s)
            worker.process.kill()
            worker.process.join()
        os.close(worker.heartbeat)
