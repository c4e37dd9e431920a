"""Anything at all over the socket: the server neither dies nor hangs, and fails with its own words alone."""

import json
import os
import random
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.server.app import ServerApp
from tests.server.conftest import CONTRACTS, NoFeast, feature_server, open_stores, parts_of, write_samples
from tests.support.asgi import AsgiClient
from tests.support.http_server import serving_http
from tests.support.valkey_server import valkey_server

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

ROUNDS = 20_000 if os.environ.get("FAULTS") == "full" else 200
EXAMPLES = 5_000 if os.environ.get("FAULTS") == "full" else 150
BODY = json.dumps(
    {"features": ["first:f_count", "typed:f_string"], "entities": {"user_id": [1, 2, 1001]}, "full_feature_names": True}
).encode()
WHOLE = (
    b"POST /get-online-features HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\nauthorization: Bearer x\r\n"
    b"feature-pin: first=v_20260115T000000\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
)
FEASTS_REFUSALS = (b'"No features specified', b'"Invalid feature reference', b"\"'Feature ")


@pytest.fixture(scope="module")
def make() -> Iterator[Callable[[], ServerApp]]:
    """Makes an application; each serves one event loop."""
    objects = MemoryObjectStore()
    with valkey_server() as server:
        readers = open_stores(objects, server, CONTRACTS)
        write_samples(readers)
        readers.close()
        yield lambda: ServerApp(lambda: parts_of(feature_server(objects, server, NoFeast())))


def mutated(chosen: random.Random) -> bytes:
    """A request with some of its bytes changed, lost, repeated or made up."""
    raw = bytearray(WHOLE)
    for _ in range(chosen.randrange(1, 6)):
        place, kind = chosen.randrange(len(raw)), chosen.randrange(5)
        if kind == 0:
            raw[place] = chosen.randrange(256)
        elif kind == 1:
            del raw[place : place + chosen.randrange(1, 20)]
        elif kind == 2:
            raw[place:place] = bytes(chosen.randrange(256) for _ in range(chosen.randrange(1, 20)))
        elif kind == 3:
            raw[place:place] = raw[place : place + 40]
        else:
            raw = raw[: place + 1]
    return bytes(raw) or b"x"


def exchange(port: int, raw: bytes, *, patience_s: float = 0.1) -> bytes:
    """What comes back until the server closes, or waits for the rest of what is no whole request."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as client:
        answer = b""
        try:
            client.sendall(raw)
            while data := client.recv(1 << 16):
                answer += data
        except (ConnectionError, TimeoutError):
            pass
        return answer


def test_any_bytes_over_the_socket(make: Callable[[], ServerApp]) -> None:
    chosen = random.Random(11)
    with serving_http(make()) as port:
        for _ in range(ROUNDS):
            raw = mutated(chosen)
            answer = exchange(port, raw)
            for head in answer.split(b"HTTP/1.1 ")[1:]:
                assert is_proper(int(head[:3]), head.partition(b"\r\n\r\n")[2]), (raw, answer)
        assert exchange(port, WHOLE.replace(b"feature-pin", b"feature-pun"), patience_s=30).startswith(b"HTTP/1.1 200")


def is_proper(status: int, body: bytes) -> bool:
    """No failure but the server's own: unavailable, or a refusal in Feast's words."""
    return status < 500 or status == 503 or (status == 500 and body.startswith(FEASTS_REFUSALS))


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["first:f_count", "typed", "user_id", "@"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["entities", "features", "feature_service", "full_feature_names", "include_feature_view_version_metadata", "pinned_versions"]
)
ENTITIES = st.dictionaries(
    st.sampled_from(["user_id", "name", "code", "shop", "item", "x"]), st.lists(ANYTHING, max_size=4) | ANYTHING, max_size=3
)
BODIES = st.one_of(
    st.binary(max_size=60),
    ANYTHING.map(lambda value: json.dumps(value).encode()),
    st.builds(
        lambda fields, entities, features: json.dumps({"features": features, "entities": entities, **fields}).encode(),
        st.dictionaries(FIELDS, ANYTHING, max_size=2),
        ENTITIES,
        st.lists(st.sampled_from(["first:f_count", "typed:f_bytes", "pairs:f_count", "first:", ":", "nothing:x"]), max_size=3),
    ),
)


@pytest.fixture(scope="module")
def client(make: Callable[[], ServerApp]) -> Iterator[AsgiClient]:
    with AsgiClient(make()) as opened:
        yield opened


@given(body=BODIES, kind=st.sampled_from(["application/json", "text/plain", "application/json; charset=x", ""]))
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
def test_any_document_as_a_body(client: AsgiClient, body: bytes, kind: str) -> None:
    answer = client.post("/get-online-features", body, headers={"content-type": kind})
    assert is_proper(answer.status, answer.body), (body, answer)
    assert b"Traceback" not in answer.body
    if answer.status == 200:
        assert answer.document["metadata"]["feature_names"]


@pytest.mark.parametrize("path", ["/feature-version", "/health", "/ready", "/metrics", "/openapi.json"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE"])
def test_every_path_by_every_method(client: AsgiClient, path: str, method: str) -> None:
    answer = client.run(client.request(method, path, b"{}"))
    assert answer.status in ({200, 503} if method == "GET" else {405})


def test_whatever_its_openapi_document_allows(make: Callable[[], ServerApp]) -> None:
    """Requests that schemathesis makes from the document, over the socket; each answer's status is one that the document names."""
    import schemathesis

    with serving_http(make()) as port:
        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
        for found in schema.get_all_operations():
            operation = found.ok()
            fuzz(operation, {int(status) for status in operation.definition.raw["responses"]}, f"http://127.0.0.1:{port}")


def fuzz(operation: Any, known: set[int], url: str) -> None:
    @given(case=operation.as_strategy())
    @settings(max_examples=EXAMPLES // 5, derandomize=True, suppress_health_check=list(HealthCheck))
    def answers(case: Any) -> None:
        answer = case.call(base_url=url, timeout=60)
        assert answer.status_code in known, (case.body, answer.text)
        assert is_proper(answer.status_code, answer.content), (case.body, answer.text)

    answers()
