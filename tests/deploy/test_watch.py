"""How the watch is started, whom it looks at, and whom it tells."""

from tests.support.chart import Release, render


def watch(release: Release) -> dict:
    return release.pod("watch")["spec"]["containers"][0]


def test_it_looks_at_dagster_where_its_webserver_answers():
    command = watch(render("local"))["command"]
    assert command[:2] == ["feature-platform", "watch"]
    assert "--dagster-url=http://fp-feature-platform-webserver:80" in command
    assert "--dagster-url=http://fp-feature-platform-webserver:8080/dagster" in watch(render("everything"))["command"]


def test_without_dagster_it_watches_what_is_served():
    assert not [option for option in watch(render("serving"))["command"] if option.startswith("--dagster-url")]


def test_the_webhooks_address_is_a_file_and_no_variable():
    release = render("everything")
    assert "--webhook-file=/etc/watch/webhook/address" in watch(release)["command"]
    (volume,) = [volume for volume in release.pod("watch")["spec"]["volumes"] if volume["name"] == "webhook"]
    assert volume["secret"] == {"secretName": "pager", "items": [{"key": "address", "path": "address"}]}
    assert not [option for option in watch(render("local"))["command"] if option.startswith("--webhook-file")]


def test_it_tells_slack_where_runs_do_and_reads_redis_as_a_reader():
    names = {item["name"] for item in watch(render("everything"))["env"]}
    assert {"FEATURE_PLATFORM_SLACK_TOKEN", "FEATURE_PLATFORM_SLACK_CHANNEL"} <= names
    assert "DAGSTER_PG_PASSWORD" not in names
    (redis,) = [item["value"] for item in watch(render("everything"))["env"] if item["name"] == "FEATURE_PLATFORM_REDIS"]
    assert "username=reader" in redis


def test_there_are_never_two_who_tell_the_same():
    spec = render("everything").find("Deployment", "watch")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_it_can_be_switched_off():
    assert not render("local", {"watch.enabled": False}).has("Deployment", "watch")
    assert not render("local", {"watch.enabled": False}).has("NetworkPolicy", "watch")
