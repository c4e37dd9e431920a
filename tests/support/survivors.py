"""Processes that tests started and left behind, found at the end of a test process."""

import ctypes
import sys

import psutil

_PR_SET_CHILD_SUBREAPER = 36
# multiprocessing ends these itself, with the process that used it.
_OF_MULTIPROCESSING = ("multiprocessing.forkserver", "multiprocessing.resource_tracker")


def adopt_orphans() -> None:
    """From now on a process whose parent ended becomes this process's child, instead of the machine's; on Linux alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def survivors() -> list[str]:
    """What still runs below this process: number, command line, working directory (a test's own directory names the test)."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            command = process.cmdline()
            if process.status() != psutil.STATUS_ZOMBIE and not any(name in " ".join(command) for name in _OF_MULTIPROCESSING):
                found.append(f"{process.pid}: {' '.join(command)} in {process.cwd()}")
        except psutil.NoSuchProcess:
            continue
    return found
