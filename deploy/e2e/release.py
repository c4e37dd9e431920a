"""The release under test: its secrets, its values, Helm's verbs on it, and two pods beside it that act as its users do.

The *workbench* has a run pod's labels, environment and files: commands of an operator are executed in it. The *client* is a pod of the same
namespace without any label of the platform: it may reach the feature server and the webserver, and nothing else.
"""

import base64
import json
import os
import secrets
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from deploy.e2e.cluster import Cluster, run, wait_for

NAME = "feature-platform"
ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/feature-platform"
SERVER = f"http://{NAME}-feature-server:6566"
READING_USERS = (1001, 1002, *range(1005, 1023))
"""Users of the demo's events whose features the tests read; two of the others are absent on purpose."""
CONTRACT = ROOT / "feast_repo/contracts/user_features.schema.json"
PODS = Path(__file__).parent / "pods"
DAYS = 12
"""Days of raw events; the newest is yesterday, so that its features are within their ttl."""
FIRST_DAY: date = datetime.now(UTC).date() - timedelta(days=DAYS)
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
SECURE_CONTAINER = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
SECURE_POD = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"}}

POST = """
import sys, urllib.request as u
request = u.Request(sys.argv[1], sys.stdin.buffer.read(), {"Content-Type": "application/json"})
print(u.urlopen(request, timeout=60).read().decode())
"""
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)
    print("open")
except OSError as error:
    print("closed:", error)
"""


def day(number: int) -> str:
    """The partition key of a day of the raw events; 0 is the first, -1 yesterday."""
    return (FIRST_DAY + timedelta(days=number % DAYS)).isoformat()


def password() -> str:
    """Letters and digits, a letter first: Feast's connection string takes nothing else."""
    return "p" + secrets.token_hex(12)


