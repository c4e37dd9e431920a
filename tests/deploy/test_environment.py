"""What containers read from their environment is what the platform's settings name, and leads to servers with the right account."""

import re

import pytest

from feature_platform.adapters.online_store.redis_connection import parse_address
from feature_platform.settings import AWS_VARIABLES, PREFIX, Settings, load_settings, variable
from tests.support.chart import MATRIX, Release, render

SETTINGS = {variable(field) for field in Settings.model_fields}
OPTIONAL = {variable("slack_token"), variable("slack_channel"), variable("engine_memory_mib"), variable("spark_remote")}
NEEDS_SETTINGS = {"code-location", "feature-server", "watch", "apply", "verify"}
OTHERS = {"DAGSTER_HOME", "DAGSTER_PG_PASSWORD", "REDIS_PASSWORD", "HOME", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "FEAST_USAGE"}
IN_CHART_SERVERS = {"redis", "postgresql", "s3"}


def environment(release: Release, component: str) -> dict[str, str]:
    """Variable → value, or the reference to the Secret that has it, of a component's container."""
    return container_environment(release, release.pod(component)["spec"]["containers"][0])


def container_environment(release: Release, container: dict) -> dict[str, str]:
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            config = [o for o in release.objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == source["configMapRef"]["name"]]
            found |= config[0]["data"]
        else:
            found |= dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), f"secret {source['secretRef']['name']}")
    for item in container.get("env", []):
        secret = item.get("valueFrom", {}).get("secretKeyRef")
        found[item["name"]] = item["value"] if secret is None else f"secret {secret['name']} {secret['key']}"
    return found


@pytest.fixture(params=sorted(MATRIX))
def release(request: pytest.FixtureRequest) -> Release:
    return render(request.param)


def test_every_setting_is_set_by_its_name_and_no_other_name_is_used(release):
    for component, _ in release.pods:
        if component in IN_CHART_SERVERS:
            continue
        names = set(environment(release, component)) - {"HTTPS_PROXY"}
        assert {name for name in names if name.startswith(PREFIX)} <= SETTINGS, component
        assert names <= SETTINGS | set(AWS_VARIABLES) | OTHERS, component
        if component in NEEDS_SETTINGS:
            assert names >= SETTINGS - OPTIONAL, component


def test_every_setting_can_be_set_by_the_chart():
    assert set(environment(render("everything"), "code-location")) >= SETTINGS | set(AWS_VARIABLES) - {
        "AWS_ENDPOINT_URL_S3",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
    }


def test_the_platform_reads_what_the_chart_sets(release, tmp_path):
    for component in NEEDS_SETTINGS & {name for name, _ in release.pods}:
        given = {name: value for name, value in environment(release, component).items() if name.startswith(PREFIX)}
        settings = load_settings({**given, variable("contracts_dir"): str(tmp_path)})
        assert settings.env in {"local", "dev", "prod"}


def test_a_run_has_the_environment_of_the_code_that_planned_it(release):
    if not release.has("Deployment", "code-location"):
        return
    launcher = release.instance["run_launcher"]["config"]
    named = {"envFrom": [{"configMapRef": {"name": name}} for name in launcher["env_config_maps"]]}
    named["envFrom"] += [{"secretRef": {"name": name}} for name in launcher.get("env_secrets", [])]
    named["env"] = launcher["run_k8s_config"]["container_config"]["env"]
    assert container_environment(release, named) == environment(release, "code-location")


def redis_of(release: Release, component: str) -> tuple[str, dict[str, object]]:
    address = parse_address(environment(release, component)["FEATURE_PLATFORM_REDIS"])
    return ",".join(f"{host}:{port}" for host, port in address.nodes), dict(address.options)


def test_loads_and_reads_use_accounts_of_their_own():
    release = render("dev")
    for component, user in {"code-location": "loader", "verify": "loader", "feature-server": "reader"}.items():
        address, options = redis_of(release, component)
        assert address == "fp-feature-platform-redis:6379"
        assert (options["username"], options["password"]) == (user, "$(REDIS_PASSWORD)")
        assert environment(release, component)["REDIS_PASSWORD"] == f"secret feature-platform-redis {user}-password"


def test_a_password_is_declared_before_the_string_that_quotes_it(release):
    # Kubernetes puts in only what stands earlier in the list; elsewhere the text $(REDIS_PASSWORD) would be the password.
    for _, template in release.pods:
        names = [item["name"] for container in template["spec"]["containers"] for item in container.get("env", [])]
        if "REDIS_PASSWORD" in names:
            assert names.index("REDIS_PASSWORD") < names.index("FEATURE_PLATFORM_REDIS")


def test_an_outside_redis_without_passwords_is_named_as_it_is():
    address, options = redis_of(render("outside"), "code-location")
    assert address == "redis-0.example:6379,redis-1.example:6380"
    assert options["db"] == 0
    assert not {"username", "password", "ssl"} & set(options)


def test_tls_reaches_every_client_with_the_authority_that_signed():
    release = render("everything")
    for component in ("code-location", "feature-server", "verify"):
        options = redis_of(release, component)[1]
        assert options["ssl"] is True
        mounts = {m["name"]: m["mountPath"] for m in release.pod(component)["spec"]["containers"][0]["volumeMounts"]}
        assert options["ssl_ca_certs"] == f"{mounts['redis-ca']}/ca.crt"


def test_a_public_authority_needs_no_certificate_of_ours():
    assert redis_of(render("prod"), "feature-server")[1]["ssl"] is True
    assert "ssl_ca_certs" not in redis_of(render("prod"), "feature-server")[1]


def test_a_reader_gives_up_sooner_than_a_load():
    assert "socket_timeout=0.5" in environment(render("dev"), "feature-server")["FEATURE_PLATFORM_REDIS"]
    assert "socket_timeout" not in environment(render("dev"), "code-location")["FEATURE_PLATFORM_REDIS"]


def test_the_in_chart_s3_is_where_every_pod_looks():
    release = render("local")
    for component in ("webserver", "daemon", "code-location", "feature-server", "apply", "verify", "migrate"):
        assert environment(release, component)["AWS_ENDPOINT_URL"] == "http://fp-feature-platform-s3:8333"
        assert environment(release, component)["AWS_SECRET_ACCESS_KEY"] == "secret feature-platform-s3"


def test_aws_needs_no_endpoint_and_no_keys():
    for component in ("code-location", "feature-server"):
        assert not {"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID"} & set(environment(render("prod"), component))


def test_the_feature_server_has_no_account_of_dagsters_storage():
    names = set(environment(render("everything"), "feature-server"))
    assert not {"DAGSTER_PG_PASSWORD", "FEATURE_PLATFORM_SLACK_TOKEN"} & names


def test_no_directory_outside_the_mounted_ones_is_written(release):
    for component, template in release.pods:
        # `cleanup` speaks to Kubernetes alone and reads no setting.
        if component in {*IN_CHART_SERVERS, "cleanup"}:
            continue
        container = template["spec"]["containers"][0]
        writable = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
        found = environment(release, component)
        assert {found["HOME"], found["FEATURE_PLATFORM_HOME"], found["DAGSTER_HOME"]} <= writable, component
        assert re.fullmatch(r"/var/lib/dagster", found["DAGSTER_HOME"])
