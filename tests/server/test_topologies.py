"""Redis Cluster and Sentinel: loads and answers alike, over failovers."""

import time
from collections.abc import Callable, Iterator

import pytest

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.server.app import ServerApp
from tests.server.conftest import NoFeast, feature_server, open_stores, parts_of
from tests.support.asgi import AsgiAnswer, AsgiClient
from tests.support.online import Publications, contract_of, table_of
from tests.support.valkey_cluster import valkey_cluster
from tests.support.valkey_sentinel import guarded_by_sentinels
from tests.support.valkey_server import ValkeyServer, valkey_server

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.slow,
]

PROJECT = "feature_store_local"
VISITS = contract_of({"user_id": "int64", "f_count": "int64"}, name="visits", ttl="36500d")
A, B = "v_20260115T000000", "v_20260116T000000"
USERS = range(500)


def publish(log: Publications, version: str, shift: int) -> object:
    return log.publish(version, table_of(VISITS, {"user_id": list(USERS), "f_count": [user + shift for user in USERS]}))


def ask(client: AsgiClient, ids: list[int]) -> AsgiAnswer:
    return client.post("/get-online-features", {"features": ["visits:f_count"], "entities": {"user_id": ids}})


def counts(answer: AsgiAnswer) -> list[int | None]:
    assert answer.status == 200, answer.body
    return list(answer.document["results"][1]["values"])


def eventually(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


@pytest.fixture(scope="module")
def registry() -> Iterator[MemoryObjectStore]:
    objects = MemoryObjectStore()
    with valkey_server() as server:
        open_stores(objects, server, (VISITS,))
        yield objects


def test_a_cluster_answers_with_proof_from_every_node_and_over_a_failover(registry: MemoryObjectStore) -> None:
    with valkey_cluster(nodes=3, replicas=3) as servers:
        address = servers[0].connection_string
        log, store = Publications(contract=VISITS, project=PROJECT), RedisOnlineStore(address)
        store.load(publish(log, A, 0))  # type: ignore[arg-type]
        with AsgiClient(ServerApp(lambda: parts_of(feature_server(registry, servers[0], NoFeast(), connection=address)))) as client:
            answer = ask(client, list(USERS))
            assert counts(answer) == list(USERS)
            assert f"state=online;version={A}" in answer.headers["feature-version"]
            assert all(entities(server) for server in servers[:3]), "rows came from every primary"

            seen: list[AsgiAnswer] = []
            store.load(publish(log, B, 7), progress=lambda *_: seen.append(ask(client, list(USERS)[:50])))  # type: ignore[arg-type]
            for each in seen:
                assert f'state=loading;versions="{A} {B}"' in each.headers["feature-version"]
                assert all(count in {user, user + 7} for user, count in zip(USERS, counts(each), strict=False))
            assert counts(ask(client, [1, 2])) == [8, 9]

            with servers[3].client() as replica:
                replica.execute_command("CLUSTER", "FAILOVER")
                eventually(lambda: replica.info("replication")["role"] == "master")
            eventually(lambda: ask(client, list(USERS)).status == 200)
            assert counts(ask(client, list(USERS))) == [user + 7 for user in USERS]
            assert client.get("/ready").status == 200


def entities(server: ValkeyServer) -> int:
    with server.client() as client:
        return int(client.dbsize())


def test_loads_and_answers_follow_the_primary_that_sentinels_name(registry: MemoryObjectStore) -> None:
    with guarded_by_sentinels() as guarded:
        log, store = Publications(contract=VISITS, project=PROJECT), RedisOnlineStore(guarded.connection_string)
        store.load(publish(log, A, 0))  # type: ignore[arg-type]
        with guarded.primary.client() as client:
            client.execute_command("WAIT", 1, 10_000)
        served = feature_server(registry, guarded.primary, NoFeast(), connection=guarded.connection_string)
        with AsgiClient(ServerApp(lambda: parts_of(served))) as client:
            assert counts(ask(client, [1, 2])) == [1, 2]
            guarded.primary.kill()
            assert ask(client, [1]).status == 503
            guarded.wait_until(guarded.replica.port)
            eventually(lambda: ask(client, [1]).status == 200)
            assert counts(ask(client, [1, 2])) == [1, 2]
            store.load(publish(log, B, 7))  # type: ignore[arg-type]
            assert counts(ask(client, [1, 2])) == [8, 9]


def test_feast_too_follows_the_primary_that_sentinels_name() -> None:
    """The online store plugin, by the same connection string."""
    with guarded_by_sentinels() as guarded:
        readers = open_stores(MemoryObjectStore(), guarded.primary, (VISITS,), ours=guarded.connection_string)
        readers.write(VISITS, table_of(VISITS, {"user_id": [1], "f_count": [10]}))
        found = readers.ours.get_online_features(features=["visits:f_count"], entity_rows=[{"user_id": 1}])
        assert found.to_dict() == {"user_id": [1], "f_count": [10]}
        readers.close()
