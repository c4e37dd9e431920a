"""The Job that Dagster's own launcher makes of a run, from the ``dagster.yaml`` that the chart renders. Expectations do not belong here."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from dagster import DagsterRun
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.instance.ref import InstanceRef
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import construct_dagster_k8s_job
from kubernetes.client import ApiClient

from tests.support.chart import Release

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "none",
    "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "none", "user": {}}],
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
}


def instance_of(release: Release, home: Path) -> InstanceRef:
    """The instance as a pod loads it from its ``dagster.yaml``; nothing is connected to."""
    (home / "dagster.yaml").write_text(release.find("ConfigMap", "instance")["data"]["dagster.yaml"], encoding="utf-8")
    return InstanceRef.from_dir(str(home))


def launched_job(release: Release, home: Path, *, tags: Mapping[str, Any] | None = None, image: str = "of-the-code:1") -> dict[str, Any]:
    """What the launcher sends to Kubernetes for one run of the daily job.

    Args:
        release: What the chart rendered.
        home: An empty directory.
        tags: The run's tags; mappings are written as JSON.
        image: The image that the code location says its code runs in.
    """
    data = instance_of(release, home).run_launcher_data
    assert data is not None
    (home / "kubeconfig").write_text(json.dumps(KUBECONFIG), encoding="utf-8")
    settings = {**yaml.safe_load(data.config_yaml), "load_incluster_config": False, "kubeconfig_file": str(home / "kubeconfig")}
    launcher = K8sRunLauncher.from_config_value(None, settings)
    origin = RepositoryPythonOrigin("python", ModuleCodePointer("feature_platform.definitions", "defs"), container_image=image)
    run = DagsterRun(
        job_name="daily_features",
        job_code_origin=JobPythonOrigin("daily_features", origin),
        tags={name: json.dumps(value) for name, value in (tags or {}).items()},
    )
    context = launcher.get_container_context_for_run(run)
    job = construct_dagster_k8s_job(
        job_config=context.get_k8s_job_config(job_image=image, run_launcher=launcher),
        args=["dagster", "api", "execute_run"],
        job_name=f"dagster-run-{run.run_id}",
        component="run_worker",
        user_defined_k8s_config=context.run_k8s_config,
        labels={"dagster/job": run.job_name, "dagster/run-id": run.run_id},
    )
    sent: dict[str, Any] = ApiClient().sanitize_for_serialization(job)
    return sent
