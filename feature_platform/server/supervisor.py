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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
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
    own = _inode(options.uds) if options.uds else None
    said()
    ending: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: ending.append(received))
    gc.freeze()
    workers: list[_Worker] = []
    for place in range(len(listeners)):
        workers.append(_start(run, listeners, place, workers))
    while not ending:
        _hear(workers)
        for place, worker in enumerate(workers):
            if _is_lost(worker):
                workers[place] = _start(run, listeners, place, workers, after_s=worker.started_s + _PAUSE_S)
    _stop(workers, grace_s=options.drain_s + STOP_S)
    if options.uds and _inode(options.uds) == own:
        options.uds.unlink()
    for listener in listeners:
        listener.close()


def listening_sockets(options: ServeOptions) -> list[socket.socket]:
    """One listening socket for each worker; on a Unix socket, which cannot be shared so, the same one for all.

    Raises:
        ConfigurationError: The address cannot be listened on, or another server does.
    """
    try:
        if options.uds:
            return [_unix_socket(options.uds)] * options.workers
        _tcp_socket(options).close()  # shared ones alone would take some of another server's connections without an error
        return [_tcp_socket(options, is_shared=True) for _ in range(options.workers)]
    except (OSError, OverflowError) as error:  # of a port that is none
        where = str(options.uds) if options.uds else f"{options.host}:{options.port}"
        said = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"Cannot listen on {where}: {said}.", ["free it, or choose another --port or --uds"]) from error


def _tcp_socket(options: ServeOptions, *, is_shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, is_shared)
    _bind(listener, (options.host, options.port))
    listener.listen(1024)
    return listener


def _unix_socket(path: Path) -> socket.socket:
    if path.is_socket():
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()  # left by a server that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    _bind(listener, str(path))
    path.chmod(0o660)
    listener.listen(1024)
    return listener


def _bind(listener: socket.socket, address: Any) -> None:
    try:
        listener.bind(address)
    except BaseException:
        listener.close()
        raise


def _inode(path: Path) -> int | None:
    return path.stat().st_ino if path.exists() else None


def _start(run: RunWorker, listeners: Sequence[socket.socket], place: int, workers: Sequence[_Worker], *, after_s: float = 0.0) -> _Worker:
    time.sleep(max(0.0, after_s - time.monotonic()))
    hears, says = os.pipe()
    foreign = [hears, *(worker.heartbeat for other, worker in enumerate(workers) if other != place)]
    process = multiprocessing.get_context("fork").Process(target=_child, args=(run, listeners, place, foreign, says))
    process.start()
    os.close(says)
    os.set_blocking(hears, False)
    now_s = time.monotonic()
    return _Worker(process, hears, now_s, now_s)


def _child(run: RunWorker, listeners: Sequence[socket.socket], place: int, foreign: Sequence[int], says: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the supervisor's handler would keep it from a worker that is still starting
    # A pipe that lived on here would keep another worker from learning that the supervisor is gone; a socket, its clients waiting.
    for descriptor in foreign:
        os.close(descriptor)
    for listener in listeners:
        if listener is not listeners[place]:
            listener.close()
    run(listeners[place], says)


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
