"""From an empty namespace to a value online, and what the installed release is and refuses."""

import json
import time
from datetime import timedelta

import pytest

from deploy.e2e.cluster import CommandError, run, wait_for
from deploy.e2e.dagster_api import Dagster
from deploy.e2e.figures import Figures
from deploy.e2e.release import CHART, DAYS, FIRST_DAY, NAME, SECURE_POD, Release, day


def test_installs_into_an_empty_restricted_namespace_and_serves_what_a_run_pod_built(
    release: Release, dagster: Dagster, figures: Figures
) -> None:
    release.prepare()
    began = time.monotonic()
    with figures.seconds("helm_install_s"):
        release.install()
    release.start_pods()
    release.script("seed.py", FIRST_DAY.isoformat(), str(DAYS))
    with figures.seconds("first_run_s"):
        run_id = dagster.launch(partition=day(-1))
        dagster.succeeded(run_id)
    published = release.published()
    rows = release.published(published["head"])["rows"][published["head"]]
    release.until_online(rows)
    figures.add("install_to_first_value_s", round(time.monotonic() - began, 1))
    pod = dagster.pod(run_id)
    assert pod["metadata"]["ownerReferences"][0]["kind"] == "Job"
    assert any(row["f_total_events_7d"] for row in release.online().values())


def test_the_watch_sees_that_all_is_well(release: Release) -> None:
    well = 'feature_platform_state{feature_set="user_features",state="healthy"} 1.0'
    wait_for("the watch to see a healthy feature set", lambda: well in release.watched(), timeout_s=120)


def test_no_container_had_to_be_started_twice(release: Release) -> None:
    assert not release.cluster.restarts()


def test_helm_test_proves_what_is_served(release: Release, figures: Figures) -> None:
    with figures.seconds("helm_test_s"):
        release.cluster.helm("test", NAME, "--timeout=5m")


def test_the_namespace_refuses_a_pod_that_is_not_restricted(release: Release) -> None:
    pod = release.plain_pod("loose", ["true"])
    pod["spec"]["securityContext"] = SECURE_POD | {"runAsNonRoot": False}
    with pytest.raises(CommandError, match="violates PodSecurity"):
        release.cluster.kubectl("create", "--dry-run=server", "--filename", "-", stdin=json.dumps(pod))


def test_only_pods_of_the_platform_reach_its_stores(release: Release) -> None:
    stores = [f"{NAME}-redis:6379", f"{NAME}-postgresql:5432", f"{NAME}-s3:8333"]
    assert [release.can_connect("workbench", store) for store in stores] == [True, True, True]
    assert [release.can_connect("client", store) for store in stores] == [False, False, False]
    assert release.can_connect("client", f"{NAME}-feature-server:6566")


def test_only_launchers_hold_a_token_of_the_cluster(release: Release) -> None:
    holders = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]
        for pod in release.cluster.get("pods", "--selector", "app.kubernetes.io/part-of=feature-platform")
        for volume in pod["spec"].get("volumes", [])
        if volume["name"].startswith("kube-api-access")
    }
    assert holders == {"webserver", "daemon"}


def test_the_reader_may_not_write_to_redis(release: Release) -> None:
    code = (
        "import os, redis\n"
        "address, *options = os.environ['FEATURE_PLATFORM_REDIS'].split(',')\n"
        "given = dict(option.split('=', 1) for option in options)\n"
        "client = redis.Redis(*address.split(':'), username=given['username'], password=given['password'])\n"
        "try:\n    client.hset('e2e', 'a', 'b'); print('written')\n"
        "except redis.exceptions.NoPermissionError as error:\n    print('refused')\n"
    )
    assert release.cluster.execute(release.object("deployment", "feature-server"), "python", "-c", code).strip() == "refused"


def test_feast_materialize_works_by_hand_in_the_code_location(release: Release) -> None:
    release.cluster.execute(
        release.object("deployment", "code-location"),
        *("feast", "--chdir", "/app/feast_repo", "materialize", f"{FIRST_DAY}T00:00:00", f"{FIRST_DAY + timedelta(days=DAYS)}T00:00:00"),
    )
    report = json.loads(release.bench("feature-platform", "deployment", "verify", "--json"))
    assert report["findings"] == []


def test_contracts_are_files_that_nobody_can_change(release: Release) -> None:
    with pytest.raises(CommandError, match="cannot create"):
        release.bench("sh", "-c", 'echo >> "$FEATURE_PLATFORM_CONTRACTS_DIR/user_features.schema.json"')


def test_a_typo_in_the_values_is_refused(release: Release) -> None:
    with pytest.raises(CommandError, match="imagePulPolicy"):
        run(["helm", "template", NAME, str(CHART), *release.values(), "--set=imagePulPolicy=Always"])
