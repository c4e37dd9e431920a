"""Two servers over the same registry and database in this process, ours and Feast's, with every kind of view a contract allows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from feature_platform.adapters.feast.repository import ONLINE_STORE
from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.online.marker import Marker, OnlineVersion, encode_marker, marker_key
from feature_platform.errors import StorageError
from feature_platform.server.app import Parts, ServerApp
from feature_platform.server.feast_process import FeastAnswer
from feature_platform.server.feature_server import FeatureServer
from feature_platform.server.metrics import MetricsBoard
from feature_platform.server.registry_watch import RegistryWatch
from feature_platform.server.status import ServerStatus
from feature_platform.server.store_reader import StoreReader
from tests.support.asgi import AsgiClient
from tests.support.feast_reading import Readers
from tests.support.feast_registries import URI
from tests.support.online import contract_of, table_of
from tests.support.valkey_server import ValkeyServer, valkey_server

LONG = "36500d"
TYPED_VALUES: dict[str, tuple[str, list[Any]]] = {
    "f_int32": ("int32", [2**31 - 1, -(2**31), 0, None]),
    "f_int64": ("int64", [2**60 + 1, -(2**60), 127, 128]),
    "f_float32": ("float32", [1.5, float("-inf"), -0.0, None]),
    "f_float64": ("float64", [0.1, float("inf"), -1e308, None]),
    "f_bool": ("bool", [True, False, True, False]),
    "f_string": ("string", ["", 'Zoë ✓ "quoted" \\ \n\x7f\u2028', "x" * 300, None]),
    "f_bytes": ("bytes", [b"", b"\x00\xff", b"y" * 128, None]),
    "f_timestamp": ("timestamp", [datetime(2026, 1, 1, 12, 30, 15, tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC), None, None]),
    "f_date": ("date", [date(2026, 1, 1), date(1960, 2, 29), date(1970, 1, 1), date(2100, 12, 31)]),
    "f_bytes_list": ("list<bytes>", [[b"", b"\xff"], [], None, [b"a"]]),
    "f_string_list": ("list<string>", [["a", "", "ü"], [], None, ["y"]]),
    "f_int32_list": ("list<int32>", [[1, -1], [], None, [7]]),
    "f_int64_list": ("list<int64>", [[1, -1, 2**60], [], None, [7]]),
    "f_float32_list": ("list<float32>", [[0.5, float("inf")], [], None, [0.1]]),
    "f_float64_list": ("list<float64>", [[0.1, float("-inf")], [], None, [1e300]]),
    "f_bool_list": ("list<bool>", [[True, False], [], None, [False]]),
    "f_timestamp_list": ("list<timestamp>", [[datetime(2026, 1, 1, tzinfo=UTC)], [], None, []]),
}
TYPED = contract_of({"user_id": "int64", **{name: kind for name, (kind, _) in TYPED_VALUES.items()}}, name="typed", ttl=LONG)
TYPED_IDS = [1001, -1, 2**62, 0]
FIRST = contract_of({"user_id": "int64", "f_count": "int64", "f_mean": "float64"}, name="first", ttl=LONG)
SECOND = contract_of({"user_id": "int64", "f_count": "int64", "f_name": "string"}, name="second", ttl="1d")
TEXTS = contract_of({"name": "string", "f_count": "int64"}, keys=("name",), name="texts", ttl=LONG, entity="person")
SMALL = contract_of({"code": "int32", "f_count": "int64"}, keys=("code",), name="small", ttl=LONG, entity="code")
PAIRS = contract_of({"shop": "string", "item": "int32", "f_count": "int64"}, keys=("shop", "item"), name="pairs", ttl=LONG, entity="sale")
CONTRACTS = (TYPED, FIRST, SECOND, TEXTS, SMALL, PAIRS)


@dataclass
class FeastInProcess:
    """Feast's own application in this process, as the server's way out; counts what it was asked."""

    client: AsgiClient
    asked: int = 0
    is_busy: bool = False

    async def post(self, path: str, body: bytes) -> FeastAnswer:
        self.asked += 1
        answer = await self.client.request("POST", path, body)
        return FeastAnswer(answer.status, answer.body, answer.headers.get("content-type", "").encode())

    async def close(self) -> None:
        return None


class NoFeast:
    """Feast's own server, out of order: whatever needs it is unavailable."""

    is_busy = False

    async def post(self, path: str, body: bytes) -> FeastAnswer:
        raise StorageError("Feast's own server is out of order.")

    async def close(self) -> None:
        return None


