"""Every values file renders to objects that Kubernetes accepts, by its own schemas."""

from collections import Counter
from copy import deepcopy
from importlib.metadata import version

import helm_python
import pytest

from tests.support.chart import CHART, MATRIX, NAMESPACE, RELEASE, Release, hooks, is_kept, key, render, values_of
from tests.support.kubernetes_schemas import schema_faults

MINORS = ("1.36", "1.37")
"""The two newest minors whose schemas are locked."""


@pytest.fixture(params=sorted(MATRIX))
def release(request: pytest.FixtureRequest) -> Release:
    return render(request.param)


@pytest.mark.parametrize("minor", MINORS)
def test_kubernetes_knows_every_field(release, minor):
    assert [(key(item), fault) for item in release.objects for fault in schema_faults(item, minor=minor)] == []


def test_the_schemas_refuse_what_kubernetes_would(release):
    misspelt = deepcopy(release.find("Deployment", "feature-server"))
    misspelt["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    assert len(schema_faults(misspelt, minor=MINORS[-1])) == 1


def test_the_chart_is_of_the_platforms_version():
    with helm_python.Chart.load(CHART) as chart:
        assert chart.metadata["appVersion"] == version("feature-platform")


def test_a_packaged_chart_renders_the_same(tmp_path):
    # The contracts are a link in the source tree; an archive holds their content.
    archive = helm_python.package(CHART, destination=tmp_path)
    with helm_python.Chart.load(archive) as chart:
        assert chart.render(values_of("prod"), name=RELEASE, namespace=NAMESPACE) == render("prod").texts


@pytest.mark.parametrize("name", sorted(MATRIX))
def test_lint_has_nothing_to_say(name):
    report = helm_python.lint(CHART, values_of(name), strict=True, namespace=NAMESPACE, kube_version="v1.37.0")
    assert report["errors"] == []
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]


def test_names_are_unique(release):
    assert [name for name, count in Counter(map(key, release.objects)).items() if count > 1] == []


def test_names_fit_where_kubernetes_puts_them(release):
    # The pods of a StatefulSet carry "<name>-<hash>" as a label of 63 characters; those of a Job, too.
    assert [key(item) for item in release.objects if len(item["metadata"]["name"]) > 52] == []


def test_every_object_says_whose_it_is(release):
    for item in release.objects:
        labels = item["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "feature-platform"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["app.kubernetes.io/component"]


def test_selectors_select_the_pods_of_their_own_workload_alone(release):
    pods = {component: template["metadata"]["labels"] for component, template in release.pods}
    for item in release.objects:
        selector = item["spec"].get("selector") if item["kind"] in {"Deployment", "StatefulSet", "Service", "PodDisruptionBudget"} else None
        if selector is None:
            continue
        wanted = selector.get("matchLabels", selector)
        chosen = {component for component, labels in pods.items() if wanted.items() <= labels.items()}
        assert chosen == {item["metadata"]["labels"]["app.kubernetes.io/component"]}, key(item)


def test_whatever_a_pod_names_is_in_the_release_or_an_existing_secret(release):
    config_maps = {item["metadata"]["name"] for item in release.objects if item["kind"] == "ConfigMap"}
    accounts = {item["metadata"]["name"] for item in release.objects if item["kind"] == "ServiceAccount"}
    for _, template in release.pods:
        spec = template["spec"]
        assert spec["serviceAccountName"] in accounts
        named = [volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume]
        named += [source["configMapRef"]["name"] for source in spec["containers"][0].get("envFrom", []) if "configMapRef" in source]
        assert set(named) <= config_maps


def test_what_a_hook_before_the_release_names_is_a_hook_too(release):
    kept = {item["metadata"]["name"] for item in release.objects if is_kept(item)}
    for item in release.objects:
        if item["kind"] == "Job" and "pre-install" in hooks(item):
            spec = item["spec"]["template"]["spec"]
            named = {spec["serviceAccountName"]}
            named |= {volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume}
            named |= {source["configMapRef"]["name"] for source in spec["containers"][0]["envFrom"] if "configMapRef" in source}
            assert named & kept == set()


def test_mounts_and_volumes_match(release):
    for component, template in release.pods:
        spec = template["spec"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        mounted = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
        if item_claims := component in {"redis", "postgresql", "s3"}:
            volumes |= {"data"}
        assert volumes == mounted, (component, item_claims)


def test_contracts_are_mounted_file_by_file_and_read_only(release):
    files = release.find("ConfigMap", "contracts")["data"]
    for component, template in release.pods:
        mounts = [m for m in template["spec"]["containers"][0]["volumeMounts"] if m["name"] == "contracts"]
        if component in {"code-location", "feature-server", "watch", "apply", "verify"}:
            assert {m["subPath"] for m in mounts} == set(files)
            assert {m["mountPath"] for m in mounts} == {f"/etc/feature-platform/contracts/{name}" for name in files}
            assert all(m["readOnly"] for m in mounts)
        else:
            assert mounts == []
