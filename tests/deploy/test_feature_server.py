"""How the feature server is started, asked, drained and closed, by either command."""

import pytest

from tests.support.chart import Release, render


def server(release: Release) -> dict:
    return release.pod("feature-server")["spec"]["containers"][0]


def test_feast_serves_its_repository_and_never_recycles_its_workers():
    command = server(render("outside"))["command"]
    assert command[:3] == ["feast", "--chdir=/app/feast_repo", "serve"]
    assert "--max-requests=0" in command


def test_the_platforms_server_is_open_only_where_no_tokens_are_given():
    assert "--open" in server(render("dev"))["command"]
    command = server(render("everything"))["command"]
    assert "--open" not in command
    assert "--tokens=/etc/feature-server/tokens/tokens" in command


def test_tls_is_for_callers_probes_and_the_verification():
    release = render("everything")
    assert "--tls-cert=/etc/feature-server/tls/tls.crt" in server(release)["command"]
    assert {server(release)[name]["httpGet"]["scheme"] for name in ("startupProbe", "livenessProbe")} == {"HTTPS"}
    assert release.pod("verify")["spec"]["containers"][0]["command"][3:] == [
        "--server=https://fp-feature-platform-feature-server:80",
        "--tokens=/etc/feature-server/tokens/tokens",
        "--ca=/etc/feature-server/tls/ca.crt",
    ]
    feast = server(render("everything", {"featureServer.command": "feast", "featureServer.tokens": {"existingSecret": ""}}))["command"]
    assert {"--cert=/etc/feature-server/tls/tls.crt", "--key=/etc/feature-server/tls/tls.key"} <= set(feast)


def test_who_verifies_has_the_tokens_and_the_authority():
    release = render("everything")
    mounted = {m["name"]: m["mountPath"] for m in release.pod("verify")["spec"]["containers"][0]["volumeMounts"]}
    assert (mounted["tokens"], mounted["tls"]) == ("/etc/feature-server/tokens", "/etc/feature-server/tls")


def test_tokens_follow_their_secret_without_a_restart():
    # A file mounted by subPath never changes; a directory does.
    assert not [m for m in server(render("everything"))["volumeMounts"] if m["name"] in {"tokens", "tls"} and "subPath" in m]


@pytest.mark.parametrize("name", ["dev", "outside"])
def test_readiness_asks_redis_and_liveness_does_not(name):
    # A restart mends no Redis; and nobody is sent to a pod that cannot answer.
    container = server(render(name))
    assert container["readinessProbe"]["exec"]["command"][1:] == ["-m", "feature_platform.cli.redis_ping", "FEATURE_PLATFORM_REDIS"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"


def test_a_leaving_server_answers_until_nobody_asks():
    for name in ("dev", "outside"):
        release = render(name, {"featureServer.drainSeconds": 12})
        if name == "outside":
            drain = server(release)["lifecycle"]["preStop"]["sleep"]["seconds"]
        else:
            # The platform's own drains after SIGTERM, and tells clients that keep their connections.
            (drain,) = (int(word.removeprefix("--drain-s=")) for word in server(release)["command"] if word.startswith("--drain-s="))
            assert "lifecycle" not in server(release)
        assert drain == 12
        # gunicorn gives requests in flight 30 s.
        assert release.pod("feature-server")["spec"]["terminationGracePeriodSeconds"] >= drain + 30


def test_further_options_are_passed_on():
    assert server(render("everything"))["command"][-1] == "--cache-mib=64"
