"""What breaks by itself: pods of Redis, the daemon, runs and the code location end at the wrong moment."""

from deploy.e2e.cluster import is_ready, wait_for
from deploy.e2e.dagster_api import FINISHED, Dagster
from deploy.e2e.figures import Figures
from deploy.e2e.release import Release, day


def kill(release: Release, component: str) -> None:
    """End a component's pods at once, as a node that dies does."""
    release.cluster.kubectl("delete", "pod", "--selector", f"app.kubernetes.io/component={component}", "--grace-period=0", "--force")


def test_redis_comes_back_with_what_was_online(release: Release, figures: Figures) -> None:
    head = release.published()["head"]
    rows = release.published(head)["rows"][head]
    with figures.seconds("redis_killed_to_served_s"):
        kill(release, "redis")
        wait_for("Redis", lambda: any(is_ready(pod) for pod in release.cluster.pods("redis")))
        wait_for("the feature servers", lambda: all(is_ready(pod) for pod in release.cluster.pods("feature-server")))
        release.until_online(rows)


def test_a_run_queued_while_the_daemon_is_away_runs_once_it_is_back(release: Release, dagster: Dagster, figures: Figures) -> None:
    kill(release, "daemon")
    run_id = dagster.launch(partition=day(-1))
    with figures.seconds("daemon_killed_to_run_done_s"):
        dagster.succeeded(run_id)


def test_a_dead_daemon_is_told_by_what_still_lives_and_so_is_its_return(release: Release, figures: Figures) -> None:
    daemon, told = release.object("deployment", "daemon"), 'feature_platform_incident{code="daemon_dead",subject="dagster"} 1.0'
    assert told not in release.watched()
    release.cluster.kubectl("scale", daemon, "--replicas=0")
    with figures.seconds("daemon_dead_to_alert_s"):
        wait_for("the alert", lambda: told in release.watched(), timeout_s=360)
    release.cluster.kubectl("scale", daemon, "--replicas=1")
    wait_for("the recovery", lambda: told not in release.watched(), timeout_s=360)


def test_a_killed_run_pod_is_run_again(release: Release, dagster: Dagster, figures: Figures) -> None:
    run_id = dagster.launch(partition=day(-1))
    pod = dagster.started(run_id)["metadata"]["name"]
    with figures.seconds("run_pod_killed_to_retried_s"):
        release.cluster.kubectl("delete", f"pod/{pod}", "--grace-period=0", "--force")
        assert dagster.finished(run_id)["status"] == "FAILURE"
        (retry,) = wait_for("the retry", lambda: dagster.runs(dagster__parent_run_id=run_id), timeout_s=120)
        dagster.succeeded(retry["runId"])


def test_runs_in_flight_survive_a_rollout_of_the_code_location(release: Release, dagster: Dagster) -> None:
    run_id = dagster.launch(partition=day(-1))
    dagster.started(run_id)
    release.cluster.kubectl("rollout", "restart", release.object("deployment", "code-location"))
    assert dagster.run(run_id)["status"] not in FINISHED, "the run ended before the rollout began; nothing was shown"
    dagster.succeeded(run_id)
    release.cluster.rolled_out(release.object("deployment", "code-location"))
