"""One namespace of a cluster, through ``kubectl`` and ``helm`` as an operator has them. What the platform is does not belong here."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
LABEL = "app.kubernetes.io/component"
ENDED = ("Succeeded", "Failed")
"""Phases of a pod that runs no more."""


class CommandError(AssertionError):
    """A command ended with another exit code than 0; the message has its whole output."""


def run(command: Sequence[str], *, stdin: str | None = None, timeout_s: float = 600) -> str:
    """Standard output of a command.

    Raises:
        CommandError: It failed, or took longer than it may.
    """
    try:
        done = subprocess.run(list(command), input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{' '.join(command)[:300]}: not done after {timeout_s:.0f} s") from error
    if done.returncode:
        raise CommandError(f"{' '.join(command)[:300]}: exit code {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout


@dataclass(frozen=True)
class Cluster:
    """A namespace, and whoever ``KUBECONFIG`` says we are in it."""

    namespace: str

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = 600) -> str:
        """``kubectl`` in the namespace."""
        return run(["kubectl", "--namespace", self.namespace, *arguments], stdin=stdin, timeout_s=timeout_s)

    def helm(self, *arguments: str, timeout_s: float = 900) -> str:
        """``helm`` in the namespace."""
        return run(["helm", "--namespace", self.namespace, *arguments], timeout_s=timeout_s)

    def get(self, *what: str) -> Any:
        """An object, or a list's items."""
        found = json.loads(self.kubectl("get", *what, "--output", "json"))
        return found["items"] if found["kind"] == "List" else found

    def apply(self, manifest: Any) -> None:
        """Create or change objects."""
        self.kubectl("apply", "--filename", "-", stdin=json.dumps(manifest))

    def exists(self, *what: str) -> bool:
        """Whether an object is there."""
        return bool(self.kubectl("get", *what, "--ignore-not-found", "--output", "name").strip())

    def execute(self, target: str, *command: str, stdin: str | None = None, container: str = "", timeout_s: float = 600) -> str:
        """Standard output of a command in a pod."""
        where = [target] + (["--container", container] if container else [])
        return self.kubectl("exec", *(["--stdin"] if stdin is not None else []), *where, "--", *command, stdin=stdin, timeout_s=timeout_s)

    def pods(self, component: str) -> list[Any]:
        """Pods of a component that are not on their way out, oldest first."""
        found = self.get("pods", "--selector", f"{LABEL}={component}")
        alive = [pod for pod in found if "deletionTimestamp" not in pod["metadata"] and pod["status"].get("phase") not in ENDED]
        return sorted(alive, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def identities(self, components: Sequence[str]) -> dict[str, list[str]]:
        """The unique ids of the pods of each component: what rolled is what has others later."""
        return {component: sorted(pod["metadata"]["uid"] for pod in self.pods(component)) for component in components}

    def rolled_out(self, kind_and_name: str, *, timeout_s: float = 300) -> None:
        """Wait until every pod of a workload is the new one and ready."""
        self.kubectl("rollout", "status", kind_and_name, f"--timeout={timeout_s:.0f}s", timeout_s=timeout_s + 30)

    def restarts(self) -> dict[str, int]:
        """Pods whose containers ended and were started again, with how often."""
        counts = {
            pod["metadata"]["name"]: sum(c["restartCount"] for c in pod["status"].get("containerStatuses", [])) for pod in self.get("pods")
        }
        return {name: count for name, count in counts.items() if count}


def wait_for(what: str, look: Callable[[], T], *, timeout_s: float = 120, every_s: float = 0.5) -> T:
    """The first true answer of ``look``.

    Raises:
        AssertionError: It did not come in time; the message has the last answer.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s:.0f} s; last seen: {answer!r}")
        time.sleep(every_s)


def is_ready(pod: Any) -> bool:
    """Whether a pod's conditions say that it can be used."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def diagnosis(cluster: Cluster) -> Iterator[str]:
    """What a person would look at first when a test failed: pods, events, and the ends of logs."""
    for arguments in (
        ["get", "all", "--output", "wide"],
        ["get", "events", "--sort-by=.lastTimestamp"],
        [
            "logs",
            "--selector",
            "app.kubernetes.io/part-of=feature-platform",
            "--all-containers",
            "--tail=60",
            "--prefix",
            "--max-log-requests=60",
        ],
    ):
        try:
            yield f"$ kubectl {' '.join(arguments)}\n{cluster.kubectl(*arguments)[-30000:]}"
        except CommandError as error:
            yield str(error)
