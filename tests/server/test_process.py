"""``feature-platform serve`` as an operator runs it: without Feast until it is needed, over its workers' deaths, to an orderly end."""

import json
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from feature_platform.local.processes import mark_of
from feature_platform.settings import load_settings
from tests.support.processes import wait_until
from tests.support.serve_command import Serving, serving
from tests.support.services import S3Bucket, S3Endpoint
from tests.support.shipped_features import BIG, FEATURE_SET, publish_users, shipped_contract, today, user_rows
from tests.support.tls_proxy import make_certificate
from tests.support.valkey_server import ValkeyServer, valkey_server

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature"),
    pytest.mark.slow,
]

PATH = "/get-online-features"
USERS = range(2, 502)
FEATURES = [f"{FEATURE_SET}:{column.name}" for column in shipped_contract().feature_columns]
ASK = {"features": FEATURES, "entities": {"user_id": [2, 3, 10, 999_999]}}
ON_DEMAND = {"features": ["visits_doubled:doubled"], "entities": {"user_id": [4, 7]}}


@dataclass(frozen=True)
class Deployment:
    """An environment with one version online and an on-demand view beside it."""

    env: dict[str, str]
    valkey: ValkeyServer
    version: str


@pytest.fixture(scope="module")
def deployment(s3_endpoint: S3Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    from feature_platform.adapters.feast.repository import apply_contracts, open_store
    from feature_platform.local.services import SHIPPED_CONTRACTS
    from feature_platform.settings import variable
    from feature_platform.wiring import feast_environment

    bucket = s3_endpoint.new_bucket()
    with valkey_server() as server, pytest.MonkeyPatch.context() as environment:
        platform = {
            "env": "local",
            "raw_uri": bucket.uri + "raw",
            "work_uri": bucket.uri + "work",
            "feature_base": bucket.uri + "features",
            "registry_uri": bucket.uri + "feast",
            "redis": server.connection_string,
            "contracts_dir": str(SHIPPED_CONTRACTS),
            "start_date": "2026-01-01",
            "home": str(tmp_path_factory.mktemp("home")),
        }
        env = {variable(field): value for field, value in platform.items()} | bucket.env
        for name, value in env.items():
            environment.setenv(name, value)
        settings = load_settings()
        store = open_store(feast_environment(settings))
        apply_contracts(store, [shipped_contract()], environment=feast_environment(settings))
        store.apply([on_demand_view(store)], partial=True)
        version = publish_users(bucket.store, settings.feature_base, user_rows(USERS, as_of=today()), as_of=today())
        store.materialize(today() - shipped_contract().ttl_duration, today(), feature_views=["user_features"])
        yield Deployment(env, server, version)
    S3Bucket.drop(bucket)


def on_demand_view(store: Any) -> Any:
    """A view that only Feast can compute."""
    from feast import Field
    from feast.on_demand_feature_view import on_demand_feature_view
    from feast.types import Int64

    @on_demand_feature_view(
        sources=[store.get_feature_view(FEATURE_SET)], schema=[Field(name="doubled", dtype=Int64)], mode="python", singleton=False
    )
    def visits_doubled(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"doubled": [2 * value for value in inputs["f_last_event_age_sec"]]}

    return visits_doubled


def gone(pid: int) -> None:
    """Return when a process has ended; one whose parent was killed waits below this process for its status to be asked."""
    deadline_s = time.monotonic() + 60
    while mark_of(pid) is not None:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def by_name(document: Any) -> dict[str, list[Any]]:
    return {name: item["values"] for name, item in zip(document["metadata"]["feature_names"], document["results"], strict=True)}


def test_it_serves_the_published_version_and_never_imports_feast(deployment: Deployment, tmp_path: Path) -> None:
    with serving(deployment.env, tmp_path / "log", "--workers", "2", until="/ready") as server:
        status, headers, document = server.ask(PATH, ASK)
        assert (status, by_name(document)["f_total_events_7d"]) == (200, [BIG, 9, None, None])
        assert f"version={deployment.version};" in headers["feature-version"]
        assert server.ask("/feature-version")[2][FEATURE_SET]["version"] == deployment.version
        pids = server.worker_pids()
        assert len(pids) == 2
        for pid in pids:
            maps = Path(f"/proc/{pid}/maps").read_text()
            assert "pyarrow" not in maps
            assert "grpc" not in maps, "Feast loads it"
        assert b"feature_server_version_age_seconds" in server.ask("/metrics")[2]
        assert server.stop() == 0


def test_the_catalogue_is_a_page_made_beside_the_worker_and_kept_for_some_seconds(deployment: Deployment, tmp_path: Path) -> None:
    with serving(deployment.env, tmp_path / "log", until="/ready") as server, Clients(server, count=1) as clients:
        status, headers, page = server.ask("/catalog")
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8"), server.log.read_text()
        assert f"latest: {deployment.version}".encode() in page
        assert b"<svg" in page
        assert server.ask("/catalog")[2] == page, "the time of making stands in it"
        (worker,) = server.worker_pids()
        maps = Path(f"/proc/{worker}/maps").read_text()
        assert "pyarrow" not in maps
        assert "grpc" not in maps, "Feast loads it"
    assert clients.statuses[200] > 100
    assert set(clients.statuses) == {200}, "features were served all along"


def test_a_catalogue_that_cannot_be_made_is_503_without_internals_and_features_are_served_on(
    deployment: Deployment, tmp_path: Path
) -> None:
    json_logs = {"FEATURE_PLATFORM_LOG_FORMAT": "json"}
    nowhere = {**deployment.env, **json_logs, "FEATURE_PLATFORM_FEATURE_BASE": "s3://nothing-of-that-name/features"}
    with serving(nowhere, tmp_path / "log", until="/ready") as server:
        status, headers, document = server.ask("/catalog")
        assert (status, headers["retry-after"]) == (503, "1")
        assert document == {"detail": "The catalogue cannot be made now; the server's log says why. Try again."}
        assert server.ask(PATH, ASK)[0] == 200
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    (why,) = (line for line in lines if line["level"] == "ERROR")
    assert (why["logger"], "nothing-of-that-name" in why["message"]) == ("feature_platform.server.catalogue", True)


def test_what_only_feast_can_answer_is_answered_by_it_in_a_process_that_ends_with_the_server(
    deployment: Deployment, tmp_path: Path
) -> None:
    with serving(deployment.env, tmp_path / "log") as server:
        status, headers, document = server.ask(PATH, ON_DEMAND)
        assert (status, by_name(document)) == (200, {"user_id": [4, 7], "doubled": [8, 14]})
        assert "feature-version" not in headers
        assert server.ask(PATH, {**ASK, "entities": {"user": [3]}})[0] == 200
        (worker,) = server.worker_pids()
        (child,) = map(int, Path(f"/proc/{worker}/task/{worker}/children").read_text().split())
        os.kill(child, signal.SIGKILL)
        gone(child)
        assert server.ask(PATH, ON_DEMAND)[0] == 200, "it is started again"
        (child,) = map(int, Path(f"/proc/{worker}/task/{worker}/children").read_text().split())
        server.stop()
    assert not Path(f"/proc/{child}").exists()


def test_a_pushed_value_is_answered_at_once_where_pushes_are_allowed(deployment: Deployment, tmp_path: Path) -> None:
    from feast import PushSource

    from feature_platform.adapters.feast.repository import open_store
    from feature_platform.wiring import feast_environment

    store = open_store(feast_environment(load_settings()))
    view = store.get_feature_view(FEATURE_SET)
    view.stream_source = PushSource(name="repairs", batch_source=view.batch_source)
    store.apply([view], partial=True)
    ask = {"features": [f"{FEATURE_SET}:f_purchases_1d"], "entities": {"user_id": [500]}}
    row = {column.name: [None] for column in shipped_contract().columns} | {"user_id": [500], "event_timestamp": [today().isoformat()]}
    with serving(deployment.env, tmp_path / "log", "--allow-push") as server:
        for pushed in (41, 42):
            body = {"push_source_name": "repairs", "df": {**row, "f_purchases_1d": [pushed]}, "to": "online"}
            assert server.ask("/push", body)[0] == 200
            assert by_name(server.ask(PATH, ask)[2])["f_purchases_1d"] == [pushed]


def test_feasts_own_client_reads_from_it(deployment: Deployment, tmp_path: Path) -> None:
    from feast import FeatureStore, RepoConfig
    from feast.errors import FeatureViewNotFoundException

    from feature_platform.adapters.feast.repository import repo_config
    from feature_platform.wiring import feast_environment

    with serving(deployment.env, tmp_path / "log") as server:
        config = {**repo_config(feast_environment(load_settings(deployment.env))), "online_store": {"type": "remote", "path": server.url}}
        store = FeatureStore(config=RepoConfig(**config))
        found = store.get_online_features(features=FEATURES, entity_rows=[{"user_id": 3}, {"user_id": 4}]).to_dict()
        assert found["f_total_events_7d"] == [9, 12]
        assert found["f_last_country"] == ["Österreich 3", None]
        with pytest.raises(FeatureViewNotFoundException, match="nothing does not exist"):
            store.get_online_features(features=["nothing:x"], entity_rows=[{"user_id": 3}])


class Clients:
    """Callers that keep asking on connections that they keep, and open a new one when told that theirs closes."""

    def __init__(self, server: Serving, *, count: int = 4) -> None:
        self._server = server
        self.statuses: Counter[Any] = Counter()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        body, connection = json.dumps(ASK).encode(), None
        while not self._ended.is_set():
            try:
                if connection is None:
                    connection = HTTPConnection("127.0.0.1", self._server.port, timeout=30)
                    connection.connect()
            except OSError:
                return  # nobody listens any more
            try:
                connection.request("POST", PATH, body=body, headers={"content-type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                self.statuses[answer.status] += 1
                if answer.getheader("connection") == "close":
                    connection = None
            except (OSError, HTTPException) as error:
                self.statuses[repr(error)] += 1
                connection = None
        if connection is not None:
            connection.close()

    def wait_for(self, count: int) -> None:
        """Until so many answers have come."""
        seen = self.statuses.total() + count
        deadline_s = time.monotonic() + 30
        while self.statuses.total() < seen:
            assert time.monotonic() < deadline_s, self.statuses
            time.sleep(0.01)


def test_told_to_end_it_finishes_what_it_was_asked_and_says_so_first(deployment: Deployment, tmp_path: Path) -> None:
    with (
        serving(deployment.env, tmp_path / "log", "--workers", "2", "--drain-s", "1") as server,
        Clients(server) as clients,
    ):
        clients.wait_for(50)
        server.process.send_signal(signal.SIGTERM)
        while server.ask("/ready")[2]["faults"].get("server") != "it is shutting down":
            time.sleep(0.01)
        clients.wait_for(10)
        clients.__exit__()
        assert server.process.wait(timeout=60) == 0
    assert set(clients.statuses) == {200}


def test_a_worker_that_dies_or_freezes_is_replaced(deployment: Deployment, tmp_path: Path) -> None:
    with serving(deployment.env, tmp_path / "log", "--workers", "2") as server:
        first, second = server.worker_pids()
        os.kill(first, signal.SIGKILL)
        os.kill(second, signal.SIGSTOP)
        deadline_s = time.monotonic() + 60
        while len(pids := server.worker_pids()) < 2 or {first, second} & set(pids):
            assert time.monotonic() < deadline_s, server.log.read_text()
            time.sleep(0.1)
        assert [server.ask(PATH, ASK)[0] for _ in range(20)] == [200] * 20


def test_it_survives_its_watcher_by_nothing(deployment: Deployment, tmp_path: Path) -> None:
    """Workers whose supervisor was killed end by themselves, so that a restart finds the port free."""
    with serving(deployment.env, tmp_path / "log") as server:
        (worker,) = server.worker_pids()
        server.process.kill()
        server.process.wait()
        gone(worker)


def test_a_unix_socket_serves_too(deployment: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "features.sock"
    with serving(deployment.env, tmp_path / "log", "--uds", str(path), until="") as server:
        with socket.socket(socket.AF_UNIX) as client:
            deadline_s = time.monotonic() + 30
            while client.connect_ex(str(path)):
                assert time.monotonic() < deadline_s, server.log.read_text()
                time.sleep(0.05)
            client.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert client.recv(64).startswith(b"HTTP/1.1 200")
        server.stop()
    assert not path.exists()


def test_a_wrong_option_is_said_in_a_sentence(deployment: Deployment, tmp_path: Path) -> None:
    import subprocess

    from tests.support.serve_command import COMMAND

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for options, said in ((["--host", "0.0.0.0"], "--tokens"), (["--port", port], f"Cannot listen on 127.0.0.1:{port}")):
            command, environment = [COMMAND, "serve", *options], {**os.environ, **deployment.env}
            result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert (result.returncode, said in result.stderr) == (2, True), result.stderr
            assert "Traceback" not in result.stderr
            assert "Serving on" not in result.stderr


def test_another_asgi_server_runs_it_as_the_page_says(deployment: Deployment, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    module = page.split("```python\n# features.py\n")[1].split("```")[0]
    (tmp_path / "features.py").write_text(module.replace("/etc/features/tokens", str(tmp_path / "tokens")))
    (tmp_path / "tokens").write_text("reader 0123456789abcdef\n")
    program = (sys.executable, "-m", "uvicorn", "--app-dir", str(tmp_path), "features:app")
    with serving(deployment.env, tmp_path / "log", program=program) as server:
        reader = {"authorization": "Bearer 0123456789abcdef"}
        assert (server.ask(PATH, ASK)[0], server.ask(PATH, ASK, headers=reader)[0]) == (401, 200)
        server.stop()
        assert "Traceback" not in server.log.read_text()


def test_tls_with_tokens_and_a_renewed_certificate_is_taken_over_for_new_connections(
    deployment: Deployment, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    certificate, key = make_certificate(tmp_path)
    tokens = tmp_path / "tokens"
    tokens.write_text("reader 0123456789abcdef\n")
    options = ("--tls-cert", str(certificate), "--tls-key", str(key), "--tokens", str(tokens))
    with serving(deployment.env, tmp_path / "log", *options, certificate=certificate) as server:

        def shown() -> str:
            return ssl.get_server_certificate(("127.0.0.1", server.port))

        reader = {"authorization": "Bearer 0123456789abcdef"}
        assert (server.ask(PATH, ASK)[0], server.ask(PATH, ASK, headers=reader)[0]) == (401, 200)
        plain = HTTPConnection("127.0.0.1", server.port, timeout=60)
        plain.request("GET", "/health")
        with pytest.raises((HTTPException, OSError)):
            plain.getresponse()
        plain.close()

        make_certificate(tmp_path)
        wait_until(lambda: shown() == certificate.read_text(), within_s=60, what="the renewed certificate")
        renewed = shown()
        assert server.ask(PATH, ASK, headers=reader)[0] == 200
        other, _ = make_certificate(tmp_path_factory.mktemp("next"))
        certificate.write_bytes(other.read_bytes())  # its key is still to come
        wait_until(
            lambda: b"cannot be taken over yet" in server.log.read_bytes(), within_s=60, what="a word on the certificate without its key"
        )
        assert shown() == renewed
        assert server.stop() == 0
