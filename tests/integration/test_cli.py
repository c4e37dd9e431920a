"""The command line over published and served data: what it answers, in which form, with which exit code."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from feature_platform.cli.app import app
from feature_platform.core.layout import as_of, version_id
from feature_platform.local.server import EmbeddedServer
from feature_platform.settings import load_settings
from feature_platform.wiring import open_platform
from tests.support.platforms import MainJob, put_events
from tests.support.services import ValkeyDatabase

pytestmark = pytest.mark.slow

TODAY = datetime.now(UTC).date()
DAYS = [(TODAY - timedelta(days=back)).isoformat() for back in (3, 2, 1)]
VERSIONS = [version_id(as_of(day)) for day in DAYS]


def cli(*arguments: str) -> Result:
    """One command, run in this process."""
    return CliRunner().invoke(app, list(arguments))


def answered(*arguments: str, code: int = 0) -> Any:
    """What a command answers in JSON."""
    result = cli(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def job(module_env: dict[str, str], module_instance: dg.DagsterInstance) -> MainJob:
    """Three days in one run, latest online."""
    environment = {**module_env, "FEATURE_PLATFORM_START_DATE": DAYS[0]}
    job = MainJob(open_platform(load_settings(environment)), instance=module_instance)
    for day in DAYS:
        put_events(job.platform, day, country="Łódź")
    run = job.run(DAYS[0], until=DAYS[-1])
    assert run.success, run.failure
    return job


@pytest.fixture
def served(job: MainJob) -> MainJob:
    """Latest is the newest version and online, whatever an earlier test did."""
    if job.latest() != VERSIONS[-1]:
        job.platform.feature_sets.rollback("user_features", VERSIONS[-1], actor="test", reason="as it was")
        assert job.run(DAYS[-1], only=["user_features_online"]).success
    return job


@pytest.mark.usefixtures("served")
class TestReading:
    """Commands that change nothing."""

    def test_status_says_that_all_agree(self) -> None:
        (row,) = answered("status")
        assert {row["newest"], row["latest"], row["online"]} == {VERSIONS[-1]}
        assert (row["feature_set"], row["rows"], row["agreement"]) == ("user_features", 3, "ok")
        assert {"age", "schema_hash", "content_hash"} <= set(row)

    def test_versions_are_listed_newest_first(self) -> None:
        rows = answered("versions", "list", "user_features")
        assert [row["version"] for row in rows] == VERSIONS[::-1]
        assert [row["latest"] for row in rows] == ["latest", "", ""]
        assert [row["version"] for row in answered("versions", "list", "user_features", "--newest", "1")] == VERSIONS[-1:]
        older = answered("versions", "list", "user_features", "--newest", "1", "--before", VERSIONS[-1])
        assert [row["version"] for row in older] == VERSIONS[-2:-1]

    def test_a_version_is_shown_with_its_metadata_and_its_records(self) -> None:
        shown = answered("versions", "show", "user_features", VERSIONS[1])
        assert (shown["version"], shown["row_count"], [record["op"] for record in shown["log"]]) == (VERSIONS[1], 3, ["commit"])
        assert answered("versions", "show", "user_features")["version"] == VERSIONS[-1]

    def test_online_values_are_read_by_key_with_unicode_kept(self) -> None:
        (row,) = answered("online", "get", "user_features", "--key", "user_id=1")
        assert (row["user_id"], row["f_total_events_7d"], row["f_last_country"]) == (1, 3, "Łódź")
        rows = answered("online", "get", "user_features", "-k", "user_id=2", "-k", "user_id=3")
        assert [row["user_id"] for row in rows] == [2, 3]

    def test_an_entity_that_is_not_served_is_a_finding(self) -> None:
        (row,) = answered("online", "get", "user_features", "--key", "user_id=99", code=1)
        assert row["f_total_events_7d"] is None

    def test_the_version_that_is_online_has_a_name_and_a_date(self) -> None:
        row = answered("online", "version", "user_features")
        assert (row["state"], row["version"], row["rows"]) == ("online", VERSIONS[-1], 3)
        assert datetime.fromisoformat(row["since"]).tzinfo is not None

    def test_verify_proves_latest_and_everything_that_serves_it(self) -> None:
        report = answered("verify", "user_features")
        assert (report["version"], report["findings"]) == (VERSIONS[-1], [])
        checks = [check["check"] for check in report["checks"]]
        assert checks == ["log", "four files", "latest", "registry", "online values", "read by Feast"]
        assert answered("verify", "user_features", "--version", VERSIONS[0])["version"] == VERSIONS[0]

    def test_a_version_is_computed_again_from_its_recorded_sources(self) -> None:
        report = answered("reproduce", "user_features", VERSIONS[1])
        assert (report["version"], report["findings"]) == (VERSIONS[1], [])

    def test_a_repair_of_a_clean_store_removes_nothing(self) -> None:
        row = answered("online", "repair", "user_features")
        assert (row["version"], row["scanned"], row["removed"]) == (VERSIONS[-1], 3, 0)

    def test_a_load_by_hand_writes_what_differs_or_every_row(self) -> None:
        row = answered("online", "load", "user_features")
        assert (row["version"], row["rows"], row["written"], row["every_row_because"]) == (VERSIONS[-1], 3, 0, None)
        row = answered("online", "load", "user_features", "--full")
        assert (row["written"], row["every_row_because"]) == (3, "it was asked for")

    def test_doctor_finds_nothing(self) -> None:
        assert answered("doctor") == []

    def test_contracts_are_checked_and_signed(self, job: MainJob) -> None:
        assert {row["contract"] for row in answered("contract", "check")} == {"events", "user_features"}
        contract = job.platform.catalog.contract("user_features")
        assert answered("contract", "hash") == [{"feature_set": "user_features", "schema_hash": contract.schema_hash}]
        assert cli("contract", "hash", "user_features").stdout == f"{contract.schema_hash}\n"

    def test_a_collection_without_delete_only_says_what_it_would_do(self, job: MainJob) -> None:
        found = answered("gc", "user_features", "--keep", "1", "--keep-days", "0")
        assert [row["version"] for row in found] == VERSIONS[:2]
        assert [version.version for version in job.platform.feature_sets.history("user_features").live] == VERSIONS

    def test_people_get_tables(self) -> None:
        for arguments in (["status"], ["versions", "list", "user_features"], ["verify", "user_features"], ["contract", "check"]):
            result = cli(*arguments)
            assert result.exit_code == 0, result.output
            assert "┃" in result.stdout
            assert max(map(len, result.stdout.splitlines())) <= 80
        assert "is what was published" in cli("verify", "user_features").stdout


def test_a_rollback_moves_latest_is_seen_by_status_and_holds_until_a_newer_moment(served: MainJob) -> None:
    moved = answered("rollback", "user_features", VERSIONS[0], "--reason", "yesterday was wrong")
    assert (moved["from"], moved["to"], moved["moved"]) == (VERSIONS[-1], VERSIONS[0], True)
    (row,) = answered("status", code=1)
    assert (row["latest"], row["online"]) == (VERSIONS[0], VERSIONS[-1])
    assert row["agreement"] == f"online is {VERSIONS[-1]}, latest is {VERSIONS[0]}"
    (drift,) = answered("doctor", code=1)
    assert drift["part"] == "online"
    run = served.run(DAYS[-1], only=["user_features_latest", "user_features_online"])
    assert run.success, run.failure
    assert (served.latest(), answered("online", "version", "user_features")["version"]) == (VERSIONS[0], VERSIONS[0])
    assert answered("online", "get", "user_features", "--key", "user_id=1")[0]["f_total_events_7d"] == 1
    (record,) = [r for r in answered("versions", "show", "user_features", VERSIONS[0])["log"] if r["op"] == "rollback"]
    assert record["reason"] == "yesterday was wrong"


def test_a_pin_keeps_a_version_from_retention_until_it_is_removed(served: MainJob) -> None:
    for said in ("is now pinned", "is already pinned"):
        result = cli("pin", "user_features", VERSIONS[0], "training-42")
        assert (result.exit_code, said in result.stderr) == (0, True)
    assert [row["pins"] for row in answered("versions", "list", "user_features")] == ["", "", "training-42"]
    assert [row["version"] for row in answered("gc", "user_features", "--keep", "1", "--keep-days", "0")] == VERSIONS[1:2]
    assert cli("unpin", "user_features", VERSIONS[0], "training-42").exit_code == 0
    assert [row["version"] for row in answered("gc", "user_features", "--keep", "1", "--keep-days", "0")] == VERSIONS[:2]


@pytest.mark.usefixtures("served")
def test_what_did_not_happen_is_not_said() -> None:
    older = cli("versions", "list", "user_features", "--before", VERSIONS[0])
    assert older.stdout == f"user_features has no versions older than {VERSIONS[0]}.\n"
    collected = cli("gc", "user_features", "--delete")
    assert (collected.exit_code, collected.stdout, collected.stderr) == (0, "Nothing to delete.\n", "")


def test_doctor_names_a_projection_that_lost_a_file_and_heals_it_when_told_to(served: MainJob) -> None:
    objects, uri = served.platform.objects, served.platform.feature_sets.layout("user_features").latest_file("metadata.json")
    objects.delete(uri)
    (drift,) = answered("doctor", code=1)
    assert (drift["feature_set"], drift["part"]) == ("user_features", "latest")
    assert uri in drift["drift"]
    assert answered("doctor", "--heal") == []
    assert objects.get(uri) is not None


def test_verify_finds_what_was_tampered_with(served: MainJob) -> None:
    objects, uri = served.platform.objects, served.platform.feature_sets.layout("user_features").version_file(VERSIONS[1], "features.csv")
    stored = objects.get(uri)
    assert stored is not None
    objects.put(uri, stored.body.replace(b"10", b"11"), write_id="tamperer", sha256=None, condition=None)
    report = answered("verify", "user_features", "--version", VERSIONS[1], code=1)
    assert {finding["file"] for finding in report["findings"]} == {"features.csv"}
    objects.put(uri, stored.body, write_id="healer", sha256=None, condition=None)
    assert answered("verify", "user_features", "--version", VERSIONS[1])["findings"] == []


def test_verify_finds_an_entity_that_is_gone_online_and_serving_again_mends_it(served: MainJob, valkey_server: EmbeddedServer) -> None:
    client = ValkeyDatabase.of(valkey_server).client
    entities = [key for key in client.scan_iter() if client.type(key) == b"hash" and b"user_id" in key]
    assert len(entities) == 3
    client.delete(entities[0])
    report = answered("verify", "user_features", code=1)
    assert ("missing", "1 entities") in {(finding["code"], finding["found"]) for finding in report["findings"]}
    assert served.run(DAYS[-1], only=["user_features_online"]).success
    assert answered("verify", "user_features")["findings"] == []


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["versions", "list", "nobody"], 2, "No contract for feature set 'nobody'; there are: user_features."),
        (["versions", "show", "user_features", "v_20200101T000000"], 2, "was never committed; the newest are:"),
        (["verify", "user_features", "--version", "v_20200101T000000"], 2, "v_20200101T000000"),
        (["rollback", "user_features", "v_20200101T000000", "-m", "x"], 2, "was never committed"),
        (["pin", "user_features", "v_20200101T000000", "x"], 2, "was never committed"),
        (["online", "get", "user_features", "--key", "user_id=abc"], 2, "expected a value of type int64"),
        (["online", "get", "user_features", "--key", "name=1"], 2, "expected column=value with a column of user_id"),
        (["rollback", "user_features", "v_20200101T000000"], 2, "Missing option '--reason'"),
        (["gc", "user_features", "--keep", "0"], 2, "greater than or equal to 1"),
        (["no-such-command"], 2, "No such command 'no-such-command'"),
    ],
)
def test_what_cannot_be_done_is_said_with_an_exit_code(arguments: list[str], code: int, said: str) -> None:
    result = cli(*arguments)
    assert (result.exit_code, said in result.output) == (code, True), result.output
    assert "Traceback" not in result.output


def test_the_installed_command_answers_programs_on_stdout_alone(served: MainJob, module_env: dict[str, str]) -> None:
    environment = {**os.environ, **module_env, "FEATURE_PLATFORM_START_DATE": DAYS[0]}
    command = Path(sys.executable).with_name("feature-platform")
    status = subprocess.run([command, "status", "--json"], env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert (status.returncode, json.loads(status.stdout)[0]["agreement"]) == (0, "ok"), status.stderr
    broken = subprocess.run(
        [command, "status"], env={**environment, "AWS_SECRET_ACCESS_KEY": "wrong"}, capture_output=True, text=True, check=False, timeout=120
    )
    assert (broken.returncode, broken.stdout) == (2, "")
    assert broken.stderr.startswith("feature-platform: S3 at http://127.0.0.1:")
    assert "refused these credentials" in broken.stderr
