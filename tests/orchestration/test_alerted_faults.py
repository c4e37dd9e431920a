"""Twelve faults, each told once and within two minutes of being visible, by the watch over the adapters that it has in production.

Stores are in memory and Dagster's webserver is a stand-in; ``integration/test_watch.py`` and ``test_watch_dagster.py`` have real ones.
"""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from feature_platform.adapters.feast.memory import MemoryFeatureRegistry
from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.adapters.online_store.memory import MemoryOnlineStore
from feature_platform.adapters.orchestrator import DagsterWebserver
from feature_platform.core.layout import as_of
from feature_platform.core.operations.incidents import Notice
from feature_platform.local.services import SHIPPED_CONTRACTS
from feature_platform.use_cases.build import build
from feature_platform.use_cases.commit import commit
from feature_platform.use_cases.promote import move_latest
from feature_platform.use_cases.serve import serve
from feature_platform.use_cases.watch import Watch
from feature_platform.wiring import Platform
from tests.support.platforms import memory_platform, put_events

FIRST = date(2026, 1, 1)
DAYS = [(FIRST + timedelta(days=place)).isoformat() for place in range(8)]
OLDER, SERVED, NEXT = DAYS[5:]
"""The window of ``SERVED`` is whole, so that drift is judged."""

NAME = "user_features"


class FillingOnlineStore(MemoryOnlineStore):
    """An online store of which a test says how full it is."""

    ratio = 0.0

    def used_ratio(self) -> float:
        return self.ratio


@dataclass
class World:
    """One feature set, published and online, and what Dagster's webserver says."""

    platform: Platform
    online: FillingOnlineStore
    now: datetime
    url: str = ""
    silent_s: float = 10
    waiting: list[dict[str, Any]] = field(default_factory=list)
    ended: list[dict[str, Any]] = field(default_factory=list)
    ticks: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    due: list[float] | None = None
    """The schedule's next moments, where a test says them."""

    def made(self, day: str, **facts: object) -> None:
        """Deliver, build and commit a day; latest follows where checks allow it."""
        contract = self.platform.catalog.contract(NAME)
        put_events(self.platform, day, users=range(1, 40), **facts)
        commit(self.platform, NAME, day, build(self.platform, contract, day, run_id=f"{day}{facts}", on_validated=lambda _: None))
        move_latest(self.platform, contract, actor="test", log=lambda _: None)

    def answer(self) -> dict[str, Any]:
        """As Dagster 1.13 answers the watch's query."""
        due = self.now.replace(hour=0, minute=0).timestamp()
        schedule = {
            "name": "daily_features_at_midnight",
            "defaultStatus": "RUNNING",
            "potentialTickTimestamps": [due] if self.due is None else self.due,
            "scheduleState": {"status": "RUNNING", "ticks": self.ticks, "typeSpecificData": {"startTimestamp": due - 86_400}},
        }
        loaded: dict[str, Any] = {"__typename": "RepositoryLocation", "repositories": [{"schedules": [schedule]}]}
        if self.error:
            loaded = {"__typename": "PythonError", "message": "could not load", "causes": [{"message": self.error}]}
        heard = {"daemonType": "SENSOR", "required": True, "lastHeartbeatTime": self.now.timestamp() - self.silent_s}
        return {
            "instance": {"daemonHealth": {"allDaemonStatuses": [heard]}},
            "workspaceOrError": {"__typename": "Workspace", "locationEntries": [{"name": "main", "locationOrLoadError": loaded}]},
            "ended": {"results": self.ended},
            "waiting": {"results": self.waiting},
        }

    def run(self, status: str) -> dict[str, Any]:
        """A run that was created an hour ago."""
        tags = [{"key": "dagster/partition", "value": SERVED}]
        return {
            "runId": "1234567890",
            "jobName": "daily_features",
            "status": status,
            "creationTime": self.now.timestamp() - 3600,
            "tags": tags,
        }


def opened(home: Path, store: MemoryObjectStore) -> World:
    """The platform an hour after midnight."""
    online = FillingOnlineStore()
    registry = MemoryFeatureRegistry(online, project="feature_store_local")
    platform = memory_platform(home, contracts=home / "contracts", start=FIRST, store=store, online=online, registry=registry)
    return World(platform, online, as_of(SERVED) + timedelta(hours=1))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MemoryObjectStore]:
    """Contracts of which one asks for drift, and a store where a day with a whole window is latest."""
    home, store = tmp_path_factory.mktemp("world"), MemoryObjectStore()
    file = shutil.copytree(SHIPPED_CONTRACTS, home / "contracts") / f"{NAME}.schema.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "checks": {"max_drift_psi": 0.2}}))
    world = opened(home, store)
    for day in DAYS[:6]:
        put_events(world.platform, day, users=range(1, 40))
    world.made(SERVED)
    return home, store


