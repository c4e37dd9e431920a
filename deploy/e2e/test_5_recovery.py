"""Disasters of docs/deploy.md, each with the commands written there: Redis, Postgres and the registry are lost for good."""

from deploy.e2e.cluster import wait_for
from deploy.e2e.dagster_api import Dagster
from deploy.e2e.figures import Figures
from deploy.e2e.release import NAME, Release, day

LOSE_REGISTRY = """
from feature_platform.core.layout import registry_uri
from feature_platform.wiring import open_platform
platform = open_platform()
platform.objects.delete(registry_uri(platform.settings.registry_uri, platform.settings.env))
"""


def lose_volume(release: Release, component: str) -> None:
    """Remove a StatefulSet's pod together with its volume; the set makes both anew."""
    release.cluster.kubectl("delete", "pvc", f"data-{NAME}-{component}-0", "--wait=false")
    release.cluster.kubectl("delete", "pod", f"{NAME}-{component}-0", "--grace-period=0", "--force")
    release.cluster.rolled_out(release.object("statefulset", component))


def test_redis_lost_is_one_run(release: Release, dagster: Dagster, figures: Figures) -> None:
    head = release.published()["head"]
    rows = release.published(head)["rows"][head]
    lose_volume(release, "redis")
    wait_for("an empty Redis", lambda: not any(value for row in release.online().values() for value in row.values()))
    with figures.seconds("redis_lost_to_served_s"):
        dagster.succeeded(dagster.launch(assets=["user_features_online"]))
        release.until_online(rows)


def test_postgres_lost_costs_the_history_of_runs_and_no_feature(release: Release, dagster: Dagster, figures: Figures) -> None:
    before = release.published()
    rows = release.published(before["head"])["rows"][before["head"]]
    lose_volume(release, "postgresql")
    with figures.seconds("postgres_lost_to_run_done_s"):
        release.upgrade()  # its hook makes the tables
        for component in ("webserver", "daemon"):
            release.cluster.kubectl("rollout", "restart", release.object("deployment", component))
            release.cluster.rolled_out(release.object("deployment", component))
        dagster.succeeded(dagster.launch(partition=day(-1)))
    assert release.published() == before
    release.until_online(rows)


def test_registry_lost_is_made_anew_from_the_contracts(release: Release, figures: Figures) -> None:
    head = release.published()["head"]
    rows = release.published(head)["rows"][head]
    release.bench("python", "-c", LOSE_REGISTRY)
    with figures.seconds("registry_lost_to_served_s"):
        release.upgrade()  # its hook applies the contracts
        release.until_online(rows, timeout_s=120)
    release.cluster.helm("test", NAME, "--timeout=5m")
