"""The online store restarts, freezes, accepts and says nothing, or refuses the user: requests end in time, and the server recovers."""

import asyncio
import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import hiredis
import pytest

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.adapters.online_store.redis_connection import parse_address
from feature_platform.errors import ConfigurationError, StorageError
from feature_platform.server.app import ServerApp
from feature_platform.server.cluster_reader import ClusterReader
from feature_platform.server.online_reader import Wanted
from feature_platform.server.plans import RequestShape
from feature_platform.server.redis_connect import connector
from feature_platform.server.redis_link import DeadlineMissedError, RedisLink
from feature_platform.server.store_reader import StoreReader
from tests.server.conftest import FIRST, NoFeast, feature_server, open_stores, parts_of
from tests.support.asgi import AsgiAnswer, AsgiClient
from tests.support.online import table_of
from tests.support.valkey_server import ValkeyServer, valkey_server

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

PATH = "/get-online-features"
BODY = json.dumps({"features": ["first:f_count"], "entities": {"user_id": [1, 2]}}).encode()
GET_ONE = b"*2\r\n$3\r\nGET\r\n$1\r\nx\r\n"


@dataclass
class Site:
    """A server of ours over a Redis that a test may maltreat."""

    client: AsgiClient
    valkey: ValkeyServer

    def ask(self) -> AsgiAnswer:
        return self.client.post(PATH, BODY)

    def ask_together(self, count: int) -> Counter[int]:
        async def together() -> Counter[int]:
            answers = await asyncio.gather(*(self.client.request("POST", PATH, BODY) for _ in range(count)))
            return Counter([answer.status for answer in answers])

        return self.client.run(together())

    def recovers(self) -> bool:
        """Whether it answers again, after a few attempts at most: one may still meet the pause after a refusal."""
        for _ in range(100):
            if self.ask().status == 200:
                return True
            self.client.run(asyncio.sleep(0.05))
        return False


@pytest.fixture(scope="module")
def database() -> Iterator[tuple[MemoryObjectStore, ValkeyServer]]:
    objects = MemoryObjectStore()
    with valkey_server(appendonly="yes", appendfsync="always") as server:
        readers = open_stores(objects, server, (FIRST,))
        readers.write(FIRST, table_of(FIRST, {"user_id": [1, 2], "f_count": [10, 20], "f_mean": [0.5, 1.5]}))
        readers.close()
        yield objects, server


@pytest.fixture
def site(database: tuple[MemoryObjectStore, ValkeyServer]) -> Iterator[Site]:
    objects, server = database
    with AsgiClient(ServerApp(lambda: parts_of(feature_server(objects, server, NoFeast(), deadline_s=0.3)))) as client:
        yield Site(client, server)


def test_a_restart_is_hardly_noticed(site: Site) -> None:
    assert site.ask().status == 200
    site.valkey.restart()
    assert site.recovers()


def test_a_server_that_is_down_is_said_at_once_and_comes_back(site: Site) -> None:
    assert site.ask().status == 200
    site.valkey.kill()
    try:
        for _ in range(50):
            answer = site.ask()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        ready = site.client.get("/ready")
        assert ready.status == 503
        assert "online_store" in ready.document["faults"]
        assert site.client.get("/health").status == 200, "the process is well; restarting it would help nobody"
    finally:
        site.valkey.start()
    assert site.recovers()


def test_a_frozen_server_costs_each_request_its_deadline_and_no_more(site: Site) -> None:
    assert site.ask().status == 200
    os.kill(site.valkey.pid, signal.SIGSTOP)
    try:
        assert site.ask_together(100) == {503: 100}
        assert site.ask_together(100) == {503: 100}
        assert b"feature_server_deadlines_missed_total" in site.client.get("/metrics").body
    finally:
        os.kill(site.valkey.pid, signal.SIGCONT)
    assert site.recovers()
    assert site.ask_together(20) == {200: 20}


def test_answers_are_not_mixed_up_by_deadlines_that_were_missed(site: Site) -> None:
    """Replies to requests that were given up still come; nobody else may get them."""
    assert site.ask().status == 200

    async def one(user: int) -> tuple[int, object]:
        body = json.dumps({"features": ["first:f_count"], "entities": {"user_id": [user]}}).encode()
        answer = await site.client.request("POST", PATH, body)
        return user, answer.document["results"][1]["values"] if answer.status == 200 else None

    async def together() -> list[tuple[int, object]]:
        thaw = asyncio.get_running_loop().call_later(0.28, os.kill, site.valkey.pid, signal.SIGCONT)
        found: list[tuple[int, object]] = []
        for _ in range(20):
            found += await asyncio.gather(*(one(1 + number % 3) for number in range(30)))
        thaw.cancel()
        return found

    os.kill(site.valkey.pid, signal.SIGSTOP)
    found = site.client.run(together())
    expected: dict[int, object] = {1: [10], 2: [20], 3: [None]}
    assert all(values in (None, expected[user]) for user, values in found)
    assert any(values is not None for _, values in found)


