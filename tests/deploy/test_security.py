"""What pods may do, whom they may reach, and which secrets they are told of."""

import json
import re

import pytest
import yaml

from tests.support.chart import MATRIX, Release, render
from tests.support.pod_security import breaches, omissions

WITH_TOKEN = {"daemon", "webserver", "cleanup"}
SERVERS = {"redis", "postgresql", "s3"}


@pytest.fixture(params=sorted(MATRIX))
def release(request: pytest.FixtureRequest) -> Release:
    return render(request.param)


def test_every_pod_fits_restricted_pod_security(release):
    assert {component: found for component, template in release.pods if (found := breaches(template["spec"]))} == {}


def test_every_pod_has_bounds_and_writes_nothing_to_its_image(release):
    assert {component: found for component, template in release.pods if (found := omissions(template["spec"]))} == {}


def test_a_check_of_pod_security_sees_what_is_not_restricted(release):
    for _, template in release.pods:
        spec = json.loads(json.dumps(template["spec"]))
        spec["securityContext"]["runAsNonRoot"] = False
        del spec["containers"][0]["securityContext"]
        assert len(breaches(spec)) == 3


def test_only_who_speaks_to_kubernetes_has_a_token(release):
    with_token = {component for component, template in release.pods if template["spec"]["automountServiceAccountToken"]}
    assert with_token <= WITH_TOKEN
    assert all(item["automountServiceAccountToken"] is False for item in release.objects if item["kind"] == "ServiceAccount")


def test_a_read_only_webserver_has_neither_token_nor_role():
    release = render("prod")
    assert release.pod("webserver")["spec"]["automountServiceAccountToken"] is False
    assert "--read-only" in release.pod("webserver")["spec"]["containers"][0]["command"]
    assert not release.has("RoleBinding", "terminator")


def test_a_read_only_webserver_loads_settings_without_a_launcher():
    # Dagster builds the launcher to show the instance's settings, and building it needs a token.
    data = render("prod").find("ConfigMap", "instance")["data"]
    mounts = {m["mountPath"]: m.get("subPath") for m in render("prod").pod("webserver")["spec"]["containers"][0]["volumeMounts"]}
    assert mounts["/var/lib/dagster/dagster.yaml"] == "read-only.yaml"
    shown, whole = (yaml.safe_load(data[name]) for name in ("read-only.yaml", "dagster.yaml"))
    assert set(whole) - set(shown) == {"run_launcher"}
    assert "read-only.yaml" not in render("dev").find("ConfigMap", "instance")["data"]


def test_the_launcher_may_do_what_launching_needs_and_no_more():
    rules = {resource: set(rule["verbs"]) for rule in render("dev").find("Role", "launcher")["rules"] for resource in rule["resources"]}
    assert rules == {
        "jobs": {"create", "delete", "get", "list"},
        "jobs/status": {"get"},
        "pods": {"get", "list", "delete"},
        "pods/log": {"get"},
        "events": {"list"},
    }


def test_the_webserver_ends_runs_and_starts_none():
    rules = {r: set(rule["verbs"]) for rule in render("dev").find("Role", "terminator")["rules"] for r in rule["resources"]}
    assert "create" not in set().union(*rules.values())
    assert not {"secrets", "pods/exec"} & set(rules)


def test_nothing_is_allowed_beyond_the_namespace(release):
    assert not [item["kind"] for item in release.objects if item["kind"].startswith("Cluster")]


def test_no_object_holds_a_secret(release):
    assert not [item for item in release.objects if item["kind"] == "Secret"]
    for item in release.objects:
        text = json.dumps(item)
        assert not re.search(r"password=(?!\$\(REDIS_PASSWORD\))", text)


def test_every_service_account_of_aws_can_have_a_role_of_its_own():
    release = render("prod")
    accounts = {
        item["metadata"]["name"]: item["metadata"].get("annotations", {}) for item in release.objects if item["kind"] == "ServiceAccount"
    }
    roles = {
        name.removeprefix("fp-feature-platform-"): a.get("eks.amazonaws.com/role-arn", "").rpartition("/")[2]
        for name, a in accounts.items()
    }
    assert roles == {
        "webserver": "features-prod-logs",
        "daemon": "features-prod-logs",
        "code-location": "features-prod-raw-reader",
        "run": "features-prod-publisher",
        "feature-server": "features-prod-registry-reader",
        "watch": "features-prod-reader",
        "jobs": "features-prod-deployer",
        "pre-jobs": "features-prod-deployer",
    }


def test_prod_runs_images_by_digest():
    for component, template in render("prod").pods:
        for container in [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]:
            assert re.fullmatch(r"[^@]+@sha256:[0-9a-f]{64}", container["image"]), component
    assert re.search(r"@sha256:[0-9a-f]{64}$", render("prod").instance["run_launcher"]["config"]["job_image"])


