"""A service that reads features all the time: a pod with ``pods/reader.py``. What its answers should be is decided by the tests."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from deploy.e2e.cluster import wait_for
from deploy.e2e.release import CONTRACT, PODS, READING_USERS, SERVER, Release

RATE = 50
FEATURES = [f"user_features:{column['name']}" for column in json.loads(CONTRACT.read_text())["columns"] if column["name"].startswith("f_")]
"""Named one by one, not by feature service: Feast's server looks a service and its view up in turn, and a request fails when the registry
is refreshed in between (1 of 10,483 as a contract changed)."""


class Reader:
    """Reads at 50 requests a second until it is stopped; then its report is there."""

    def __init__(self, release: Release, name: str) -> None:
        self._release, self._name = release, name
        self.report: dict[str, Any] = {}

    def start(self) -> None:
        """Create the pod, and wait for its first answers."""
        cluster = self._release.cluster
        task = {"url": SERVER, "features": FEATURES, "entities": READING_USERS, "rate": RATE}
        files = {"reader.py": (PODS / "reader.py").read_text(), "task.json": json.dumps(task)}
        cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self._name}, "data": files})
        cluster.apply(self._release.plain_pod(self._name, ["python", "/files/reader.py", "/files/task.json"], config_map=self._name))
        cluster.kubectl("wait", "--for=condition=Ready", f"pod/{self._name}", "--timeout=120s")
        wait_for(f"the first answer to {self._name}", lambda: cluster.execute(f"pod/{self._name}", "ls", "/tmp").count("reads"))

    def stop(self) -> dict[str, Any]:
        """Its report; the pod is removed."""
        cluster = self._release.cluster
        cluster.execute(f"pod/{self._name}", "touch", "/tmp/stop")
        ended = wait_for(f"the end of {self._name}", lambda: self._phase() in {"Succeeded", "Failed"}, timeout_s=60)
        assert ended
        log = cluster.kubectl("logs", f"pod/{self._name}")
        lines = [line for line in log.splitlines() if line.startswith("REPORT ")]
        assert lines, f"the reader ended without a report:\n{log[-4000:]}"
        self.report = json.loads(lines[-1].removeprefix("REPORT "))
        cluster.kubectl("delete", f"pod/{self._name}", f"configmap/{self._name}", "--wait=true")
        return self.report

    def _phase(self) -> str:
        return str(self._release.cluster.get(f"pod/{self._name}")["status"].get("phase"))


@contextmanager
def reading(release: Release, name: str) -> Iterator[Reader]:
    """A reader during a block, stopped at its end; whatever happens, its pod is gone afterwards."""
    reader = Reader(release, name)
    reader.start()
    try:
        yield reader
    finally:
        reader.stop()


def versions_seen(report: Mapping[str, Any], published: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """How many rows were answered of each published version; ``mixed`` counts those that are no version's row as a whole.

    Args:
        report: The reader's.
        published: Version → entity → feature → value. A feature that a version lacks may be answered as null: it is known already and
            not loaded yet.
    """
    counts: dict[str, int] = {}
    for seen in report["rows"]:
        fits = [v for v, rows in published.items() if all(value == rows[seen["entity"]].get(name) for name, value in seen["row"].items())]
        label = "mixed" if not fits else fits[0] if len(fits) == 1 else "either"
        counts[label] = counts.get(label, 0) + seen["count"]
    return counts


def assert_flawless(report: Mapping[str, Any], published: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Every request was answered, and every row was one published version's as a whole. Answers the figures to report."""
    seen = versions_seen(report, published)
    assert not report["failed"], f"{report['failed']} of {report['requests']} requests failed: {report['failures']}"
    assert not seen.get("mixed"), [row for row in report["rows"] if not versions_seen({"rows": [row]}, published).keys() - {"mixed"}][:5]
    assert report["per_second"] > 0.8 * RATE, f"the reader came to {report['per_second']} requests a second, expected {RATE}"
    return {name: report[name] for name in ("seconds", "requests", "per_second", "failed", "milliseconds")} | {"rows": seen, "mixed": 0}
