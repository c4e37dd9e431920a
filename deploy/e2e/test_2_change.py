"""What a team changes on a running platform, under a service that reads all the time: contract, scale, passwords."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.e2e.cluster import CommandError, wait_for
from deploy.e2e.dagster_api import Dagster
from deploy.e2e.figures import Figures
from deploy.e2e.reading import assert_flawless, reading
from deploy.e2e.release import CONTRACT, NAME, Release, day, password

NEW_FEATURE = "f_clicks_7d"
REDIS_SECRET = "feature-platform-redis"
COMPONENTS = ("webserver", "daemon", "code-location", "feature-server", "redis", "postgresql", "s3")


@pytest.fixture
def changed_contract(tmp_path: Path) -> Path:
    """The shipped contract with one more feature and two that are computed otherwise, so that a row of both versions would be seen."""
    contract: dict[str, Any] = json.loads(CONTRACT.read_text())
    columns = {column["name"]: column for column in contract["columns"]}
    columns["f_total_events_7d"]["aggregation"]["where"] = {"event_type": "view"}
    columns["f_avg_session_sec_7d"]["aggregation"]["window"] = "3d"
    clicks = {"function": "count", "window": "7d", "where": {"event_type": "click"}}
    contract["columns"].append({"name": NEW_FEATURE, "type": "int64", "description": "Clicks in the last 7 days", "aggregation": clicks})
    contract["checks"] = {"min_rows": 1}  # such a change is drift, and meant
    file = tmp_path / CONTRACT.name
    file.write_text(json.dumps(contract | {"version": "v2"}))
    return file


def rolled(before: dict[str, list[str]], after: dict[str, list[str]]) -> set[str]:
    """Components none of whose pods are the ones of before."""
    return {component for component in before if not set(before[component]) & set(after[component])}


def test_a_changed_contract_rolls_out_and_back_without_a_failed_or_mixed_answer(
    release: Release, dagster: Dagster, figures: Figures, changed_contract: Path
) -> None:
    old = release.published()["head"]
    before = release.cluster.identities(COMPONENTS)

    with reading(release, "reader-upgrade") as upgrade:
        with figures.seconds("contract_upgrade_s"):
            release.upgrade(rf"--set-file=contracts.files.user_features\.schema\.json={changed_contract}")
        assert rolled(before, release.cluster.identities(COMPONENTS)) == {"code-location", "feature-server"}
        dagster.succeeded(dagster.launch(partition=day(-1)))
        new = release.published()["head"]
        assert new != old
        published = release.published(old, new)["rows"]
        release.until_online(published[new], timeout_s=120)  # servers refresh the registry every minute
    figures.add("contract_upgrade_under_load", assert_flawless(upgrade.report, published))
    assert any(row[NEW_FEATURE] for row in release.online().values())

    with reading(release, "reader-rollback") as rollback:
        with figures.seconds("contract_rollback_s"):
            release.rollback()
        release.bench("feature-platform", "rollback", "user_features", old, "--reason", "the contract was taken back")
        dagster.succeeded(dagster.launch(assets=["user_features_online"]))
        release.until_online(published[old], timeout_s=120)
    figures.add("contract_rollback_under_load", assert_flawless(rollback.report, published))
    assert NEW_FEATURE not in next(iter(release.online().values()))
    release.cluster.helm("test", NAME, "--timeout=5m")


def test_scaling_rolls_nothing(release: Release) -> None:
    before = release.cluster.identities(COMPONENTS)
    release.upgrade("--set=featureServer.replicaCount=3")
    after = release.cluster.identities(COMPONENTS)
    assert len(after["feature-server"]) == 3
    assert set(before["feature-server"]) < set(after["feature-server"])
    assert rolled(before, after) == set()
    release.upgrade("--set=featureServer.replicaCount=2")
    wait_for("two feature servers", lambda: len(release.cluster.pods("feature-server")) == 2)


def test_passwords_are_rotated_without_a_failed_answer(release: Release, dagster: Dagster, figures: Figures) -> None:
    """The procedure of docs/deploy.md: both passwords are valid until no pod uses the old one."""
    head = release.published()["head"]
    published = release.published(head)["rows"]
    old = release.read_secret(REDIS_SECRET)
    new = {f"{user}-password": password() for user in ("loader", "reader")}
    with reading(release, "reader-passwords") as reader, figures.seconds("password_rotation_s"):
        release.secret(REDIS_SECRET, new | {f"{name}-previous": old[name] for name in new})
        load_passwords(release, when=lambda: in_redis(release, "cat", "/passwords/reader").strip() == new["reader-password"])
        for component in ("feature-server", "watch", "code-location"):
            release.cluster.kubectl("rollout", "restart", release.object("deployment", component))
            release.cluster.rolled_out(release.object("deployment", component))
        gone = [{"op": "remove", "path": f"/data/{name}-previous"} for name in new]
        release.cluster.kubectl("patch", "secret", REDIS_SECRET, "--type=json", f"--patch={json.dumps(gone)}")
        load_passwords(release, when=lambda: "previous" not in in_redis(release, "ls", "/passwords"))
        dagster.succeeded(dagster.launch(assets=["user_features_online"]))
    figures.add("password_rotation_under_load", assert_flawless(reader.report, published))
    with pytest.raises(CommandError, match="refuses this user"):
        release.bench("feature-platform", "online", "version", "user_features")  # its environment is of before
    release.start_pods()


def in_redis(release: Release, *command: str) -> str:
    """Output of a command in the pod of Redis."""
    return release.cluster.execute(f"pod/{NAME}-redis-0", *command)


def load_passwords(release: Release, *, when: Callable[[], bool]) -> None:
    """Let Redis read its users anew, once Kubernetes has brought the changed Secret to its pod."""
    wait_for("the changed Secret in the pod of Redis", when, timeout_s=180, every_s=2)
    in_redis(
        release,
        "sh",
        "-c",
        'sh /scripts/start.sh users && valkey-cli --user admin --pass "$(cat /passwords/admin)" --no-auth-warning ACL LOAD',
    )
