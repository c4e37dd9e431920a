"""Server processes that may outlive the process that started them: recognised later, waited for, and stopped within a time limit.

Which servers there are, and how one is asked whether it is ready, does not belong here.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feature_platform.errors import StorageError

_POLL_S: Final = 0.02
_LOG_LIMIT_BYTES: Final = 5_000_000
_TAIL_LINES: Final = 5

# Ends a server whose owner died without stopping it: the read returns when the owner's end of the pipe closes.
_WATCHDOG: Final = 'read -r _; kill -TERM "$1" && sleep 10 && kill -KILL "$1"'


_outliving: Final[list[subprocess.Popen[bytes]]] = []
"""Handles of detached servers, kept because Python warns of a leak when one is collected while its process runs."""


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """A process that can be recognised after its number has been given to another one."""

    pid: int
    started: str
    """When it started, as the operating system writes it; it is only compared."""


@dataclass(slots=True)
class Owned:
    """The handles that the starting process keeps of a server."""

    process: subprocess.Popen[bytes]
    watchdog: subprocess.Popen[bytes] | None = None


def mark_of(pid: int) -> ProcessMark | None:
    """The mark of a running process; None where there is none, or only one that ended and was not yet waited for."""
    try:
        if sys.platform == "linux":
            # Fields after the parenthesised command name: state is the third of the file, the start time in ticks the twenty-second.
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            state, started = fields[0], fields[19]
        else:
            answer = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=True)  # noqa: S603, S607  fixed command
            state, _, started = answer.stdout.strip().partition(" ")
    except (OSError, IndexError, subprocess.CalledProcessError):
        return None
    return None if state.startswith(("Z", "X")) else ProcessMark(pid, started.strip())


def is_running(mark: ProcessMark) -> bool:
    """True while the process of the mark runs, and not another one with its number."""
    return mark_of(mark.pid) == mark


def launch(command: Sequence[str], *, env: Mapping[str, str], directory: Path, log: Path, detached: bool) -> tuple[ProcessMark, Owned]:
    """Start a server in its own session, so that a Ctrl-C meant for its starter does not reach it.

    Args:
        log: The file that its output is appended to; an old one of more than 5 MB is removed first.
        detached: Whether it outlives this process; otherwise it is ended when this process ends, however that happens.

    Raises:
        StorageError: The process ended at once.
    """
    if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
        log.unlink()
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603  our own command line
            command, env=dict(env), cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    owned = Owned(process, None if detached else _watch(process.pid))
    if detached:
        _outliving.append(process)
    mark = mark_of(process.pid)
    if mark is None:
        stop_owned(owned, within_s=0)
        raise StorageError(f"{Path(command[0]).name} ended as soon as it was started. {log_tail(log)}")
    return mark, owned


def wait_until(ready: Callable[[], bool], *, mark: ProcessMark, within_s: float, log: Path, name: str) -> None:
    """Wait until a server answers.

    Raises:
        StorageError: It ended, or did not answer in time; the message shows the end of its log.
    """
    deadline_s = time.monotonic() + within_s
    while not ready():
        if not is_running(mark):
            raise StorageError(f"{name} ended before it was ready. {log_tail(log)}")
        if time.monotonic() > deadline_s:
            raise StorageError(f"{name} was not ready within {within_s:.0f} s. {log_tail(log)}")
        time.sleep(_POLL_S)


def stop(mark: ProcessMark, *, within_s: float, owned: Owned | None = None) -> None:
    """Ask a process to end, and kill it when it has not ended in time. One that has ended already is not an error.

    Raises:
        StorageError: It still runs after it was killed.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not is_running(mark):
            break
        with suppress(ProcessLookupError):
            os.kill(mark.pid, number)
        _wait_for_end(mark, within_s=within_s)
    if owned is not None:
        stop_owned(owned, within_s=within_s)
    _reap(mark.pid, within_s=within_s)
    if is_running(mark):
        raise StorageError(f"Process {mark.pid} did not end within {2 * within_s:.0f} s, although it was killed. Restart the machine.")


def stop_owned(owned: Owned, *, within_s: float) -> None:
    """Release the handles of an ended process and of its watchdog."""
    if owned.watchdog is not None:
        owned.watchdog.kill()
        owned.watchdog.wait()
        if owned.watchdog.stdin is not None:
            owned.watchdog.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        owned.process.wait(timeout=within_s)


def log_tail(log: Path) -> str:
    """The last lines of a log file, for an error message."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    except OSError:
        lines = []
    return "\n".join([f"The end of {log}:", *lines]) if lines else f"Its log {log} is empty."


def _watch(pid: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  fixed script
        ["/bin/sh", "-c", _WATCHDOG, "watchdog", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _reap(pid: int, *, within_s: float) -> None:
    """Wait for an ended server that this process had started detached: no other process can.

    Its first thread ends before its last one, so a single look would sometimes come too early.
    """
    for process in [one for one in _outliving if one.pid == pid]:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=within_s)
            _outliving.remove(process)


def _wait_for_end(mark: ProcessMark, *, within_s: float) -> None:
    deadline_s = time.monotonic() + within_s
    while is_running(mark) and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
