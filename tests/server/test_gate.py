"""Who may ask, how much, and what is answered when it is too much."""

import asyncio
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.errors import ConfigurationError, StorageError
from feature_platform.server.access_log import AccessLog
from feature_platform.server.app import ServerApp
from feature_platform.server.catalogue import WAITING, Catalogue
from feature_platform.server.feast_process import FeastProcess
from feature_platform.server.feature_server import FeatureServer
from feature_platform.server.options import Limits, ServeOptions, require_closed
from feature_platform.server.tokens import Tokens
from tests.server.conftest import FIRST, NoFeast, feature_server, open_stores, parts_of
from tests.support.asgi import AsgiClient
from tests.support.online import table_of
from tests.support.valkey_server import ValkeyServer, valkey_server

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

PATH = "/get-online-features"
ASK = {"features": ["first:f_count"], "entities": {"user_id": [1]}}
ONE, TWO, THREE = "one-token-of-enough-length", "two-token-of-enough-length", "three-token-of-enough-length"


@dataclass
class Site:
    """A registry and a database with one view."""

    objects: MemoryObjectStore
    valkey: ValkeyServer


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    objects = MemoryObjectStore()
    with valkey_server() as server:
        readers = open_stores(objects, server, (FIRST,))
        readers.write(FIRST, table_of(FIRST, {"user_id": [1], "f_count": [10], "f_mean": [0.5]}))
        readers.close()
        yield Site(objects, server)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_without_a_known_token_nothing_is_said_but_health_and_readiness(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# callers\nscoring {ONE}\nscoring {TWO}  # while it changes\n")
    tokens = Tokens(file)
    with AsgiClient(ServerApp(lambda: parts_of(feature_server(site.objects, site.valkey, NoFeast()), tokens=tokens))) as client:
        for token in (ONE, TWO):
            assert client.post(PATH, ASK, headers=bearer(token)).status == 200
        for headers in ({}, bearer(THREE), bearer(""), {"authorization": f"Basic {ONE}"}, {"authorization": ONE}):
            for path in (PATH, "/feature-version", "/metrics", "/openapi.json", "/catalog", "/nothing"):
                answer = client.post(path, ASK, headers=headers)
                assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert client.get("/health").status == 200
        assert client.get("/ready").status in {200, 503}

        file.write_text(f"scoring {THREE}\n")
        os.utime(file, ns=(1, 1))
        tokens.refresh()
        assert client.post(PATH, ASK, headers=bearer(ONE)).status == 401
        assert client.post(PATH, ASK, headers=bearer(THREE)).status == 200

        file.write_text("scoring\n")
        tokens.refresh()
        assert client.post(PATH, ASK, headers=bearer(THREE)).status == 200, "a file that cannot be used changes nothing"


def test_a_regular_task_that_fails_ends_neither_the_others_nor_an_orderly_end(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feature_platform.server.app.TICK_S", 0.01)
    file = tmp_path / "tokens"
    file.write_text(f"scoring {ONE}\n")
    tokens, server = Tokens(file), feature_server(site.objects, site.valkey, NoFeast())
    closed: list[bool] = []
    failed = asyncio.Event()

    def full_disk() -> None:
        if failed.is_set():
            return
        failed.set()
        raise OSError("No space left on device")

    async def close() -> None:
        closed.append(True)
        await FeatureServer.close(server)

    async def died() -> None:
        raise OSError("nobody foresaw this")

    monkeypatch.setattr(server, "close", close)
    monkeypatch.setattr(server.registry, "keep_reading", died)
    parts = parts_of(server, tokens=tokens, ticks=(full_disk, tokens.refresh))
    monkeypatch.setattr(parts.board, "publish", full_disk)
    with AsgiClient(ServerApp(lambda: parts)) as client:
        client.run(failed.wait())
        file.write_text(f"scoring {THREE}\n")
        os.utime(file, ns=(1, 1))

        async def revoked() -> None:
            async with asyncio.timeout(5):
                while tokens.holder([(b"authorization", f"Bearer {ONE}".encode())]):
                    await asyncio.sleep(0.01)

        client.run(revoked())
        assert client.post(PATH, ASK, headers=bearer(THREE)).status == 200
        failed.clear()
    assert closed == [True]


def test_a_token_file_that_lets_nobody_or_anybody_in_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    for text, said in (("", "found none"), ("a b\nname short\n", "line 1: .*\n.*line 2: "), (f"{ONE}\n", "line 1")):
        file.write_text(text)
        with pytest.raises(ConfigurationError, match=said) as error:
            Tokens(file)
        assert ONE not in str(error.value)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Tokens(tmp_path / "absent")


def test_listening_beyond_this_machine_without_tokens_has_to_be_said() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        require_closed(ServeOptions(host=host))
    require_closed(ServeOptions(host="0.0.0.0", is_open=True))
    for host in ("0.0.0.0", "10.0.0.1", "features.internal"):
        with pytest.raises(ConfigurationError, match="--tokens"):
            require_closed(ServeOptions(host=host))
    with pytest.raises(ConfigurationError, match="both or neither"):
        require_closed(ServeOptions(tls_cert=Path("x")))


def test_what_is_too_much_for_one_request_is_refused(site: Site) -> None:
    limits = Limits(body_bytes=2_000, entities=3, features=1)
    with AsgiClient(ServerApp(lambda: parts_of(feature_server(site.objects, site.valkey, NoFeast(), limits=limits)))) as client:
        assert client.post(PATH, ASK).status == 200
        many = client.post(PATH, {**ASK, "entities": {"user_id": [1, 2, 3, 4]}})
        assert (many.status, many.document["detail"]) == (
            422,
            "A request may ask for at most 3 entities; found 4. Ask in several requests.",
        )
        by_feast = client.post(PATH, {**ASK, "entities": {"user": [1, 2, 3, 4]}})
        assert (by_feast.status, by_feast.document) == (422, many.document), "by the entity's name, which only Feast would answer"
        wide = client.post(PATH, {**ASK, "features": ["first:f_count", "first:f_mean"]})
        assert wide.status == 422
        for body in (b" " * 2_001, b'{"entities": ' + b"[" * 2_000):
            large = client.post(PATH, body)
            assert (large.status, large.headers["connection"]) == (413, "close")
            assert client.post(PATH, body, headers={"content-length": ""}).status == 413


def test_a_body_that_never_begins_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_platform.server.app.BODY_S", 0.05)
    app = ServerApp(lambda: parts_of(feature_server(site.objects, site.valkey, NoFeast())))

    async def never() -> Any:
        await asyncio.Event().wait()

    async def asked() -> int:
        async with asyncio.timeout(5):
            return (await app.answer({"method": "POST", "path": PATH, "headers": [(b"content-length", b"40")]}, never)).status

    with AsgiClient(app) as client:
        assert client.run(asked()) == 408


def test_more_requests_than_it_takes_at_once_are_refused_at_once(site: Site) -> None:
    limits = Limits(concurrency=4)
    server = feature_server(site.objects, site.valkey, NoFeast(), limits=limits)
    with AsgiClient(ServerApp(lambda: parts_of(server))) as client:

        async def together() -> list[int]:
            body = json.dumps(ASK).encode()
            answers = await asyncio.gather(*(client.request("POST", PATH, body) for _ in range(20)))
            assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status == 503)
            return [answer.status for answer in answers]

        statuses = client.run(together())
        assert statuses.count(200) == 4
        assert statuses.count(503) == 16
        assert client.run(together()).count(200) == 4
        numbers = client.get("/metrics").body.decode()
    assert 'feature_server_shed_total{where="worker"} 32.0' in numbers
    assert 'feast_feature_server_request_total{endpoint="/get-online-features",status="200"} 8.0' in numbers
    assert 'feast_online_features_status_total{feature_view="first",status="present"} 8.0' in numbers
    assert 'feast_feature_server_request_latency_seconds_count{endpoint="/get-online-features",feature_count="1"' in numbers


def test_the_catalogue_is_made_once_for_all_who_wait_and_they_are_few(site: Site, tmp_path: Path) -> None:
    made = tmp_path / "made"
    command = ["sh", "-c", f"echo x >> {made}; sleep 0.5; echo page"]
    server = feature_server(site.objects, site.valkey, NoFeast())
    with AsgiClient(ServerApp(lambda: parts_of(server, catalogue=Catalogue(command)))) as client:

        async def together() -> list[tuple[int, bytes]]:
            answers = await asyncio.gather(*(client.request("GET", "/catalog", b"") for _ in range(WAITING + 3)))
            return [(answer.status, answer.body) for answer in answers]

        answers = client.run(together())
        assert answers.count((200, b"page\n")) == WAITING
        assert [status for status, _ in answers].count(503) == 3
        assert client.get("/catalog").status == 200
    assert made.read_text() == "x\n"


def test_what_is_not_there_is_said_as_feast_says_it(site: Site) -> None:
    with AsgiClient(ServerApp(lambda: parts_of(feature_server(site.objects, site.valkey, NoFeast())))) as client:
        assert (client.get("/nothing").status, client.get("/nothing").document) == (404, {"detail": "Not Found"})
        assert (client.get(PATH).status, client.get(PATH).document) == (405, {"detail": "Method Not Allowed"})
        for path in ("/push", "/write-to-online-store", "/materialize", "/materialize-incremental"):
            assert client.post(path, {}).status == 404, "no way to write is offered"


def test_an_access_log_that_cannot_be_written_goes_on_when_it_can(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Output(io.BytesIO):
        is_full = True

        def write(self, data: Any) -> int:
            if self.is_full:
                raise OSError(28, "No space left on device")
            return super().write(data)

    output, log = Output(), AccessLog()
    monkeypatch.setattr("sys.stdout", SimpleNamespace(buffer=output))
    for output.is_full in (True, True, False):
        log.add({"headers": [], "method": "GET", "path": PATH}, status=200, size=0, took_s=0.0, caller="")
        log.write()
    assert [json.loads(line).get("dropped_lines") for line in output.getvalue().splitlines()] == [None, 2]
    assert caplog.text.count("cannot be written") == 1


def test_what_writes_is_not_passed_on_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def started(*_: object) -> None:
        return None

    async def lost(_feast: FeastProcess, path: str, _body: bytes) -> Any:
        asked.append(path)
        raise ConnectionResetError

    async def ask() -> None:
        feast = FeastProcess()
        for path in ("/push", PATH):
            with pytest.raises(StorageError, match="did not answer"):
                await feast.post(path, b"{}")
        await feast.close()

    for name, double in (("_started", started), ("_restarted", started), ("_asked", lost)):
        monkeypatch.setattr(FeastProcess, name, double)
    asyncio.run(ask())
    assert asked == ["/push", PATH, PATH]


def test_numbers_of_all_workers_are_added_up(tmp_path: Path) -> None:
    from feature_platform.server import metrics

    boards = [metrics.MetricsBoard(tmp_path, name=name) for name in ("one", "two")]
    for board in boards:
        board.counts.add(metrics.REQUESTS, "/health", "200", count=2)
        board.counts.histogram(metrics.READ).observe(0.003)
        board.publish()
    (tmp_path / "torn.json").write_bytes(b'{"counters": [')
    text = boards[0].rendered([]).decode()
    assert 'feast_feature_server_request_total{endpoint="/health",status="200"} 4.0' in text
    assert "feast_feature_server_online_store_read_duration_seconds_count 2.0" in text