@pytest.fixture
def world(published: tuple[Path, MemoryObjectStore]) -> Iterator[World]:
    """A healthy world of its own: that store's objects, served."""
    home, store = published
    own = MemoryObjectStore()
    for info in store.scan("s3://memory/"):
        found = store.get(info.uri)
        assert found is not None
        own.put(info.uri, found.body, write_id="copy", sha256=None, condition=None)
    world = opened(home, own)
    serve(world.platform, NAME)
    world.ticks = [{"timestamp": as_of(SERVED).timestamp(), "status": "SUCCESS"}]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert "allDaemonStatuses" in json.loads(self.rfile.read(int(self.headers["content-length"])))["query"]
            body = json.dumps({"data": world.answer()}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: the test's output is not a log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    world.url = f"http://127.0.0.1:{server.server_port}"
    yield world
    server.shutdown()
    server.server_close()
    thread.join()


def daemon_dies(world: World) -> None:
    world.silent_s = 150


def queue_is_stuck(world: World) -> None:
    world.waiting = [world.run("QUEUED")]


def run_is_killed(world: World) -> None:
    world.ended = [world.run("FAILURE")]


def as_of_is_stale_behind_a_green_backfill(world: World) -> None:
    world.now = as_of(SERVED) + timedelta(hours=31)
    world.made(OLDER)
    world.ended = [world.run("SUCCESS")]
    world.ticks = [{"timestamp": world.now.replace(hour=0).timestamp(), "status": "SUCCESS"}]


def values_drift(world: World) -> None:
    world.made(NEXT, session_sec=90_000.0)


def somebody_writes_to_redis(world: World) -> None:
    fields = next(iter(world.online.hashes.values()))
    fields[min(fields, key=lambda name: fields[name] == b"")] = b"\x20\xe8\x07"


def redis_is_flushed(world: World) -> None:
    world.online.hashes.clear()
    world.online._markers.clear()


def latest_loses_a_file(world: World) -> None:
    world.platform.objects.delete(world.platform.feature_sets.layout(NAME).latest_file("metadata.json"))


def redis_is_full(world: World) -> None:
    world.online.ratio = 0.97


def contract_is_bad(world: World) -> None:
    world.error = "ContractError: user_features.schema.json: columns.0.type: found 'int'"


def code_location_is_broken(world: World) -> None:
    world.error = "ModuleNotFoundError: No module named 'feature_platform'"


def schedule_is_missed(world: World) -> None:
    world.ticks = []


@pytest.mark.parametrize(
    ("fault", "code", "told"),
    [
        (daemon_dies, "daemon_dead", "Start `dagster-daemon run` again"),
        (queue_is_stuck, "run_stuck", "is QUEUED for 61 minutes"),
        (run_is_killed, "run_failed", "run 12345678 of daily_features for 2026-01-07 failed"),
        (as_of_is_stale_behind_a_green_backfill, "late", "latest is as of 2026-01-08 00:00 UTC"),
        (values_drift, "held_back", "stays out of latest: drift: column 'f_avg_session_sec_7d'"),
        (somebody_writes_to_redis, "mismatched", "Readers get v_20260108T000000. Materialize the online asset"),
        (redis_is_flushed, "not_online", "Readers get nothing. Materialize the online asset"),
        (latest_loses_a_file, "unreachable", "`feature-platform doctor --heal`"),
        (redis_is_full, "online_full", "97% of Redis' maxmemory is used"),
        (contract_is_bad, "location_broken", "user_features.schema.json: columns.0.type"),
        (code_location_is_broken, "location_broken", "No module named 'feature_platform'"),
        (schedule_is_missed, "schedule_missed", "started no run at 2026-01-08 00:00 UTC"),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)
def test_a_fault_is_told_once_within_two_minutes(world: World, fault: Callable[[World], None], code: str, told: str) -> None:
    watch = Watch(world.platform, [], DagsterWebserver(world.url))
    healthy = watch.look(now=world.now)
    assert [problem for health in healthy.healths for problem in health.problems] == list(healthy.others) == []
    fault(world)
    sent: list[Notice] = []
    for _ in range(10):
        world.now += timedelta(seconds=30)
        sent += watch.look(now=world.now).sent
    (alert,) = sent
    assert (alert.kind, alert.incident.problem.code) == ("alert", code)
    assert told in alert.text
    assert alert.at - alert.incident.since <= timedelta(minutes=2)
    assert alert.incident.problem.remedy in alert.text
    assert (alert.incident.problem.link or "").startswith(world.url) == (alert.incident.problem.subject == "dagster")


def test_a_schedule_that_is_never_due_is_no_fault_and_does_not_end_the_watch(world: World) -> None:
    world.due = []
    assert DagsterWebserver(world.url).problems(now=world.now) == []
