"""Publishing in processes of their own, which may be killed or frozen at any S3 request that they make.

``python -m tests.faults.publishers`` imports everything once and then forks a child for each job that it reads, one JSON line each: a
fork costs milliseconds, an import seconds. :class:`Publishers` is the test's side. What a test expects does not belong here.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from feature_platform.adapters.object_store.s3 import S3ObjectStore
from feature_platform.errors import FeaturePlatformError
from tests.support.feature_set_samples import FEATURE_SET, open_store, publish, rows
from tests.support.services import S3Endpoint

Step = tuple[Any, ...]
"""``("publish", content, day, key)``, ``("rollback", version)`` or ``("poll", seconds)``."""


@dataclass
class Outcome:
    """How a child ended: ``exited``, ``killed`` or (not ended) ``stopped``; the requests that it made; its error, if one stopped it."""

    kind: str
    requests: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    error: str | None = None


class Publishers:
    """A process that forks publishers on demand; they end with it.

    Args:
        endpoint: The S3 server that they publish to.
    """

    def __init__(self, endpoint: S3Endpoint) -> None:
        self._endpoint = endpoint
        self._results = tempfile.TemporaryDirectory(prefix="publishers-")
        self._jobs = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.publishers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    @property
    def objects(self) -> S3ObjectStore:
        """The server's objects, for who looks at what was left."""
        return self._endpoint.store

    def __enter__(self) -> "Publishers":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()
        self._results.cleanup()

    def start(
        self,
        root: str,
        steps: Sequence[Step],
        *,
        setup: Sequence[Step] = (),
        request: int | None = None,
        when: str = "before",
        sign: int = signal.SIGKILL,
    ) -> int:
        """Fork a child that does the setup undisturbed and then the steps; its process id.

        Args:
            root: The ``s3://…/`` that it publishes below.
            steps: What it does.
            setup: What it does first, uncounted.
            request: At which S3 request of the steps, counted from 1, it sends itself a signal; never where left out.
            when: ``before`` the request is sent, or ``after`` its answer came.
            sign: ``SIGKILL`` or ``SIGSTOP``.
        """
        self._jobs += 1
        endpoint = self._endpoint
        job = {
            "result": str(Path(self._results.name) / f"{self._jobs}.json"),
            "endpoint": [endpoint.endpoint_url, endpoint.access_key_id, endpoint.secret_access_key],
            "root": root,
            "setup": list(setup),
            "steps": list(steps),
            "fault": None if request is None else [request, when, int(sign)],
        }
        return int(self._ask({"do": "fork", "job": job})["pid"])

    def wait(self, pid: int) -> Outcome:
        """Wait until a child has ended or has stopped itself."""
        answer = self._ask({"do": "wait", "pid": pid})
        written = Path(answer["result"])
        told = json.loads(written.read_text()) if written.exists() else {}
        return Outcome(answer["kind"], **told)

    def run(self, root: str, steps: Sequence[Step], **fault: Any) -> Outcome:
        """Fork, and wait for the end."""
        return self.wait(self.start(root, steps, **fault))

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        return json.loads(self._process.stdout.readline())


class _Requests:
    """Every S3 request that a client sends, and the signal that one of them brings about."""

    def __init__(self, store: S3ObjectStore, fault: tuple[int, str, int] | None) -> None:
        self.seen: list[str] = []
        self._fault = fault
        self._lock = threading.Lock()
        self._mine = threading.local()
        events = store._client().meta.events
        events.register("before-send.s3", self._before_send)
        events.register("needs-retry.s3", self._after_answer)

    def _before_send(self, request: Any, **_: Any) -> None:
        with self._lock:
            self.seen.append(f"{request.method} {request.url.split('?')[0].split('/', 4)[-1]}")
            self._mine.number = len(self.seen)
        self._signal("before")

    def _after_answer(self, **_: Any) -> None:
        self._signal("after")

    def _signal(self, when: str) -> None:
        if self._fault is not None and self._fault[:2] == (self._mine.number, when):
            os.kill(os.getpid(), self._fault[2])


@lru_cache
def _prepared(url: str, key: str, secret: str) -> S3ObjectStore:
    """A store whose client is built and has no connection yet; with rows built once, for the imports that either brings."""
    rows("a")
    store = S3Endpoint(url, key, secret).store
    store._client()
    return store


def _work(job: dict[str, Any]) -> None:
    """The child: do the steps and write down what was done."""
    objects = _prepared(*job["endpoint"])
    objects._built_in = os.getpid()
    store = open_store(objects, job["root"])
    versions: list[str] = []
    for step in job["setup"]:
        _do(store, step, versions)
    versions.clear()
    requests = _Requests(objects, tuple(job["fault"]) if job["fault"] else None)
    error = None
    try:
        for step in job["steps"]:
            _do(store, step, versions)
    except FeaturePlatformError as problem:
        error = f"{type(problem).__name__}: {problem}"
    Path(job["result"]).write_text(json.dumps({"requests": requests.seen, "versions": versions, "error": error}))


def _do(store: Any, step: Step, versions: list[str]) -> None:
    if step[0] == "publish":
        _, content, day, key = step
        versions.append(publish(store, content, day=day, key=key).version)
    else:
        versions.append(store.rollback(FEATURE_SET, step[1], actor="test", reason="test").head.version)


def _fork(job: dict[str, Any]) -> int:
    _prepared(*job["endpoint"])
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            sys.stdin.close()
            _work(job)
            status = 0
        except BaseException:  # noqa: BLE001  the boundary of the child process
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return pid


def _wait(pid: int) -> str:
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return "stopped"
    if os.WIFSIGNALED(status):
        return "killed"
    return "exited" if os.WEXITSTATUS(status) == 0 else "failed"


def main() -> None:
    """Serve requests until the test closes the pipe, then end every child that is left."""
    results: dict[int, str] = {}
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        if request["do"] == "fork":
            pid = _fork(request["job"])
            results[pid] = request["job"]["result"]
            print(json.dumps({"pid": pid}), flush=True)
        else:
            pid = request["pid"]
            kind = _wait(pid)
            print(json.dumps({"kind": kind, "result": results[pid]}), flush=True)
            if kind != "stopped":
                del results[pid]
    for pid in results:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