@dataclass
class Pair:
    """Both servers, ours also with a row cache, and what they serve from."""

    ours: AsgiClient
    kept: AsgiClient
    feast: AsgiClient
    fallback: FeastInProcess
    readers: Readers
    valkey: ValkeyServer
    server: FeatureServer
    objects: MemoryObjectStore = field(default_factory=MemoryObjectStore)


def open_stores(objects: MemoryObjectStore, server: ValkeyServer, contracts: tuple[Contract, ...], *, ours: str = "") -> Readers:
    """Feast stores over one registry, with these contracts applied and nothing written; ``ours`` is our store's own address."""
    from feature_platform.adapters.feast.objects import feast_objects
    from tests.support.feast_registries import open_registry

    options = {"connection_string": server.connection_string, "skip_dedup": True}
    mine = open_registry(objects, online_store={"type": ONLINE_STORE, **options, **({"connection_string": ours} if ours else {})})
    mine.apply(feast_objects(contracts, feature_base="s3://bucket/features").all)
    return Readers(ours=mine, stock=open_registry(objects, online_store={"type": "redis", **options}))


def write_samples(readers: Readers) -> None:
    """Rows of every view, some past their ttl, some absent."""
    readers.write(TYPED, table_of(TYPED, {"user_id": TYPED_IDS, **{name: values for name, (_, values) in TYPED_VALUES.items()}}))
    readers.write(FIRST, table_of(FIRST, {"user_id": [1, 2], "f_count": [10, None], "f_mean": [0.1, 1e22]}))
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    stamps = [now_us - int(timedelta(days=age).total_seconds() * 1_000_000) for age in (0.1, 3, 0.2)]
    readers.write(
        SECOND, table_of(SECOND, {"user_id": [2, 3, 4], "f_count": [1, 2, 3], "f_name": ["b", "c", None], "event_timestamp": stamps})
    )
    readers.write(TEXTS, table_of(TEXTS, {"name": ["Zoë ✓", "", "x" * 200], "f_count": [1, 2, 3]}))
    readers.write(SMALL, table_of(SMALL, {"code": [1, -2], "f_count": [1, 2]}))
    readers.write(PAIRS, table_of(PAIRS, {"shop": ["ö", "ö", "b"], "item": [1, -2, 1], "f_count": [1, 2, 3]}))


def mark_online(server: ValkeyServer, contracts: tuple[Contract, ...]) -> None:
    """Say that one version of each is online."""
    with server.client() as client:
        for contract in contracts:
            version = OnlineVersion("v_20260115T000000", 1, contract.schema_hash, "", 1, (), ())
            marker = Marker("online", version, since="2026-01-15T00:00:00Z", token="t")
            client.set(marker_key("feature_store_local", contract.feature_set), encode_marker(marker))


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Both servers over the same data."""
    from feast.feature_server import get_app

    objects = MemoryObjectStore()
    with valkey_server() as server:
        readers = open_stores(objects, server, CONTRACTS)
        write_samples(readers)
        mark_online(server, CONTRACTS)  # nothing is kept of views without a marker
        with AsgiClient(get_app(readers.ours, registry_ttl_sec=0)) as feast:
            fallback = FeastInProcess(feast)
            served, keeping = feature_server(objects, server, fallback), feature_server(objects, server, fallback, cache_bytes=1 << 20)
            with AsgiClient(ServerApp(lambda: parts_of(served))) as ours, AsgiClient(ServerApp(lambda: parts_of(keeping))) as kept:
                yield Pair(ours, kept, feast, fallback, readers, server, served, objects)
        readers.close()


def parts_of(served: FeatureServer, **given: Any) -> Parts:
    """An application around a server, with nothing that is optional but what is given."""
    board = MetricsBoard(None, name="test")
    board.counts = served.counts
    return Parts(server=served, status=ServerStatus(served.registry, served.reader), board=board, **given)


def feature_server(
    objects: MemoryObjectStore, server: ValkeyServer, feast: Any, *, connection: str = "", deadline_s: float = 5.0, **given: Any
) -> FeatureServer:
    """Our server's parts over a registry in memory."""
    from feature_platform.adapters.online_store.redis_connection import parse_address

    def fetch() -> bytes:
        stored = objects.get(URI)
        assert stored is not None
        return bytes(stored.body)

    address = parse_address(connection or server.connection_string)
    registry = RegistryWatch(fetch, project="feature_store_local", refresh_s=0.1)
    return FeatureServer(registry, StoreReader(address, deadline_s=deadline_s), feast, **given)
