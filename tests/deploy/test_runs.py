"""A run's pod, as Dagster's own launcher makes it of the chart's settings: environment, files, permissions, and what a run may ask for."""

from pathlib import Path

import pytest

from tests.support.chart import MATRIX, Release, hooks, render
from tests.support.kubernetes_schemas import schema_faults
from tests.support.launched_run import instance_of, launched_job
from tests.support.pod_security import breaches, omissions

WITH_DAGSTER = sorted(name for name in MATRIX if name != "serving")


@pytest.fixture(params=WITH_DAGSTER)
def release(request: pytest.FixtureRequest) -> Release:
    return render(request.param)


def pod_of(job: dict) -> dict:
    return job["spec"]["template"]["spec"]


def test_dagster_reads_its_settings(release, tmp_path):
    reference = instance_of(release, tmp_path)
    assert reference.run_launcher_data.class_name == "K8sRunLauncher"
    assert reference.compute_logs_data.class_name == "S3ComputeLogManager"
    assert reference.storage_data.class_name == "DagsterPostgresStorage"
    assert reference.settings["run_monitoring"]["enabled"] is True
    # Resuming would need the launcher, and its token, in every process that loads the instance.
    assert reference.settings["run_monitoring"]["max_resume_run_attempts"] == 0
    assert reference.settings["run_retries"] == {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}


def test_a_run_is_a_job_that_kubernetes_accepts(release, tmp_path):
    job = launched_job(release, tmp_path)
    assert [fault for minor in ("1.36", "1.37") for fault in schema_faults(job, minor=minor)] == []


def test_a_run_fits_restricted_pod_security(release, tmp_path):
    spec = pod_of(launched_job(release, tmp_path))
    assert breaches(spec) == []
    assert omissions(spec) == []


def test_a_run_is_never_started_twice_by_kubernetes(release, tmp_path):
    job = launched_job(release, tmp_path)
    assert job["spec"]["backoffLimit"] == 0
    assert pod_of(job)["restartPolicy"] == "Never"
    assert job["spec"]["ttlSecondsAfterFinished"] == 86400


def test_a_run_has_an_account_without_a_role_and_without_a_token(release, tmp_path):
    spec = pod_of(launched_job(release, tmp_path))
    assert spec["serviceAccountName"] == "fp-feature-platform-run"
    assert spec["automountServiceAccountToken"] is False
    subjects = [s["name"] for item in release.objects if item["kind"] == "RoleBinding" for s in item["subjects"]]
    assert spec["serviceAccountName"] not in subjects


def test_a_run_has_the_contracts_and_its_credentials(release, tmp_path):
    container = pod_of(launched_job(release, tmp_path))["containers"][0]
    code = release.pod("code-location")["spec"]["containers"][0]
    assert [m for m in container["volumeMounts"] if m["name"] == "contracts"] == [
        m for m in code["volumeMounts"] if m["name"] == "contracts"
    ]
    assert container["envFrom"] == code["envFrom"]
    names = {item["name"] for item in container["env"]}
    assert {item["name"] for item in code["env"]} <= names
    assert names >= {"FEATURE_PLATFORM_REDIS", "DAGSTER_PG_PASSWORD", "DAGSTER_HOME"}


def test_a_run_is_known_to_the_network_policies(release, tmp_path):
    labels = launched_job(release, tmp_path)["spec"]["template"]["metadata"]["labels"]
    assert release.find("NetworkPolicy", "run")["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def test_a_run_uses_the_image_of_the_code_that_planned_it(release, tmp_path):
    assert pod_of(launched_job(release, tmp_path, image="registry/platform:old"))["containers"][0]["image"] == "registry/platform:old"
    code = release.pod("code-location")["spec"]["containers"][0]
    assert f"--container-image={code['image']}" in code["command"]


def test_a_run_may_ask_for_resources(release, tmp_path):
    asked = {"requests": {"cpu": "8"}, "limits": {"memory": "64Gi"}}
    job = launched_job(release, tmp_path, tags={"dagster-k8s/config": {"container_config": {"resources": asked}}})
    assert pod_of(job)["containers"][0]["resources"]["limits"]["memory"] == "64Gi"


@pytest.mark.parametrize(
    "asked",
    [
        {"pod_spec_config": {"service_account_name": "cluster-admin"}},
        {"pod_spec_config": {"host_network": True}},
        {"pod_spec_config": {"volumes": [{"name": "host", "host_path": {"path": "/"}}]}},
        {"container_config": {"security_context": {"privileged": True}}},
        {"container_config": {"image": "anything"}},
        {"job_spec_config": {"backoff_limit": 9}},
    ],
    ids=lambda asked: str(next(iter(next(iter(asked.values()))))),
)
def test_a_run_may_ask_for_nothing_else(tmp_path: Path, asked):
    with pytest.raises(Exception, match="violated the allowed list"):
        launched_job(render("dev"), tmp_path, tags={"dagster-k8s/config": asked})


def test_days_are_built_side_by_side_and_each_feature_set_is_served_by_one_step_at_a_time(release):
    runs = release.instance["concurrency"]["runs"]
    assert runs["tag_concurrency_limits"] == [{"key": "feature_platform/queue", "value": "daily_features", "limit": 3}]
    assert release.instance["concurrency"]["pools"] == {"granularity": "op", "default_limit": 1}
    assert release.instance["scheduler"]["config"]["max_catchup_runs"] == 0


def test_what_is_uninstalled_takes_its_runs_along():
    release = render("local")
    job = release.find("Job", "cleanup")
    assert hooks(job) == {"pre-delete"}
    spec = job["spec"]["template"]["spec"]
    # Which account may list and delete Jobs is in its role; whose Jobs, in the label that every run carries.
    assert spec["serviceAccountName"].endswith("-daemon")
    assert "app.kubernetes.io/instance={release}" in spec["containers"][0]["command"][2]
    assert release.instance["run_launcher"]["config"]["labels"]["app.kubernetes.io/instance"] == spec["containers"][0]["command"][4]
