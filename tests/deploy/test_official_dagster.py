"""The values for Dagster's own chart: what they name is what this chart delivers without Dagster, and reaches run pods."""

import json
from typing import Any

import pytest
import yaml
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job
from kubernetes.client import ApiClient

from feature_platform.settings import PREFIX, load_settings, variable
from tests.support.chart import RELEASE, ROOT, render
from tests.support.kubernetes_schemas import schema_faults
from tests.support.pod_security import breaches

TEXT = (ROOT / "deploy" / "helm" / "official-dagster-values.yaml").read_text(encoding="utf-8")
SERVING = render("serving")


@pytest.fixture(scope="module")
def deployment() -> dict[str, Any]:
    """The one user deployment, for the release of the tests."""
    (found,) = yaml.safe_load(TEXT.replace("features-feature-platform-", f"{RELEASE}-feature-platform-"))["dagster-user-deployments"][
        "deployments"
    ]
    return found


@pytest.fixture(scope="module")
def job(deployment: dict[str, Any]) -> dict[str, Any]:
    """A run of it. The official chart hands these keys to run pods (`deployment-user.yaml`), and dagster-k8s takes them from there."""
    context = K8sContainerContext.create_from_config(
        {
            "k8s": {
                "env": deployment["env"],
                "env_config_maps": [item["name"] for item in deployment["envConfigMaps"]],
                "volumes": deployment["volumes"],
                "volume_mounts": deployment["volumeMounts"],
                "labels": deployment["labels"],
                "resources": deployment["resources"],
                "security_context": deployment["securityContext"],
                "run_k8s_config": {"pod_spec_config": {"security_context": deployment["podSecurityContext"]}},
            }
        }
    )

    built = construct_dagster_k8s_job(
        job_config=DagsterK8sJobConfig(job_image="image:1"),
        args=["run"],
        job_name="run",
        user_defined_k8s_config=context.run_k8s_config,
    )
    sent: dict[str, Any] = ApiClient().sanitize_for_serialization(built)
    return sent


def test_what_it_names_is_delivered(deployment):
    config_maps = {item["metadata"]["name"] for item in SERVING.objects if item["kind"] == "ConfigMap"}
    named = {item["name"] for item in deployment["envConfigMaps"]}
    named |= {volume["configMap"]["name"] for volume in deployment["volumes"] if "configMap" in volume}
    assert named <= config_maps
    assert not [
        item for item in SERVING.objects if item["metadata"]["labels"]["app.kubernetes.io/component"] in {"webserver", "daemon", "instance"}
    ]


def test_every_contract_is_mounted_where_the_settings_look(deployment):
    files = SERVING.find("ConfigMap", "contracts")["data"]
    directory = SERVING.find("ConfigMap", "env")["data"][variable("contracts_dir")]
    mounts = {m["mountPath"]: m["subPath"] for m in deployment["volumeMounts"] if m["name"] == "contracts"}
    assert mounts == {f"{directory}/{name}": name for name in files}


def test_the_settings_are_complete(deployment, tmp_path):
    given = {name: value for name, value in SERVING.find("ConfigMap", "env")["data"].items() if name.startswith(PREFIX)}
    given |= {item["name"]: item["value"] for item in deployment["env"] if "value" in item}
    settings = load_settings({**given, variable("contracts_dir"): str(tmp_path)})
    assert settings.redis == f"{RELEASE}-feature-platform-redis:6379,username=loader,password=$(REDIS_PASSWORD)"


def test_a_run_has_it_all_and_fits_restricted_pod_security(deployment, job):
    spec = job["spec"]["template"]["spec"]
    container = spec["containers"][0]
    assert [fault for minor in ("1.36", "1.37") for fault in schema_faults(job, minor=minor)] == []
    assert breaches(spec) == []
    assert {m["mountPath"] for m in container["volumeMounts"]} == {m["mountPath"] for m in deployment["volumeMounts"]}
    assert container["envFrom"] == [{"configMapRef": {"name": f"{RELEASE}-feature-platform-env"}}]
    assert [item["name"] for item in container["env"]] == ["REDIS_PASSWORD", "FEATURE_PLATFORM_REDIS"]


def test_its_pods_are_let_in_by_redis(job):
    (allowed,) = [yaml.safe_load(line.removeprefix("#")) for line in TEXT.splitlines() if line.startswith("#   networkPolicy")]
    policy = render("serving", {f"networkPolicy.{name}": value for name, value in allowed["networkPolicy"].items()}).find(
        "NetworkPolicy", "redis"
    )
    selectors = [
        peer["podSelector"]["matchLabels"] for peer in policy["spec"]["ingress"][0]["from"] if "matchLabels" in peer["podSelector"]
    ]
    assert any(selector.items() <= job["spec"]["template"]["metadata"]["labels"].items() for selector in selectors)
    assert "feature-platform/loads" in json.dumps(policy)
