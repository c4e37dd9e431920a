"""values.yaml is an interface: closed, documented, every value used, and what cannot work is refused with a sentence."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import helm_python
import pytest
from jsonschema import Draft7Validator

from deploy.helm import values_readme
from tests.support.chart import CHART, defaults, render, values_of

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
TEXT = (CHART / "values.yaml").read_text(encoding="utf-8")

DOCUMENTED = {entry.path: entry.default for entry in values_readme.entries(TEXT) if not entry.note}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def closed_paths(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Every key that the schema names, by dotted path, as deep as it names keys."""
    for name, inner in resolved(schema).get("properties", {}).items():
        here = f"{path}.{name}".lstrip(".")
        yield here
        yield from closed_paths(inner, here)


def leaves(values: Any, path: str = "") -> Iterator[str]:
    if isinstance(values, dict) and values and path not in DOCUMENTED:
        for name, inner in values.items():
            yield from leaves(inner, f"{path}.{name}".lstrip("."))
    else:
        yield path


def is_within(path: str, outer: str) -> bool:
    return f"{path}.".startswith(f"{outer}.")


def test_the_readme_is_fresh():
    assert (CHART / "README.md").read_text(encoding="utf-8") == values_readme.readme(TEXT)


def test_every_value_is_documented():
    assert [path for path in leaves(defaults()) if path not in DOCUMENTED] == []


def test_the_schema_knows_every_value_and_no_other():
    named = set(closed_paths(SCHEMA))
    in_values = set(leaves(defaults()))
    assert in_values <= named
    # Deeper keys of free forms (an affinity, a toleration) are Kubernetes' own; `global` is what a chart around this one may pass down.
    assert {path for path in named if not any(is_within(path, leaf) or is_within(leaf, path) for leaf in in_values)} == {"global"}


@pytest.mark.parametrize("section", ["", *(name for name, value in defaults().items() if isinstance(value, dict))])
def test_a_misspelt_key_is_refused_by_its_name(section):
    misspelt = f"{section}.misspelt".lstrip(".")
    with pytest.raises(helm_python.HelmValuesError, match="misspelt"):
        render("local", {misspelt: 1})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("environment", "staging"),
        ("image.digest", "sha256:short"),
        ("settings.rawUri", "/data/raw"),
        ("settings.startDate", 20260101),
        ("featureServer.command", "stock"),
        ("featureServer.replicaCount", "2"),
        ("redis.port", 0),
        ("redis.external.address", "redis.example"),
        ("redis.maxmemory", "1 GB"),
        ("contracts.files", {"notes.txt": ""}),
        ("contracts.files", {"../secret.sql": ""}),
        ("runLauncher.resources", {"limit": {}}),
        ("postgresql.persistence.size", "8 GB"),
    ],
)
def test_a_wrong_value_is_refused(path, value):
    place = "propertyName" if path == "contracts.files" else path.split(".")[0]
    with pytest.raises(helm_python.HelmValuesError, match=place):
        render("local", {path: value})


# ---- every value is used ----

OTHERS: list[Any] = [
    "changed", "s3://changed/x", "2026-05-05", "sha256:" + 64 * "2", "9Gi", "9mb", "10.9.0.0/16", "/changed", "db=9", "host.test:1", "http://s3.test",
    "sc://changed",
    "LoadBalancer", "ClusterIP", "Never", "Always", "platform", "feast", "dev", "local", {}, {"changed": "yes"}, {"requests": {"cpu": "9"}},
    {"pod_spec_config": {"tolerations": True}}, {"nodeAffinity": {"x": 1}}, {"changed.sql": "select 2"}, [{"name": "changed"}],
    [{"key": "changed"}], "text", "json",
    [{"namespaceSelector": {}}], ["changed"], ["--changed"], ["10.9.0.0/16"], [444],
]  # fmt: skip
BASES = ("everything", "prod", "outside", "local")


def other_values(path: str, value: Any) -> Iterator[Any]:
    """Values that a key might take instead of this one, by the schema."""
    schema: dict[str, Any] = SCHEMA
    for name in path.split("."):
        schema = resolved(schema)["properties"][name]
    is_valid = Draft7Validator({**resolved(schema), "$defs": SCHEMA["$defs"]}).is_valid
    near = [] if isinstance(value, str | list | dict) else [not value, value + 1]
    yield from (other for other in [*near, *OTHERS] if type(other) is type(value) and other != value and is_valid(other))


