"""More of everything: partitions side by side in pods of their own, feature servers that come and go under load."""

import json
from datetime import datetime
from typing import Any

import pytest

from deploy.e2e.cluster import ENDED, CommandError, is_ready, wait_for
from deploy.e2e.dagster_api import FINISHED, JOB, Dagster
from deploy.e2e.figures import Figures
from deploy.e2e.reading import assert_flawless, reading
from deploy.e2e.release import DAYS, Release, day

BACKFILLED = [day(number) for number in range(1, DAYS - 1)]
ALONE = {
    "FEATURE_PLATFORM_FEATURE_BASE": "s3://feature-platform/alone/features",
    "FEATURE_PLATFORM_WORK_URI": "s3://feature-platform/alone/work",
    "DAGSTER_HOME": "/tmp",
}


def test_a_backfill_in_parallel_run_pods_equals_one_process(release: Release, dagster: Dagster, figures: Figures) -> None:
    assert len(BACKFILLED) == 10
    with figures.seconds("backfill_of_10_partitions_s"):
        answer = release.cluster.execute(
            release.object("deployment", "daemon"),
            *("dagster", "job", "backfill", "--workspace=/etc/dagster/workspace.yaml", f"--job={JOB}"),
            *(f"--from={BACKFILLED[0]}", f"--to={BACKFILLED[-1]}", "--noprompt"),
        )
        backfill = answer.split()[-1].strip("`")
        runs = wait_for(f"the end of the runs of backfill {backfill}", lambda: _all_finished(dagster, backfill), timeout_s=1200, every_s=3)
    assert sorted(run["tags"]["dagster/partition"] for run in runs) == BACKFILLED
    assert {run["status"] for run in runs} == {"SUCCESS"}
    figures.add("backfill_run_pods_at_once", at_once(release, [run["runId"] for run in runs]))
    assert figures.found["backfill_run_pods_at_once"] >= 2

    with figures.seconds("one_process_of_10_partitions_s"):
        release.bench(
            *("dagster", "asset", "materialize", "--select", "raw_events,validated_events,user_features"),
            *("--partition-range", f"{BACKFILLED[0]}...{BACKFILLED[-1]}", "--module-name", "feature_platform.definitions"),
            environment=ALONE,
        )
    parallel, alone = hashes(release.published()), hashes(release.published(environment=ALONE))
    assert len(alone) == 10
    assert {version: parallel[version] for version in alone} == alone


def test_a_feature_server_is_drained_without_a_failed_answer_and_the_budget_keeps_the_other(release: Release, figures: Figures) -> None:
    head = release.published()["head"]
    published = release.published(head)["rows"]
    first, second = (pod["metadata"]["name"] for pod in release.cluster.pods("feature-server"))
    with reading(release, "reader-drain") as reader:
        evict(release, first)
        with pytest.raises(CommandError, match="disruption budget"):
            evict(release, second)
        wait_for("a new feature server", lambda: _others_ready(release, gone=first), timeout_s=180)
        wait_for("the end of the old one", lambda: not release.cluster.exists(f"pod/{first}"), timeout_s=120)
    figures.add("drain_under_load", assert_flawless(reader.report, published))
    assert release.cluster.exists(f"pod/{second}")


def evict(release: Release, pod: str) -> None:
    """Ask for a pod's end as `kubectl drain` does."""
    namespace = release.cluster.namespace
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    release.cluster.kubectl(
        "create", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", "--filename", "-", stdin=json.dumps(eviction)
    )


def hashes(published: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Version → hashes of its contract and of its rows."""
    return {version["version"]: (version["schema_hash"], version["content_hash"]) for version in published["versions"]}


def at_once(release: Release, runs: list[str]) -> int:
    """The greatest number of these runs' pods that ran at one time."""
    # A run is over a moment before the process in its pod is.
    pods = wait_for("the end of the runs' pods", lambda: _ended_pods(release, runs), timeout_s=60)
    times: list[tuple[str, int]] = []
    for pod in pods:
        ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        times += [(ended["startedAt"], 1), (ended["finishedAt"], -1)]
    running = highest = 0
    for _, change in sorted(times, key=lambda item: (datetime.fromisoformat(item[0]), item[1])):
        running += change
        highest = max(highest, running)
    return highest


def _ended_pods(release: Release, runs: list[str]) -> list[Any]:
    pods: list[Any] = release.cluster.get("pods", "--selector", f"dagster/run-id in ({','.join(runs)})")
    return pods if all(pod["status"]["phase"] in ENDED for pod in pods) else []


def _all_finished(dagster: Dagster, backfill: str) -> list[Any]:
    runs = dagster.runs(dagster__backfill=backfill)
    return runs if len(runs) == len(BACKFILLED) and all(run["status"] in FINISHED for run in runs) else []


def _others_ready(release: Release, *, gone: str) -> bool:
    pods = [pod for pod in release.cluster.pods("feature-server") if pod["metadata"]["name"] != gone]
    return len(pods) == 2 and all(is_ready(pod) for pod in pods)
