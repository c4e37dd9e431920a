"""Work in a process of its own: its answer, its errors, and its end at every limit."""

import os
import signal
import subprocess
import sys
import time
from typing import Any

import psutil
import pytest

from feature_platform.adapters.machine.bounded_work import WorkEndedError, WorkLimits, run_bounded
from feature_platform.errors import ContractError, StorageError

LIMITS = WorkLimits(memory_bytes=256 << 20, wall_s=60.0, cpu_s=2.0)
"""A processor takes up to half a second to fill that much memory."""


def double(request: dict[str, Any]) -> Any:
    return request["text"] * 2


def refuse(request: dict[str, Any]) -> Any:
    raise ContractError("It is wrong:", ["a", "b"])


def fill_the_disk(request: dict[str, Any]) -> Any:
    raise OSError(28, "No space left on device")


def stumble(request: dict[str, Any]) -> Any:
    return 1 // 0


def never_end(request: dict[str, Any]) -> Any:
    while True:
        pass


def compute_without_returning_to_python(request: dict[str, Any]) -> Any:
    return str(9 ** (9**9))


def wait(request: dict[str, Any]) -> Any:
    time.sleep(1000)


def take_all_memory(request: dict[str, Any]) -> Any:
    return len([b"x" * (16 << 20) for _ in range(10_000)])


def tell_the_environment(request: dict[str, Any]) -> Any:
    return sorted(os.environ)


def end_itself(request: dict[str, Any]) -> Any:
    os.kill(os.getpid(), signal.SIGSEGV)


def test_the_answer_comes_back() -> None:
    assert run_bounded(double, {"text": "é\\"}, limits=LIMITS) == "é\\é\\"


def test_an_error_of_ours_comes_back_whole() -> None:
    with pytest.raises(ContractError) as caught:
        run_bounded(refuse, {}, limits=LIMITS)
    assert (caught.value.subject, caught.value.faults) == ("It is wrong:", ("a", "b"))


def test_a_full_disk_is_an_error_of_storage() -> None:
    with pytest.raises(StorageError, match="No space left on device; free or repair"):
        run_bounded(fill_the_disk, {}, limits=LIMITS)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (stumble, "ended with ZeroDivisionError"),
        (never_end, r"did not end within 2 s of processor time"),
        (compute_without_returning_to_python, r"did not end within 2 s of processor time"),
        (take_all_memory, "needed more than its 256 MiB of memory"),
        (end_itself, "ended with signal 11"),
    ],
)
def test_work_that_fails_or_runs_away_is_ended_and_says_why(function: Any, said: str) -> None:
    with pytest.raises(WorkEndedError, match=said):
        run_bounded(function, {}, limits=LIMITS)


def test_work_that_waits_is_ended_too() -> None:
    with pytest.raises(WorkEndedError, match=r"did not end within 0\.5 s"):
        run_bounded(wait, {}, limits=WorkLimits(memory_bytes=256 << 20, wall_s=0.5))


def test_no_credentials_and_no_settings_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    found = run_bounded(tell_the_environment, {}, limits=LIMITS)
    assert [name for name in found if name.startswith(("AWS_", "FEATURE_PLATFORM_"))] == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing tells a process that its parent was killed")
def test_work_ends_with_the_process_that_asked_for_it() -> None:
    program = "from tests.unit.test_bounded_work import *\nrun_bounded(wait, {}, limits=WorkLimits(memory_bytes=256 << 20, wall_s=600.0))"
    asking = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    try:
        while not (working := psutil.Process(asking.pid).children()):
            assert asking.poll() is None
    finally:
        asking.kill()
        asking.wait()
    psutil.wait_procs(working, timeout=60)
    assert [process for process in working if process.is_running()] == []