@dataclass
class Release:
    """The platform in one namespace."""

    cluster: Cluster
    image: str
    revisions: list[tuple[str, ...]] = field(default_factory=list)
    """What each upgrade added to Helm's arguments."""

    def prepare(self) -> None:
        """An empty namespace that enforces restricted Pod Security, with the Secrets that the values name."""
        name = self.cluster.namespace
        run(["kubectl", "delete", "namespace", name, "--ignore-not-found", "--timeout=300s"])
        run(
            ["kubectl", "create", "--filename", "-"],
            stdin=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}),
        )
        self.secret("feature-platform-postgresql", {"postgresql-password": password()})
        self.secret("feature-platform-redis", {f"{user}-password": password() for user in ("admin", "loader", "reader")})
        self.secret("feature-platform-s3", {"AWS_ACCESS_KEY_ID": "feature-platform", "AWS_SECRET_ACCESS_KEY": password()})

    def secret(self, name: str, data: dict[str, str]) -> None:
        """Create a Secret or change keys of it."""
        self.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})

    def read_secret(self, name: str) -> dict[str, str]:
        """A Secret's data."""
        data = self.cluster.get(f"secret/{name}")["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def values(self) -> list[str]:
        """Helm's arguments: the values of a laptop, the test's, the caller's, and what was set since."""
        repository, _, tag = self.image.rpartition(":")
        files = [ROOT / "deploy/envs/local/values.yaml", Path(__file__).with_name("values.yaml")]
        files += [Path(name) for name in os.environ.get("E2E_VALUES", "").split(os.pathsep) if name]
        chosen = {"image.repository": repository, "image.tag": tag, "settings.startDate": FIRST_DAY.isoformat()}
        return [
            *(f"--values={file}" for file in files),
            *(f"--set-string={name}={value}" for name, value in chosen.items()),
            *(setting for revision in self.revisions for setting in revision),
        ]

    def install(self) -> None:
        """``helm install``, until everything runs and the hooks are done."""
        self.cluster.helm("install", NAME, str(CHART), *self.values(), "--wait", "--timeout=10m")

    def upgrade(self, *settings: str) -> None:
        """``helm upgrade`` to the same chart with further settings, which stay for later upgrades."""
        self.revisions.append(settings)
        self.cluster.helm("upgrade", NAME, str(CHART), *self.values(), "--wait", "--timeout=10m")

    def rollback(self) -> None:
        """``helm rollback`` to the revision before; later upgrades do without what it had set, as a reverted commit does."""
        self.revisions.pop()
        self.cluster.helm("rollback", NAME, "--wait", "--timeout=10m")

    def object(self, kind: str, component: str) -> str:
        """``deployment/…-daemon``."""
        return f"{kind}/{NAME}-{component}"

    def start_pods(self) -> None:
        """Start the workbench and the client anew, once the release is there."""
        self.cluster.kubectl("delete", "pod/workbench", "pod/client", "--ignore-not-found", "--wait=true")
        server = self.cluster.get(self.object("deployment", "code-location"))["spec"]["template"]
        spec = deepcopy(server["spec"])
        spec.pop("initContainers", None)
        container = spec["containers"][0]
        for probe in ("livenessProbe", "readinessProbe", "startupProbe", "ports", "lifecycle"):
            container.pop(probe, None)
        container |= {
            "name": "workbench",
            "command": ["sleep", "infinity"],
            "resources": {"requests": {"cpu": "10m", "memory": "256Mi"}, "limits": {"memory": "3Gi"}},
        }
        labels = server["metadata"]["labels"] | {"app.kubernetes.io/component": "run"}
        bench = {
            "metadata": {"name": "workbench", "labels": labels},
            "spec": spec | {"terminationGracePeriodSeconds": 0, "restartPolicy": "Always"},
        }
        self.cluster.apply({"apiVersion": "v1", "kind": "Pod", **bench})
        self.cluster.apply(self.plain_pod("client", ["sleep", "infinity"]))
        self.cluster.kubectl("wait", "--for=condition=Ready", "pod/workbench", "pod/client", "--timeout=180s")

    def plain_pod(self, name: str, command: list[str], *, config_map: str = "") -> Any:
        """A pod of the platform's image that is no part of the platform."""
        mounts = [{"name": "tmp", "mountPath": "/tmp"}]
        volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
        if config_map:
            mounts.append({"name": "files", "mountPath": "/files"})
            volumes.append({"name": "files", "configMap": {"name": config_map}})
        container = {
            "name": name,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": command,
            "securityContext": SECURE_CONTAINER,
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
            "volumeMounts": mounts,
        }
        spec = {
            "containers": [container],
            "volumes": volumes,
            "securityContext": SECURE_POD,
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"e2e": name}}, "spec": spec}

    def bench(self, *command: str, stdin: str | None = None, environment: dict[str, str] | None = None, timeout_s: float = 600) -> str:
        """Output of an operator's command, executed in the workbench."""
        given = [f"{name}={value}" for name, value in (environment or {}).items()]
        return self.cluster.execute("pod/workbench", *(["env", *given] if given else []), *command, stdin=stdin, timeout_s=timeout_s)

    def script(self, name: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
        """Output of one of the scripts in ``pods/``, executed in the workbench."""
        return self.bench("python", "-", *arguments, stdin=(PODS / name).read_text(), environment=environment)

    def watched(self) -> str:
        """What the watch tells Prometheus."""
        code = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9108/metrics', timeout=10).read().decode())"
        return self.cluster.execute(self.object("deployment", "watch"), "python", "-c", code)

    def published(self, *versions: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
        """What S3 holds of ``user_features``: see ``pods/published.py``."""
        answer: dict[str, Any] = json.loads(self.script("published.py", "user_features", *versions, environment=environment))
        return answer

    def online(self, url: str = SERVER) -> dict[str, dict[str, Any]]:
        """User → feature → value of the reading users, read over HTTP from the client pod."""
        wanted = {"feature_service": "user_features", "entities": {"user_id": READING_USERS}}
        document = self.post(f"{url}/get-online-features", wanted)
        columns = dict(zip(document["metadata"]["feature_names"], document["results"], strict=True))
        return {
            str(user): {name: column["values"][place] for name, column in columns.items() if name != "user_id"}
            for place, user in enumerate(READING_USERS)
        }

    def _answers(self, url: str, wanted: dict[str, dict[str, Any]]) -> bool:
        return self.online(url) == wanted

    def post(self, url: str, document: Any) -> Any:
        """What a server of the cluster answers the client pod; JSON both ways."""
        return json.loads(self.cluster.execute("pod/client", "python", "-c", POST, url, stdin=json.dumps(document)))

    def can_connect(self, pod: str, address: str) -> bool:
        """Whether a TCP connection from a pod to ``host:port`` opens within three seconds."""
        host, port = address.split(":")
        return self.cluster.execute(f"pod/{pod}", "python", "-c", CONNECT, host, port).startswith("open")

    def until_online(self, rows: dict[str, dict[str, Any]], *, timeout_s: float = 60) -> None:
        """Wait until every feature server answers every reading user with exactly the row that was published."""
        wanted = {str(user): rows[str(user)] for user in READING_USERS}
        for pod in self.cluster.pods("feature-server"):
            url = f"http://{pod['status']['podIP']}:6566"
            wait_for(f"the published rows online at {url}", partial(self._answers, url, wanted), timeout_s=timeout_s)
