"""The short way of requests for features answers byte for byte as uvicorn's own way, whatever the pieces in which requests arrive."""

import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.server.access_log import AccessLog
from feature_platform.server.app import ServerApp
from feature_platform.server.http_protocol import DirectProtocol
from feature_platform.server.options import Limits
from tests.server.conftest import FIRST, NoFeast, feature_server, open_stores, parts_of
from tests.support.http_server import serving_http
from tests.support.online import table_of
from tests.support.valkey_server import valkey_server

BODY = json.dumps({"features": ["first:f_count", "first:f_mean"], "entities": {"user_id": [1, 2, 3]}}).encode()
OTHER = json.dumps({"features": ["first:f_count"], "entities": {"user_id": [2]}}).encode()
BROKEN = json.dumps({"features": ["first:f_count"], "entities": {"user_id": [13]}}).encode()
LARGE = BODY + b" " * 40_000
HUGE = BODY + b" " * 90_000
LIMITS = Limits(body_bytes=80_000)
HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"


def post(body: bytes, *headers: bytes, version: bytes = b"1.1", target: bytes = b"/get-online-features") -> bytes:
    """A request for features."""
    lines = [
        b"POST %s HTTP/%s" % (target, version),
        b"host: x",
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(body: bytes) -> bytes:
    """The same request in the chunks of HTTP/1.1."""
    head = b"POST /get-online-features HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (5, body[:5], len(body) - 5, body[5:])


class Clients(AccessLog):
    """Keeps what an access log would name as the clients."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def add(self, scope: dict[str, Any], **_: Any) -> None:
        self.seen.append(scope["client"][0])


@pytest.fixture(scope="module")
def clients() -> Clients:
    """The access log of both servers."""
    return Clients()


@pytest.fixture(scope="module")
def new_app(clients: Clients) -> Iterator[Callable[[], ServerApp]]:
    """Makes servers of one store; one of the users asked for makes the program fail."""
    objects = MemoryObjectStore()
    with valkey_server() as valkey:
        rows = {"user_id": [1, 2], "f_count": [10, None], "f_mean": [0.1, 1e22]}
        open_stores(objects, valkey, (FIRST,)).write(FIRST, table_of(FIRST, rows))

        def app() -> ServerApp:
            server = feature_server(objects, valkey, NoFeast(), limits=LIMITS)
            read = server.reader.read

            async def failing(wanted: Sequence[Any]) -> Any:
                if 13 in wanted[0].keys[0]:
                    raise ZeroDivisionError
                return await read(wanted)

            server.reader.read = failing  # type: ignore[method-assign]
            return ServerApp(lambda: parts_of(server, access_log=clients))

        yield app


@pytest.fixture(scope="module")
def ports(new_app: Callable[[], ServerApp]) -> Iterator[tuple[int, int]]:
    """The short way's port, and the port of uvicorn's own way."""
    with serving_http(new_app()) as short, serving_http(new_app(), is_direct=False) as long:
        yield short, long


def exchange(port: int, pieces: Sequence[bytes], answers: int) -> bytes:
    """What comes back when the pieces are sent one after the other: so many answers, or all until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place, piece in enumerate(pieces):
            if place:
                time.sleep(0.03)
            client.sendall(piece)
        raw = b""
        while raw.count(b"HTTP/1.1 ") < answers or not is_whole(raw):
            data = client.recv(1 << 16)
            if not data:
                return raw + b"<closed>"
            raw += data
        return raw


def is_whole(raw: bytes) -> bool:
    """Whether the last answer has as many bytes as it says."""
    head, end, body = raw.rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")), 0)
    return bool(end) and len(body) >= length


CASES = {
    "whole": ([post(BODY)], 1),
    "two in turn": ([post(BODY), post(OTHER)], 2),
    "the same head again": ([post(BODY), post(BODY), post(b"no" + BODY[2:])], 3),
    "the same head again, in pieces": ([post(BODY), post(BODY)[:40], post(BODY)[40:], post(BODY)[:-9], post(BODY)[-9:]], 3),
    "the same head again, before another request": ([post(BODY), post(BODY) + post(OTHER), post(BODY)], 4),
    "the same head again, after half of another one": ([post(BODY), post(OTHER)[:-3], post(OTHER)[-3:] + post(BODY), post(BODY)], 4),
    "the same long head again": ([post(BODY, b"x-long: " + b"x" * 5000)] * 2, 2),
    "two at once": ([post(BODY) + post(OTHER)], 2),
    "three at once with another path between": ([post(BODY) + HEALTH + post(OTHER)], 3),
    "head and body apart": ([post(BODY)[: -len(BODY)], BODY], 1),
    "in the middle of the head": ([post(BODY)[:30], post(BODY)[30:]], 1),
    "in the middle of the body, another one behind": ([post(BODY)[:-20], post(BODY)[-20:] + post(OTHER)], 2),
    "in chunks": ([chunked(BODY) + post(OTHER)], 2),
    "large": ([post(LARGE)], 1),
    "larger than uvicorn reads ahead": ([post(BODY + b" " * 79_000) + post(OTHER)], 2),
    "too large": ([post(HUGE)], 1),
    "too large in chunks": ([chunked(HUGE)], 1),
    "the last on its connection": ([post(BODY, b"connection: close")], 1),
    "of HTTP/1.0": ([post(BODY, version=b"1.0")], 1),
    "with a query": ([post(BODY, target=b"/get-online-features?x=1")], 1),
    "an upgrade that is not offered": ([post(BODY, b"connection: upgrade", b"upgrade: websocket")], 1),
    "no JSON": ([post(b"nothing")], 1),
    "another method": ([post(b"").replace(b"POST", b"DELETE")], 1),
    "a fault in the program": ([post(BROKEN) + post(OTHER)], 1),
    "no HTTP": ([b"nothing\r\n\r\n"], 1),
}


@pytest.mark.parametrize("name", CASES)
def test_the_short_way_answers_as_uvicorns_way(ports: tuple[int, int], name: str) -> None:
    short, long = (exchange(port, *CASES[name]) for port in ports)
    assert short == long
    assert short.startswith(b"HTTP/1.1 ")


def test_a_client_that_waits_for_leave_to_send_gets_it(ports: tuple[int, int]) -> None:
    request = post(BODY, b"expect: 100-continue")
    answers = [exchange(port, [request[: -len(BODY)], BODY], 2) for port in ports]
    assert answers[0] == answers[1]
    assert answers[0].startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


def test_answers_wait_for_a_client_that_reads_none_and_others_are_served_meanwhile(ports: tuple[int, int]) -> None:
    many = json.dumps({"features": ["first:f_count"], "entities": {"user_id": [2] * 900}}).encode()
    count = 120
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        slow.connect(("127.0.0.1", ports[0]))
        for _ in range(count):
            slow.sendall(post(many))
            time.sleep(0.01)  # so that each is answered, into a buffer, before the next one comes
        assert exchange(ports[0], [post(OTHER)], 1).startswith(b"HTTP/1.1 200")
        slow.settimeout(30)
        raw = b""
        while raw.count(b"HTTP/1.1 200 OK") < count or not is_whole(raw):
            raw += slow.recv(1 << 20)
    assert len(set(raw.split(b"HTTP/1.1 200 OK")[1:])) == 1


def test_the_access_log_names_the_client_that_a_proxy_on_this_machine_names(ports: tuple[int, int], clients: Clients) -> None:
    clients.seen.clear()
    for port in ports:
        exchange(port, [post(OTHER), post(OTHER, b"x-forwarded-for: 192.0.2.7")], 2)
    assert clients.seen == ["127.0.0.1", "192.0.2.7"] * 2


def test_a_connection_ends_when_it_was_idle_and_not_while_it_is_used(new_app: Callable[[], ServerApp]) -> None:
    with ExitStack() as stack:
        ports = [stack.enter_context(serving_http(new_app(), is_direct=direct, keep_alive_s=2)) for direct in (True, False)]
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)) for port in ports]
        for pieces in [[post(OTHER)]] * 7 + [[post(OTHER)[:30], post(OTHER)[30:]]]:
            for place, piece in enumerate(pieces):
                time.sleep(1.3 if place or len(pieces) > 1 else 0.4)  # two seconds after the last answer, half of a request is there
                for client in clients:
                    client.sendall(piece)
            for client in clients:
                assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
        assert [client.recv(1) for client in clients] == [b"", b""]


def test_heads_that_are_never_the_same_are_not_kept_for_ever(ports: tuple[int, int]) -> None:
    requests = [post(OTHER, b"x-trace: %d" % number) for number in range(1500)]
    with socket.create_connection(("127.0.0.1", ports[0]), timeout=20) as client:
        for request in requests:
            client.sendall(request)
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
    assert 0 < len(DirectProtocol._heads) <= 1024


def test_a_client_that_goes_harms_nobody(ports: tuple[int, int]) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", ports[0])) as client:
            client.sendall(post(BODY) + post(OTHER)[:-3])
    assert exchange(ports[0], [post(OTHER)], 1).startswith(b"HTTP/1.1 200")
