"""What a change rolls and what it leaves alone: pods restart when a template changes, and for nothing else."""

import pytest

from tests.support.chart import Release, is_kept, key, render

READS_CONTRACTS = {"code-location", "feature-server", "watch"}
DAGSTER = {"webserver", "daemon", "code-location"}
PLATFORM = DAGSTER | {"feature-server", "watch"}
SERVERS = {"redis", "postgresql", "s3"}


def rolled(before: Release, after: Release) -> set[str]:
    """Components whose pods an upgrade replaces. Jobs run anew in any case."""
    old = {c: t for c, t in before.pods if c in PLATFORM | SERVERS}
    return {component for component, template in after.pods if component in old and old[component] != template}


def changed(before: Release, after: Release) -> set[tuple[str, str]]:
    old = {key(item): item for item in before.objects if is_kept(item)}
    new = {key(item): item for item in after.objects if is_kept(item)}
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"contracts.files": {"user_features.schema.json": "{}"}}, READS_CONTRACTS),
        # A new file is a new mount of run pods too, which the daemon starts.
        ({"contracts.files": {"other.sql": "select 1"}}, READS_CONTRACTS | {"webserver", "daemon"}),
        ({"settings.startDate": "2025-01-01"}, PLATFORM),
        ({"image.tag": "0.2.0"}, PLATFORM),
        ({"instance.maxConcurrentRuns": 3}, DAGSTER),
        ({"runLauncher.resources": {"limits": {"memory": "32Gi"}}}, DAGSTER),
        ({"redis.maxmemory": "128mb"}, {"redis"}),
        ({"redis.resources": {"limits": {"memory": "3Gi"}}}, {"redis"}),
        ({"redis.readerOptions": "socket_timeout=1"}, {"feature-server", "watch"}),
        ({"postgresql.resources": {"limits": {"memory": "3Gi"}}}, {"postgresql"}),
        ({"featureServer.drainSeconds": 20}, {"feature-server"}),
        ({"featureServer.replicaCount": 5}, set()),
        ({"watch.intervalSeconds": 60}, {"watch"}),
        ({"featureServer.maxUnavailable": 2}, set()),
        ({"networkPolicy.enabled": False}, set()),
        ({"jobs.backoffLimit": 9}, set()),
        ({"dagsterWebserver.service": {"type": "NodePort"}}, set()),
        ({"serviceAccounts.run": {"role": "x"}}, set()),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_change_rolls_those_that_read_it(change, expected):
    assert rolled(render("local"), render("local", change)) == expected


def test_scaling_changes_one_number_and_restarts_nothing():
    before, after = render("local"), render("local", {"featureServer.replicaCount": 5})
    assert changed(before, after) == {("Deployment", "fp-feature-platform-feature-server")}
    assert after.find("Deployment", "feature-server")["spec"]["replicas"] == 5


def test_a_contract_change_touches_its_file_and_the_pods_that_read_it():
    after = render("local", {"contracts.files": {"user_features.schema.json": "{}"}})
    assert changed(render("local"), after) == {
        ("ConfigMap", "fp-feature-platform-contracts"),
        ("Deployment", "fp-feature-platform-code-location"),
        ("Deployment", "fp-feature-platform-feature-server"),
        ("Deployment", "fp-feature-platform-watch"),
    }


def test_an_upgrade_never_touches_what_kubernetes_refuses_to_change():
    # Selectors, claims and names of a StatefulSet's service cannot change; a chart that changes them cannot be upgraded.
    for change in (
        {"image.tag": "0.2.0"},
        {"redis.persistence": {"size": "2Gi"}, "redis.maxmemory": "128mb"},
        {"postgresql.image": {"tag": "18"}},
    ):
        before, after = render("local"), render("local", change)
        for item in before.objects:
            if item["kind"] in {"Deployment", "StatefulSet"}:
                new = next(other for other in after.objects if key(other) == key(item))
                for name in ("selector", "serviceName", "volumeClaimTemplates"):
                    assert item["spec"].get(name) == new["spec"].get(name)


def test_selectors_do_not_name_a_version():
    labels = render("dev").find("Deployment", "feature-server")["spec"]["selector"]["matchLabels"]
    assert set(labels) == {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"}


def test_the_old_code_answers_until_the_new_one_does():
    # Runs are pods of their own: they go on while the code location is replaced.
    for component in ("code-location", "feature-server"):
        assert render("dev").find("Deployment", component)["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_there_are_never_two_daemons():
    spec = render("dev").find("Deployment", "daemon")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_a_server_has_time_to_write_what_it_holds():
    for server in ("redis", "postgresql"):
        assert render("dev").pod(server)["spec"]["terminationGracePeriodSeconds"] >= 60


def test_data_outlives_the_release():
    release = render("local")
    for server in SERVERS:
        spec = release.find("StatefulSet", server)["spec"]
        assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
        assert [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]] == ["data"]


def test_a_rotated_password_is_told_to_the_server_beside_the_old_one():
    sources = next(v for v in render("dev").pod("redis")["spec"]["volumes"] if v["name"] == "passwords")["projected"]["sources"]
    assert sources[1]["secret"]["optional"] is True
    assert {item["path"] for item in sources[1]["secret"]["items"]} == {"loader-previous", "reader-previous"}


def test_hook_jobs_leave_by_themselves():
    for name in ("migrate", "apply", "verify"):
        assert render("prod").find("Job", name)["spec"]["ttlSecondsAfterFinished"] == 86400
