"""Runs code that an author wrote (a template, a SQL transform) in a process of its own, bounded in time and memory, without credentials.

Neither Jinja's sandbox nor a SQL engine stops every statement that takes too much: some never look at a deadline, some allocate more than
the limit they were given. A process can always be killed, and the kernel bounds its memory. What the work is does not belong here
(``adapters.feature_set_store.template_rendering``, ``adapters.compute.duckdb.transform_process``).

Run as a module, this is the child process: it reads a request, calls a function with it and answers. It imports little, because every
template is rendered by it and half a second at each start would be noticed.
"""

import ctypes
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from feature_platform.errors import ConfigurationError, ContractError, FeaturePlatformError, InvalidDataError, StorageError

_PASSED_ON: Final = {kind.__name__: kind for kind in (ConfigurationError, ContractError, InvalidDataError)}
_SET_PARENT_DEATH_SIGNAL: Final = 1
"""``PR_SET_PDEATHSIG`` of prctl(2): when the parent process is killed, the kernel kills its work too."""


@dataclass(frozen=True, slots=True)
class WorkLimits:
    """What one piece of work may use.

    ``memory_bytes`` bounds what the process may map writable, its libraries included. ``cpu_s`` is time on a processor, which a busy
    machine does not shorten; ``wall_s`` passes whatever happens.
    """

    memory_bytes: int
    wall_s: float
    cpu_s: float | None = None


class WorkEndedError(FeaturePlatformError):
    """Work ended without an answer: it exceeded a limit or failed as nobody foresaw. Whoever asked says what that means."""


def run_bounded(function: Callable[[dict[str, Any]], Any], request: Mapping[str, Any], *, limits: WorkLimits) -> Any:
    """Call a module's function in a process of its own and return its answer.

    Args:
        function: Found again by module and name.
        request: Its argument; a JSON object, as the answer is JSON.
        limits: Time and memory; where the platform knows them (Linux; elsewhere time alone).

    Raises:
        ConfigurationError, ContractError, InvalidDataError: The function raised it.
        StorageError: The function met an error of the operating system, such as a full disk.
        WorkEndedError: It exceeded a limit, or raised anything else.
    """
    bounds = {"memory_bytes": limits.memory_bytes, "cpu_s": limits.cpu_s, "parent": os.getpid()}
    message = {"module": function.__module__, "name": function.__name__, "bounds": bounds, "request": request}
    try:
        done = subprocess.run(  # noqa: S603 this interpreter, this module
            [sys.executable, "-P", "-m", __name__],
            input=json.dumps(message).encode(),
            capture_output=True,
            timeout=limits.wall_s,
            check=False,
            env=_environment(),
        )
    except subprocess.TimeoutExpired as error:
        raise WorkEndedError(f"did not end within {limits.wall_s:g} s") from error
    if done.returncode:
        raise WorkEndedError(_reason(done.returncode, done.stderr, limits))
    return _answered(json.loads(done.stdout))


def _environment() -> dict[str, str]:
    """What an interpreter needs to start and to find the same code; no credentials, no settings."""
    libraries = {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}
    return {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUTF8": "1", **libraries}


def _answered(answer: dict[str, Any]) -> Any:
    if "error" not in answer:
        return answer["result"]
    if answer["error"] in _PASSED_ON:
        raise _PASSED_ON[answer["error"]](answer["subject"], answer["faults"])
    raise StorageError(answer["subject"])


def _reason(code: int, stderr: bytes, limits: WorkLimits) -> str:
    last = stderr.decode(errors="replace").strip().rsplit("\n", 1)[-1]
    if code == -signal.SIGPROF:
        return f"did not end within {limits.cpu_s:g} s of processor time"
    if "MemoryError" in last or "bad_alloc" in last or code == -signal.SIGKILL:
        return f"needed more than its {limits.memory_bytes >> 20} MiB of memory"
    return f"ended with signal {-code}" if code < 0 else f"ended with {last[:300]}"


def _bound(memory_bytes: int, cpu_s: float | None, parent: int) -> None:
    """Hold this process to its limits.

    Data is limited rather than address space, most of which is libraries' and threads' and never used.
    """
    if cpu_s is not None:
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("its parent is gone")


def main() -> None:
    """Answer one request from standard input on standard output."""
    message = json.load(sys.stdin.buffer)
    function = getattr(importlib.import_module(message["module"]), message["name"])
    _bound(**message["bounds"])
    try:
        answer = {"result": function(message["request"])}
    except tuple(_PASSED_ON.values()) as error:
        answer = {"error": type(error).__name__, "subject": error.subject, "faults": error.faults}
    except OSError as error:
        answer = {"error": type(error).__name__, "subject": f"{error}; free or repair what it names, then run again."}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
