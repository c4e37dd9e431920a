"""dev and prod by Argo CD: pinned revisions, the same contract, Secrets by reference, and what Argo CD does not forgive a chart."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.chart import CHART, ENVIRONMENTS, MATRIX, NAMESPACE, RELEASE, ROOT, Release, _chart, hooks, render, values_of

ARGOCD = ROOT / "deploy" / "argocd"
TEMPLATES = {path: path.read_text(encoding="utf-8") for path in (CHART / "templates").rglob("*") if path.is_file()}
DEPLOYED = ("dev", "prod")


def documents(path: Path) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all(path.read_text(encoding="utf-8")) if item]


@pytest.fixture(params=sorted(MATRIX))
def release(request: pytest.FixtureRequest) -> Release:
    return render(request.param)


# ---- what Argo CD does not forgive ----


def test_there_is_no_argo_hook(release):
    # One of them, and Argo CD ignores every Helm hook of the chart.
    annotations = [name for item in release.objects for name in item["metadata"].get("annotations", {})]
    assert [name for name in annotations if name.startswith("argocd.argoproj.io/")] == []


def test_nothing_is_looked_up_or_drawn():
    # `lookup` is empty where Argo CD renders, and a drawn value is out of sync for ever.
    refused = re.compile(
        r"\b(lookup|rand[A-Z]\w*|genCA|gen\w*Cert|genPrivateKey|uuidv4|now|date|htpasswd|bcrypt|\.Release\.(Revision|IsUpgrade|IsInstall))\b"
    )
    assert {str(path): found for path, text in TEMPLATES.items() if (found := refused.findall(without_comments(text)))} == {}


def without_comments(text: str) -> str:
    return re.sub(r"\{\{-?\s*/\*.*?\*/\s*-?\}\}", "", re.sub(r"(?m)^\s*#.*$", "", text), flags=re.DOTALL)


@pytest.mark.parametrize("name", sorted(MATRIX))
def test_rendering_again_renders_the_same(name):
    again = _chart().render(values_of(name), name=RELEASE, namespace=NAMESPACE, revision=9, is_install=False, is_upgrade=True)
    assert again == render(name).texts


def test_hooks_can_run_at_every_sync(release):
    for item in release.objects:
        if hooks(item):
            assert "before-hook-creation" in item["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
            assert item["kind"] in {"Job", "ConfigMap", "ServiceAccount"}


def test_the_verification_runs_where_helm_test_never_does(release):
    # Argo CD has no `helm test`; it runs what comes after an install or an upgrade, after each sync.
    assert hooks(release.find("Job", "verify")) == {"post-install", "post-upgrade", "post-rollback", "test"}


def test_jobs_run_in_their_order(release):
    weights = {
        name: int(release.find("Job", name)["metadata"]["annotations"]["helm.sh/hook-weight"])
        for name in ("migrate", "apply", "verify")
        if release.has("Job", name)
    }
    assert sorted(weights, key=weights.__getitem__) == [name for name in ("migrate", "apply", "verify") if name in weights]
    copies = [item for item in release.objects if hooks(item) and item["kind"] != "Job"]
    assert all(int(item["metadata"]["annotations"]["helm.sh/hook-weight"]) < min(weights.values()) for item in copies)


@pytest.mark.parametrize(("name", "migrate", "apply"), [("prod", "pre", "pre"), ("dev", "post", "pre"), ("local", "post", "post")])
def test_a_job_runs_before_the_release_where_its_servers_are_outside(name, migrate, apply):
    # Before: a failed migration stops the upgrade. After: there is no server to speak to before the release made it, and a hook that waits
    # for one would block the first install, and the first sync, for ever.
    for job, stage in (("migrate", migrate), ("apply", apply)):
        assert hooks(render(name).find("Job", job)) == {f"{stage}-install", f"{stage}-upgrade"}


def test_no_pod_waits_for_a_job_that_comes_after_it(release):
    # With --wait, and in Argo CD always, hooks after the release run when its pods are ready.
    for component, template in release.pods:
        for container in template["spec"].get("initContainers", []):
            assert container["name"] == "wait-for-servers", component
            addresses = [word for word in container["command"] if re.fullmatch(r"[a-z0-9-]+:\d+", word)]
            assert addresses
            assert all(re.search(r"-(postgresql|redis|s3):", word) for word in addresses)


def test_replicas_belong_to_the_autoscaler_alone():
    assert "replicas" not in render("prod").find("Deployment", "feature-server")["spec"]
    assert render("prod").has("HorizontalPodAutoscaler", "feature-server")


# ---- dev and prod ----


def test_dev_and_prod_deliver_the_same_contract():
    delivered = {name: render(name).find("ConfigMap", "contracts")["data"] for name in DEPLOYED}
    assert delivered["dev"] == delivered["prod"]
    source = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "feast_repo" / "contracts").iterdir()}
    assert delivered["prod"] == source
    roll = {name: render(name).pod("feature-server")["metadata"]["annotations"]["checksum/contracts"] for name in DEPLOYED}
    assert roll["dev"] == roll["prod"]


def test_environments_share_no_bucket_and_no_registry():
    def places(name: str) -> set[str]:
        settings = values_of(name)["settings"]
        return {settings[key] for key in ("rawUri", "workUri", "featureBase", "registryUri")}

    assert places("dev").isdisjoint(places("prod"))
    assert all(values_of(name)["environment"] == name for name in ENVIRONMENTS)


@pytest.mark.parametrize("file", ["applicationset.yaml", "secrets-applicationset.yaml"])
def test_each_environment_has_a_revision_that_does_not_move(file):
    """Read from files of the repository, so that moving one is a commit and nothing else."""
    (applications,) = documents(ARGOCD / file)
    (generator,) = applications["spec"]["generators"]
    (files,) = generator["git"]["files"]
    elements = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(ROOT.glob(files["path"]))]
    assert [element["environment"] for element in elements] == list(DEPLOYED)
    assert all(re.fullmatch(r"v\d+\.\d+\.\d+|[0-9a-f]{40}", element["revision"]) for element in elements)
    assert generator["git"]["repoURL"] == applications["spec"]["template"]["spec"]["source"]["repoURL"]
    assert applications["spec"]["template"]["spec"]["source"]["targetRevision"] == "{{.revision}}"
    assert applications["spec"]["syncPolicy"]["preserveResourcesOnDeletion"] is True


def test_the_applications_find_chart_values_and_secrets():
    (platform,) = documents(ARGOCD / "applicationset.yaml")
    (secrets,) = documents(ARGOCD / "secrets-applicationset.yaml")
    source = platform["spec"]["template"]["spec"]["source"]
    for environment in DEPLOYED:
        (values,) = source["helm"]["valueFiles"]
        assert (ROOT / source["path"] / values.replace("{{.environment}}", environment)).resolve() == ENVIRONMENTS[environment]
        directory = secrets["spec"]["template"]["spec"]["source"]["path"].replace("{{.environment}}", environment)
        assert list((ROOT / directory).glob("*.yaml"))


def test_the_applications_stay_within_their_project():
    (project,) = documents(ARGOCD / "project.yaml")
    for file in ("applicationset.yaml", "secrets-applicationset.yaml"):
        template = documents(ARGOCD / file)[0]["spec"]["template"]["spec"]
        assert template["project"] == project["metadata"]["name"]
        assert template["source"]["repoURL"] in project["spec"]["sourceRepos"]
        namespaces = {template["destination"]["namespace"].replace("{{.environment}}", name) for name in DEPLOYED}
        assert namespaces == {destination["namespace"] for destination in project["spec"]["destinations"]}
        labels = template["syncPolicy"]["managedNamespaceMetadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


# ---- secrets ----


def named_secrets(release: Release) -> dict[str, set[str]]:
    """Every Secret that the release's pods name → the keys they read of it."""
    found: dict[str, set[str]] = {}
    for _, template in release.pods:
        for container in template["spec"]["containers"]:
            references = [
                item["valueFrom"]["secretKeyRef"] for item in container.get("env", []) if "secretKeyRef" in item.get("valueFrom", {})
            ]
            for reference in references:
                found.setdefault(reference["name"], set()).add(reference["key"])
        for volume in template["spec"]["volumes"]:
            for source in volume.get("projected", {}).get("sources", []):
                if not source["secret"].get("optional"):
                    found.setdefault(source["secret"]["name"], set()).update(item["key"] for item in source["secret"]["items"])
    return found