# ---- network ----

DRAWN = {
    ("webserver", "code-location"),
    ("daemon", "code-location"),
    *((client, "postgresql") for client in ("webserver", "daemon", "code-location", "run", "migrate")),
    # The code location too: people execute `feast materialize` in its pod.
    *((client, "redis") for client in ("run", "code-location", "apply", "verify", "feature-server", "watch")),
    *(
        (client, "s3")
        for client in ("webserver", "daemon", "code-location", "run", "migrate", "apply", "verify", "feature-server", "watch")
    ),
    ("verify", "feature-server"),
    ("watch", "webserver"),
}
"""The flows inside the release, as docs/deploy/security.md draws them."""

COMPONENTS = {
    "webserver",
    "daemon",
    "code-location",
    "run",
    "feature-server",
    "watch",
    "redis",
    "postgresql",
    "s3",
    "migrate",
    "apply",
    "verify",
    "cleanup",
}


def labels_of(component: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "feature-platform",
        "app.kubernetes.io/instance": "fp",
        "app.kubernetes.io/component": component,
    }


def selects(selector: dict, labels: dict[str, str]) -> bool:
    """A label selector, as Kubernetes reads it."""
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", []) if e["operator"] == "In")


def policies(release: Release, component: str) -> list[dict]:
    found = [item["spec"] for item in release.objects if item["kind"] == "NetworkPolicy"]
    return [spec for spec in found if selects(spec["podSelector"], labels_of(component))]


def lets_out(release: Release, client: str, server: str) -> bool:
    return any(
        selects(peer["podSelector"], labels_of(server))
        for spec in policies(release, client)
        for rule in spec["egress"]
        for peer in rule.get("to", [])
        if "podSelector" in peer
    )


def lets_in(release: Release, client: dict[str, str], server: str) -> bool:
    return any(
        selects(peer["podSelector"], client)
        for spec in policies(release, server)
        for rule in spec.get("ingress", [])
        for peer in rule["from"]
        if "podSelector" in peer and "namespaceSelector" not in peer
    )


def test_only_the_drawn_flows_are_open_at_both_ends():
    elsewhere = [{"namespaceSelector": {}}]
    release = render("local", {f"networkPolicy.{name}From": elsewhere for name in ("webserver", "featureServer", "metrics")})
    pairs = [(client, server) for client in COMPONENTS for server in COMPONENTS if client != server]
    assert {pair for pair in pairs if lets_out(release, *pair)} == DRAWN
    assert {pair for pair in pairs if lets_in(release, labels_of(pair[0]), pair[1])} == DRAWN


def test_every_pod_has_exactly_one_policy_and_it_holds_both_ways(release):
    components = {component for component, _ in release.pods} | ({"run"} if release.has("Deployment", "daemon") else set())
    for component in components:
        assert [spec["policyTypes"] for spec in policies(release, component)] == [["Ingress", "Egress"]], component


def test_a_pod_without_our_labels_reaches_no_server():
    release = render("local")
    for server in SERVERS:
        assert not lets_in(release, {"app": "curious"}, server)
        assert not lets_in(release, {**labels_of("run"), "app.kubernetes.io/instance": "another-release"}, server)


def test_servers_go_nowhere():
    release = render("local")
    for server in SERVERS:
        assert [spec["egress"] for spec in policies(release, server)] == [
            [{"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}]
        ]


def test_only_who_speaks_to_kubernetes_may_reach_it(release):
    def ports(component: str) -> set[int]:
        return {p["port"] for spec in policies(release, component) for rule in spec["egress"] for p in rule["ports"]}

    for component, _ in release.pods:
        assert (6443 in ports(component)) == (component in WITH_TOKEN)


def test_the_credentials_of_nodes_are_out_of_reach(release):
    for item in release.objects:
        if item["kind"] == "NetworkPolicy":
            blocks = [peer["ipBlock"] for rule in item["spec"]["egress"] for peer in rule.get("to", []) if "ipBlock" in peer]
            https = [b for b in blocks if b["cidr"] == "0.0.0.0/0" and b.get("except")]
            assert all("169.254.169.254/32" in b["except"] for b in https)


def test_callers_of_the_feature_server_can_be_narrowed_down():
    callers = [{"namespaceSelector": {"matchLabels": {"name": "apps"}}}]
    rule = render("dev", {"networkPolicy.featureServerFrom": callers}).find("NetworkPolicy", "feature-server")["spec"]["ingress"][0]
    assert rule["from"][1:] == callers
    assert {"podSelector": {}} in render("dev").find("NetworkPolicy", "feature-server")["spec"]["ingress"][0]["from"]


def test_policies_can_be_left_to_others():
    release = render("dev", {"networkPolicy.enabled": False})
    assert not [item for item in release.objects if item["kind"] == "NetworkPolicy"]