@pytest.mark.timeout(30)
def test_a_server_that_accepts_and_says_nothing_is_given_up() -> None:
    """It makes the connection's first commands wait, before any request is sent."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = parse_address(f"127.0.0.1:{silent.getsockname()[1]},db=1")

        async def ask() -> None:
            link = RedisLink(connector(address), address="silent", deadline_s=0.2)
            for _ in range(3):
                with pytest.raises(DeadlineMissedError):
                    await link.read(GET_ONE, 1)
            await link.close()

        asyncio.run(ask())


class FakeRedis:
    """Replies by a function of the command's words; counts connections."""

    def __init__(self, reply: Callable[["FakeRedis", list[bytes]], bytes], *, pause_s: float = 0.0) -> None:
        self._reply, self._pause_s = reply, pause_s
        self.port = 0
        self._clients: list[tuple[asyncio.Task[Any], asyncio.StreamWriter]] = []

    @property
    def connections(self) -> int:
        return len(self._clients)

    async def __aenter__(self) -> "FakeRedis":
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task, writer in self._clients:
            writer.transport.abort()
            await task

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.append((task, writer))
        parser = hiredis.Reader()
        while data := await reader.read(65_536):
            parser.feed(data)
            while (words := parser.gets()) is not False:
                if words[0] == b"GET":
                    await asyncio.sleep(self._pause_s)
                writer.write(self._reply(self, words))


def one_server_cluster(server: FakeRedis, words: list[bytes]) -> bytes:
    slots = b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % server.port
    return {b"CLUSTER": slots, b"GET": b"$-1\r\n"}.get(words[0], b"+OK\r\n")


def test_a_cluster_that_is_busy_at_first_is_a_cluster_afterwards() -> None:
    async def ask() -> None:
        busy = [b"-LOADING Valkey is loading the dataset in memory\r\n"]

        def reply(server: FakeRedis, words: list[bytes]) -> bytes:
            return busy.pop() if busy and words[0] == b"CLUSTER" else one_server_cluster(server, words)

        async with FakeRedis(reply) as server:
            reader = StoreReader(parse_address(f"127.0.0.1:{server.port}"), deadline_s=2)
            with pytest.raises(StorageError, match="LOADING"):
                await reader.markers([b"x"])
            assert await reader.markers([b"x"]) == [None]
            assert isinstance(reader._known, ClusterReader)
            await reader.close()

    asyncio.run(ask())


def test_first_requests_at_once_share_their_connections_to_a_cluster() -> None:
    async def ask() -> None:
        async with FakeRedis(one_server_cluster) as server:
            reader = StoreReader(parse_address(f"127.0.0.1:{server.port}"), deadline_s=2)
            await asyncio.gather(*(reader.markers([b"x"]) for _ in range(50)))
            assert server.connections <= 2, "one asked what it is, one reads"
            await reader.close()

    asyncio.run(ask())


def test_a_deadline_is_that_of_all_rounds_of_a_cluster_together(database: tuple[MemoryObjectStore, ValkeyServer]) -> None:
    async def ask() -> None:
        async with FakeRedis(one_server_cluster, pause_s=0.2) as server:
            reader = ClusterReader([("127.0.0.1", server.port)], partial(connector, parse_address("127.0.0.1:1")), deadline_s=0.3)
            plans = feature_server(*database, NoFeast()).registry
            await plans.read()
            view = plans.plan(RequestShape(None, ("first:f_count",))).views[0]
            begun_s = asyncio.get_running_loop().time()
            with pytest.raises(DeadlineMissedError):
                await reader.read([Wanted(view, [[]])])
            assert asyncio.get_running_loop().time() - begun_s < 0.39, "two rounds of 0.2 s"
            await reader.close()

    asyncio.run(ask())


def test_a_user_that_may_only_read_serves_and_one_that_may_not_is_said(database: tuple[MemoryObjectStore, ValkeyServer]) -> None:
    objects, server = database
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "reader", "on", ">reading-only", "~*", "-@all", *READER)
        admin.execute_command("ACL", "SETUSER", "nobody", "on", ">nothing", "~*", "-@all", "+auth", "+select", "+client|setinfo")
    as_reader = f"{server.connection_string},username=reader,password=reading-only"
    with AsgiClient(ServerApp(lambda: parts_of(feature_server(objects, server, NoFeast(), connection=as_reader)))) as client:
        assert client.post(PATH, BODY).status == 200
        assert client.get("/feature-version").status == 200
        assert client.get("/ready").document["faults"].keys() == {"view first"}, "nothing but that nobody loaded it"
    for command in (b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$1\r\ny\r\n", b"*1\r\n$8\r\nFLUSHALL\r\n", b"*2\r\n$4\r\nKEYS\r\n$1\r\n*\r\n"):
        assert isinstance(_reply(as_reader, command), Exception), "it may not write, nor look around"
    as_nobody = f"{server.connection_string},username=nobody,password=nothing"
    with AsgiClient(ServerApp(lambda: parts_of(feature_server(objects, server, NoFeast(), connection=as_nobody)))) as client:
        answer = client.post(PATH, BODY)
        assert (answer.status, "NOPERM" in answer.document["detail"]) == (503, True)
    with pytest.raises(ConfigurationError, match="refuses this user"):
        _reply(f"{server.connection_string},username=reader,password=wrong", GET_ONE)
    with pytest.raises(StorageError, match="cannot be reached"):
        _reply("127.0.0.1:1", GET_ONE)


READER = ("+hmget", "+get", "+ping", "+auth", "+select", "+client|setinfo")
"""What docs/serving.md names."""


def _reply(connection: str, command: bytes) -> object:
    async def ask() -> object:
        address = parse_address(connection)
        link = RedisLink(connector(address), address=repr(address), deadline_s=5)
        try:
            return (await link.read(command, 1))[0]
        finally:
            await link.close()

    return asyncio.run(ask())
