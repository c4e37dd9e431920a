"""Watching an environment on real servers: faults are found, told once to a real webhook and over Slack's API, and their end as well."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from feature_platform.adapters.alerts import SlackChannel, WebhookChannel
from feature_platform.adapters.online_store.memory import MemoryOnlineStore
from feature_platform.cli.app import app
from feature_platform.core.online.layout import feature_key, timestamp_key
from feature_platform.core.operations.health import Problem
from feature_platform.core.operations.incidents import Incident, Notice
from feature_platform.core.versions.feature_table import FeatureTable
from feature_platform.errors import ConfigurationError, StorageError
from feature_platform.local.services import SHIPPED_CONTRACTS
from feature_platform.use_cases.promote import move_latest
from feature_platform.use_cases.serve import published_head
from feature_platform.use_cases.watch import Watch
from feature_platform.wiring import open_platform, s3_at
from tests.support.dagster_commands import BIN, ROOT
from tests.support.feature_set_samples import PROVENANCE
from tests.support.platforms import MainJob, memory_platform, put_events
from tests.support.processes import read_url, wait_until
from tests.support.services import ValkeyDatabase
from tests.support.shipped_features import FEATURE_SET, today, user_rows
from tests.support.valkey_server import free_port

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.slow,
]

STAMP = timestamp_key(FEATURE_SET)
PROBLEM = Problem("users", "not_online", "online", "failing", "online: nothing is online", "Load it.")
ALERT = Notice("alert", Incident(PROBLEM, datetime(2026, 3, 10, tzinfo=UTC)), datetime(2026, 3, 10, 0, 1, tzinfo=UTC))


class StandIn:
    """An HTTP server that keeps what is posted to it and answers as it is told to."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                stand_in.posted.append((self.path, dict(self.headers), body))
                answer = b'{"ok": true}'
                self.send_response(stand_in.statuses.pop(0) if stand_in.statuses else 200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Nothing: the test's output is not a log."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.posted]


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """Somebody who is told of alerts."""
    told = StandIn()
    thread = threading.Thread(target=told.server.serve_forever)
    thread.start()
    yield told
    told.server.shutdown()
    told.server.server_close()
    thread.join()


def test_a_webhook_gets_json_and_a_refusal_is_an_error_that_keeps_the_address_secret(stand_in: StandIn, tmp_path: Path) -> None:
    file = tmp_path / "webhook"
    file.write_text(f"{stand_in.url}/services/hunter2\n")
    channel = WebhookChannel.of(file)
    stand_in.statuses = [503]
    channel.send(ALERT)
    assert [path for path, _, _ in stand_in.posted] == ["/services/hunter2"] * 2
    assert stand_in.documents[1]["text"] == ALERT.text
    stand_in.statuses = [302, 404]
    with pytest.raises(StorageError, match="status 302; expected 200 to 299"):
        channel.send(ALERT)
    with pytest.raises(StorageError, match="status 404") as refused:
        channel.send(ALERT)
    with pytest.raises(StorageError, match="does not answer") as silent:
        WebhookChannel("http://127.0.0.1:1/services/hunter2").send(ALERT)
    assert "hunter2" not in f"{refused.value} {silent.value} {channel!r}"
    file.write_text("not an address")
    with pytest.raises(ConfigurationError, match="found something else"):
        WebhookChannel.of(file)


def test_slack_gets_a_message_in_the_channel(stand_in: StandIn) -> None:
    SlackChannel("xoxb-test", "#features", base_url=f"{stand_in.url}/api/").send(ALERT)
    ((path, headers, body),) = stand_in.posted
    assert (path, headers["Authorization"]) == ("/api/chat.postMessage", "Bearer xoxb-test")
    assert b"nothing" in body
    with pytest.raises(StorageError, match="Slack took no alert"):
        SlackChannel("xoxb-test", "#features", base_url="http://127.0.0.1:1/api/").send(ALERT)


@pytest.fixture(scope="module")
def module_env(module_env: dict[str, str]) -> Iterator[dict[str, str]]:
    """That environment with yesterday as its first day, so that its window lacks none."""
    begins = {"FEATURE_PLATFORM_START_DATE": (today() - timedelta(days=1)).date().isoformat()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*next(iter(begins.items())))
        yield module_env | begins


@pytest.fixture(scope="module")
def version(module_env: dict[str, str], module_instance: dg.DagsterInstance) -> str:
    """One day's version, made by a run, in the environment of this process."""
    platform, day = open_platform(), (today() - timedelta(days=1)).date().isoformat()
    put_events(platform, day)
    run = MainJob(platform, instance=module_instance).run(day)
    assert run.success, run.failure
    (published,) = platform.feature_sets.published()
    head = platform.feature_sets.history(published).head
    assert head is not None
    return head.version


@pytest.fixture
def served(version: str, valkey: ValkeyDatabase) -> str:
    """That version, online."""
    load()
    return version


def load() -> None:
    """Load latest."""
    platform = open_platform()
    with published_head(platform.feature_sets, FEATURE_SET, project=platform.project) as head:
        platform.online.load(head.load)


def test_each_fault_is_told_once_with_what_is_served_and_its_end_too(served: str, valkey: ValkeyDatabase, stand_in: StandIn) -> None:
    """Flushed Redis, a lost file of latest, an as-of moment that ages while everything is green."""
    platform = open_platform()
    watch = Watch(platform, [WebhookChannel(stand_in.url)])
    clock = [today() + timedelta(hours=1)]

    def look(count: int = 3) -> list[tuple[str, str]]:
        """What is told over so many looks, half a minute apart."""
        told = []
        for _ in range(count):
            clock[0] += timedelta(seconds=30)
            told += [(notice.kind, notice.incident.problem.code) for notice in watch.look(now=clock[0]).sent]
        return told

    assert look() == []
    shown = platform.feature_sets.layout(FEATURE_SET).latest_file("metadata.json")
    platform.objects.delete(shown)
    assert look(2) == []
    assert look() == [("alert", "unreachable")]
    platform.feature_sets.heal(FEATURE_SET)
    assert look() == [("recovery", "unreachable")]

    valkey.empty()
    assert look(6) == [("alert", "not_online")]
    load()
    assert look() == [("recovery", "not_online")]

    clock[0] = today() + timedelta(hours=31)
    assert look() == [("alert", "late")]
    told = stand_in.documents
    assert [document["kind"] for document in told] == ["alert", "recovery", "alert", "recovery", "alert"]
    assert f"Readers get {served}." in told[0]["text"]
    assert "Readers get nothing." in told[2]["text"]
    assert f"Readers get {served}." in told[4]["text"]
    assert told[0]["incident_key"] == told[1]["incident_key"]


def test_values_that_somebody_else_wrote_and_a_full_redis_are_told_and_end(served: str, valkey: ValkeyDatabase, stand_in: StandIn) -> None:
    watch = Watch(open_platform(), [WebhookChannel(stand_in.url)])
    clock = today() + timedelta(hours=1)

    def look() -> list[tuple[str, str]]:
        """What is told over the next three looks, half a minute apart."""
        nonlocal clock
        told = []
        for _ in range(3):
            clock += timedelta(seconds=30)
            told += [(notice.kind, notice.incident.problem.code) for notice in watch.look(now=clock).sent]
        return told

    assert look() == []
    key = next(key for key in valkey.client.scan_iter() if valkey.client.type(key) == b"hash" and valkey.client.hexists(key, STAMP))
    valkey.client.hset(key, feature_key(FEATURE_SET, "f_total_events_7d"), b"\x20\xe8\x07")
    assert look() == [("alert", "mismatched")]
    load()
    assert look() == [("recovery", "mismatched")]

    used_bytes = int(valkey.client.info("memory")["used_memory"])
    valkey.client.config_set("maxmemory", used_bytes)
    assert look() == [("alert", "online_full")]
    with pytest.raises(StorageError, match="is full"):
        load()
    valkey.client.config_set("maxmemory", "0")
    load()
    assert look() == [("recovery", "online_full")]
    foreign, _, full, _ = stand_in.documents
    assert "failing" in foreign["text"]
    assert "Materialize the online asset" in foreign["text"]
    assert f"Readers get {served}." in full["text"]
    assert "Raise maxmemory" in full["text"]


def test_a_version_that_drifted_is_told_while_readers_keep_the_one_before_and_ends_with_its_correction(tmp_path: Path) -> None:
    contracts = shutil.copytree(SHIPPED_CONTRACTS, tmp_path / "contracts")
    file = contracts / f"{FEATURE_SET}.schema.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "checks": {"max_drift_psi": 0.2}}))
    platform = memory_platform(tmp_path, contracts=contracts, online=MemoryOnlineStore())
    contract, store = platform.catalog.contract(FEATURE_SET), platform.feature_sets

    def commit(day: int, *, shift: int = 0) -> str:
        """A version of a day, its latest where its checks allow that."""
        as_of = datetime(2026, 1, 15 + day, tzinfo=UTC)
        rows, template = user_rows(range(2, 400), as_of=as_of, shift=shift), platform.catalog.templates[FEATURE_SET]
        facts = {"template": template, "provenance": PROVENANCE, "idempotency_key": f"{day}-{shift}", "actor": "test"}
        version = store.commit(FeatureTable.from_arrow(rows), contract=contract, as_of=as_of, **facts).version
        move_latest(platform, contract, actor="test", log=lambda _: None)
        return version

    def look(times: int = 3) -> list[tuple[str, str]]:
        nonlocal seconds
        told = []
        for _ in range(times):
            seconds += 30
            sent = watch.look(now=datetime(2026, 1, 16, 1, tzinfo=UTC) + timedelta(seconds=seconds)).sent
            told += [(each.kind, each.text) for each in sent if each.incident.problem.code == "held_back"]
        return told

    seconds, watch = 0, Watch(platform, [])
    before = commit(0)
    assert look() == []
    drifted = commit(1, shift=1_000)
    ((kind, text),) = look()
    assert (kind, store.history(FEATURE_SET).head_version.version) == ("alert", before)
    assert f"{drifted} stays out of latest: drift: column 'f_total_events_7d'" in text
    assert "change the contract's checks" in text
    commit(1)
    assert [kind for kind, _ in look()] == ["recovery"]


def test_an_s3_that_is_away_is_one_incident_and_ends_no_other(served: str, valkey: ValkeyDatabase) -> None:
    watch, now = Watch(open_platform(objects=s3_at(patience_s=2)), []), today() + timedelta(hours=1)
    valkey.empty()
    sent = [notice for seconds in (0, 60) for notice in watch.look(now=now + timedelta(seconds=seconds)).sent]
    assert [notice.incident.problem.code for notice in sent] == ["not_online"]
    watch.platform = open_platform(objects=s3_at("http://127.0.0.1:1", patience_s=2))
    looks = [watch.look(now=now + timedelta(seconds=seconds)) for seconds in (90, 150)]
    assert [(notice.kind, notice.incident.problem.part) for look in looks for notice in look.sent] == [("alert", "versions")]
    assert {incident.problem.code for incident in watch.incidents.values()} == {"not_online", "unreachable"}


def test_health_says_the_state_of_each_set_and_exits_1_where_one_is_not_healthy(served: str, valkey: ValkeyDatabase) -> None:
    healthy = CliRunner().invoke(app, ["health", "--json", "--late-after-h", "100"])
    assert healthy.exit_code == 0, healthy.output
    (row,) = json.loads(healthy.stdout)
    assert (row["feature_set"], row["state"], row["online"], row["why"]) == (FEATURE_SET, "healthy", served, None)
    valkey.empty()
    failing = CliRunner().invoke(app, ["health", "--json"])
    (row,) = json.loads(failing.stdout)
    assert (failing.exit_code, row["state"], row["online"]) == (1, "failing", None)
    assert "Materialize the online asset" in row["remedy"]
    assert "nothing is online" in CliRunner().invoke(app, ["health"]).stdout


def test_a_watch_that_is_started_again_tells_nothing_twice_and_shows_itself_to_prometheus(
    served: str, module_env: dict[str, str], valkey: ValkeyDatabase, stand_in: StandIn, tmp_path: Path
) -> None:
    (tmp_path / "webhook").write_text(stand_in.url)
    valkey.empty()
    port = free_port()
    metrics = f"http://127.0.0.1:{port}/metrics"
    command = [BIN / "feature-platform", "watch", "--interval-s", "1", "--webhook-file", tmp_path / "webhook", "--metrics-port", str(port)]
    kept, log = Path(module_env["FEATURE_PLATFORM_HOME"]) / "watch.json", tmp_path / "log"
    environment = {**os.environ, **module_env, "FEATURE_PLATFORM_LOG_FORMAT": "json"}
    for is_first in (True, False):
        with log.open("ab") as output, subprocess.Popen(command, env=environment, cwd=ROOT, stderr=output) as process:
            try:
                wait_until(lambda: b"feature_platform_state" in read_url(metrics), within_s=60, what="a look")
                if is_first:
                    # The look that finds it is brought forward: what lasts is told, and waiting for that is the clock's business.
                    wait_until(kept.exists, within_s=30, what="incidents kept")
                else:
                    wait_until(lambda: len(stand_in.posted) == 1, within_s=30, what="one alert")
                    time.sleep(3)
                shown = read_url(metrics).decode()
                process.send_signal(signal.SIGTERM)
                assert process.wait(timeout=30) == 0
            finally:
                process.kill()
        incidents = json.loads(kept.read_text())
        if is_first:
            (incident,) = incidents.values()
            incident["since"] = (datetime.fromisoformat(incident["since"]) - timedelta(minutes=2)).isoformat()
            kept.write_text(json.dumps(incidents))
    assert 'feature_platform_state{feature_set="user_features",state="failing"} 1.0' in shown
    assert 'feature_platform_incident{code="not_online",subject="user_features"} 1.0' in shown
    assert [document["kind"] for document in stand_in.documents] == ["alert"]
    (told,) = (line for line in map(json.loads, log.read_text().splitlines()) if line["level"] == "WARNING")
    assert (told["logger"], told["feature_set"]) == ("feature_platform.use_cases.watch", FEATURE_SET)
    assert told["message"].startswith("[failing] user_features: online: nothing is online")