def needed_secrets(name: str) -> dict[str, set[str]]:
    return {secret: keys | ({"admin-password"} if "redis" in secret else set()) for secret, keys in named_secrets(render(name)).items()}


@pytest.mark.parametrize("name", DEPLOYED)
def test_sealed_templates_have_the_names_and_keys_that_the_chart_reads(name):
    sealed = [item for path in sorted((ROOT / "deploy" / "envs" / name / "sealed-secrets").glob("*.yaml")) for item in documents(path)]
    assert {item["metadata"]["name"]: set(item["spec"]["encryptedData"]) for item in sealed} == needed_secrets(name)
    for item in sealed:
        assert (item["apiVersion"], item["kind"]) == ("bitnami.com/v1alpha1", "SealedSecret")
        # A sealed Secret opens under its own name, in its own namespace, and nowhere else.
        assert item["metadata"]["namespace"] == f"features-{name}"
        assert item["spec"]["template"]["metadata"] == item["metadata"]


@pytest.mark.parametrize("name", DEPLOYED)
def test_the_sealing_command_writes_those_secrets(name, tmp_path):
    workplace = tmp_path / "deploy"
    (workplace / "argocd").mkdir(parents=True)
    script = workplace / "argocd" / "seal-secrets.sh"
    script.write_bytes((ARGOCD / "seal-secrets.sh").read_bytes())
    # Stands where kubeseal stands in the pipe: what it is given is what would be sealed.
    kubeseal = tmp_path / "kubeseal"
    kubeseal.write_text('#!/bin/sh\n[ "$1 $2 $3" = "--format yaml --cert" ] && [ -r "$4" ] || exit 1\ncat\n')
    kubeseal.chmod(0o755)
    (tmp_path / "certificate.pem").touch()
    given = {
        "POSTGRESQL_PASSWORD": "given-1",
        "REDIS_LOADER_PASSWORD": "given-2",
        "REDIS_READER_PASSWORD": r"""given-3 \t"'#: %s""",
        "SLACK_TOKEN": "given-4",
    }
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", **(given if name == "prod" else {"SLACK_TOKEN": "given-4"})}
    subprocess.run(["sh", script, name, tmp_path / "certificate.pem"], env=environment, check=True, capture_output=True)
    written = [item for path in sorted((workplace / "envs" / name / "sealed-secrets").iterdir()) for item in documents(path)]
    assert {item["metadata"]["name"]: set(item["stringData"]) for item in written} == needed_secrets(name)
    assert {item["metadata"]["namespace"] for item in written} == {f"features-{name}"}
    values = [value for item in written for value in item["stringData"].values()]
    assert len(set(values)) == len(values)
    assert set(given.values() if name == "prod" else ["given-4"]) <= set(values)
    drawn = [value for value in values if not value.startswith("given-")]
    assert len(drawn) == (1 if name == "prod" else 4)
    assert all(re.fullmatch(r"p[A-Za-z0-9]{31}", value) for value in drawn)


def test_prod_passwords_are_never_drawn_for_servers_that_others_run(tmp_path):
    environment = {"PATH": "/usr/bin:/bin"}
    refused = subprocess.run(["sh", ARGOCD / "seal-secrets.sh", "prod", "x"], env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "POSTGRESQL_PASSWORD must be set for prod" in refused.stderr