def at(values: Any, path: str) -> Any:
    for name in path.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def shows(path: str) -> bool:
    """Whether another value at a path changes what is rendered, or is refused beside the others, from any of the values files."""
    for base in BASES:
        current = at(values_of(base), path)
        for other in other_values(path, DOCUMENTED[path] if current is None else current):
            try:
                if render(base, {path: other}).texts != render(base).texts:
                    return True
            except helm_python.HelmRenderError:
                return True
    return False


@pytest.mark.parametrize("path", sorted(DOCUMENTED))
def test_every_value_is_used(path):
    assert shows(path)


# ---- combinations ----


@pytest.mark.parametrize(
    ("base", "overrides", "sentence"),
    [
        ("local", {"settings.rawUri": ""}, "settings.rawUri must be s3://bucket/prefix"),
        ("local", {"settings.startDate": ""}, "settings.startDate must be the first daily partition"),
        ("local", {"settings.slack": {"channel": "#x"}}, "settings.slack.channel needs settings.slack.existingSecret"),
        ("local", {"settings.slack": {"existingSecret": "x"}}, "both or neither"),
        ("local", {"postgresql.existingSecret": ""}, "postgresql.existingSecret must name the Secret"),
        ("local", {"postgresql.enabled": False}, "postgresql.postgresqlHost must be given"),
        ("local", {"postgresql.postgresqlHost": "db"}, "postgresql.postgresqlHost is the external server's"),
        ("local", {"redis.auth.existingSecret": ""}, "redis.auth.existingSecret must name the Secret"),
        ("local", {"redis.tls": {"enabled": True}}, "redis.tls.existingSecret must name the Secret"),
        ("local", {"redis.enabled": False}, "redis.external.address must be given"),
        ("local", {"redis.external": {"address": "redis:6379"}}, "redis.external.address is the external server's"),
        ("local", {"aws.existingSecret": ""}, "aws.existingSecret must name the Secret"),
        ("local", {"aws.endpointUrl": "http://other"}, "aws.endpointUrl is another store's"),
        ("everything", {"dagsterWebserver.ingress.host": ""}, "dagsterWebserver.ingress.host must be given"),
        ("everything", {"dagsterWebserver.ingress.tlsSecret": ""}, "dagsterWebserver.ingress.tlsSecret must be given"),
        ("everything", {"dagsterWebserver.ingress.authentication": ""}, "must say how users are authenticated"),
        ("everything", {"featureServer.autoscaling": {"enabled": True, "minReplicas": 7}}, "minReplicas must not be above maxReplicas"),
        (
            "local",
            {"featureServer.command": "feast", "featureServer.tokens": {"existingSecret": "callers"}},
            "Feast's server knows no tokens",
        ),
        ("local", {"contracts.shipped": False}, "contracts.files must not be empty"),
        ("local", {"contracts.files": {"big.sql": "x" * 1_000_001}}, "larger than the 1 MiB"),
        ("prod", {"s3.enabled": True}, "s3.enabled is for evaluation"),
        ("prod", {"postgresql.enabled": True}, "postgresql.enabled is for dev"),
        ("prod", {"image.digest": ""}, "image.digest must be given in prod"),
        ("prod", {"redis.enabled": True, "redis.external.address": ""}, "redis.image.digest must be given in prod"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_work_is_refused_with_a_sentence(base, overrides, sentence):
    with pytest.raises(helm_python.HelmRenderError) as refused:
        render(base, overrides)
    assert sentence in str(refused.value)


def test_all_faults_are_told_at_once():
    with pytest.raises(helm_python.HelmRenderError) as refused:
        helm_python.Chart.load(CHART).render({}, name="x", namespace="y")
    assert str(refused.value).count("\n  - ") == 7


def test_a_read_only_webserver_may_be_public_without_a_word_about_authentication():
    overrides = {"dagsterWebserver.readOnly": True, "dagsterWebserver.ingress.authentication": ""}
    assert render("everything", overrides).has("Ingress", "webserver")


# ---- zero, false, empty ----


def test_zero_means_zero():
    release = render(
        "dev",
        {
            "featureServer.replicaCount": 0,
            "featureServer.maxUnavailable": 0,
            "featureServer.drainSeconds": 0,
            "dagsterWebserver.replicaCount": 0,
            "jobs.backoffLimit": 0,
            "runLauncher.ttlSecondsAfterFinished": 0,
            "instance.maxConcurrentRuns": 0,
            "instance.maxRuntimeSeconds": 0,
            "instance.maxRetries": 0,
        },
    )
    server = release.find("Deployment", "feature-server")["spec"]
    assert server["replicas"] == 0
    assert server["template"]["spec"]["terminationGracePeriodSeconds"] == 40
    assert release.find("PodDisruptionBudget", "feature-server")["spec"]["maxUnavailable"] == 0
    assert release.find("Deployment", "webserver")["spec"]["replicas"] == 0
    assert release.find("Job", "verify")["spec"]["backoffLimit"] == 0
    assert release.instance["run_launcher"]["config"]["run_k8s_config"]["job_spec_config"]["ttl_seconds_after_finished"] == 0
    assert release.instance["concurrency"]["runs"]["max_concurrent_runs"] == 0
    assert release.instance["run_monitoring"]["max_runtime_seconds"] == 0
    assert release.instance["run_retries"]["max_retries"] == 0


def test_a_large_whole_number_is_written_in_digits():
    """Helm holds numbers as floats and writes 1.2096e+06, which Dagster and the platform's settings refuse."""
    release = render(
        "local",
        {
            "settings.engineMemoryMib": 1_048_576,
            "settings.sensorIntervalSeconds": 1_209_600,
            "instance.maxRuntimeSeconds": 1_209_600,
            "runLauncher.ttlSecondsAfterFinished": 2_592_000,
            "redis.runAsUser": 1_000_660_000,
        },
    )
    environment = release.find("ConfigMap", "env")["data"]
    assert environment["FEATURE_PLATFORM_ENGINE_MEMORY_MIB"] == "1048576"
    assert environment["FEATURE_PLATFORM_SENSOR_INTERVAL_S"] == "1209600"
    text = release.find("ConfigMap", "instance")["data"]["dagster.yaml"]
    assert "max_runtime_seconds: 1209600\n" in text
    assert "ttl_seconds_after_finished: 2592000\n" in text
    assert release.pod("redis")["spec"]["securityContext"]["fsGroup"] == 1_000_660_000


def test_text_stays_text():
    """What YAML would read as a number, as no or as an alias."""
    wildcard = {"enabled": True, "host": "*.example.com", "tlsSecret": "123", "authentication": "a proxy"}
    release = render("local", {"postgresql.postgresqlDatabase": "no", "aws.region": "1", "dagsterWebserver.ingress": wildcard})
    assert release.instance["storage"]["postgres"]["postgres_db"]["db_name"] == "no"
    assert release.instance["compute_logs"]["config"]["region"] == "1"
    (ingress,) = (item for item in release.objects if item["kind"] == "Ingress")
    assert (ingress["spec"]["rules"][0]["host"], ingress["spec"]["tls"][0]["secretName"]) == ("*.example.com", "123")
    labels = [item["metadata"]["labels"]["app.kubernetes.io/name"] for item in render("local", {"nameOverride": "123"}).objects]
    assert set(labels) == {"123"}


def test_a_server_that_drains_for_no_time_has_no_pause():
    """Kubernetes refuses a pause of 0 seconds."""
    container = render("local", {"featureServer.command": "feast", "featureServer.drainSeconds": 0}).pod("feature-server")["spec"][
        "containers"
    ][0]
    assert "lifecycle" not in container


def test_off_means_absent():
    release = render("dev", {"featureServer.enabled": False, "jobs.verifyAfterInstall": False, "networkPolicy.enabled": False})
    assert not [item for item in release.objects if "feature-server" in item["metadata"]["name"]]
    assert release.find("Job", "verify")["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert release.pod("verify")["spec"]["containers"][0]["command"] == ["feature-platform", "deployment", "verify"]


def test_an_empty_file_is_a_file():
    assert render("dev", {"contracts.files": {"empty.sql": ""}}).find("ConfigMap", "contracts")["data"]["empty.sql"] == ""


def test_empty_resources_leave_none():
    container = render("dev", {"featureServer.resources": None}).pod("feature-server")["spec"]["containers"][0]
    assert container["resources"] is None or container["resources"] == {}


def test_names_follow_the_release_and_can_be_replaced():
    chart = helm_python.Chart.load(CHART)
    for given, prefix in (({}, "feature-platform-"), ({"fullnameOverride": "fp"}, "fp-"), ({"nameOverride": "x"}, "feature-platform-x-")):
        values = {**deepcopy(values_of("dev")), **given}
        texts = chart.render(values, name="feature-platform", namespace="features")
        assert f"name: {prefix}webserver\n" in texts["feature-platform/templates/webserver/deployment.yaml"]
