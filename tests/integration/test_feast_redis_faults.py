"""Readers of a Redis that is silent, refuses, restarts or forgets: they fail soon and by name, and recover by themselves."""

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.support.feast_reading import Readers, open_readers
from tests.support.online import contract_of, table_of
from tests.support.services import ValkeyDatabase
from tests.support.valkey_server import free_port, valkey_server

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own. Feast's own client waits for more than 20 s.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.timeout(60),
]

USERS = contract_of({"user_id": "int64", "f_count": "int64"}, name="users", ttl="3650d")


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port whose listener accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def read(readers: Readers) -> list[int | None]:
    values: list[int | None] = readers.ours.get_online_features(features=["users:f_count"], entity_rows={"user_id": [1, 2]}).to_dict()[
        "f_count"
    ]
    return values


def test_a_silent_server_is_a_timeout(silent_port: int) -> None:
    from redis.exceptions import TimeoutError as RedisTimeoutError

    readers = open_readers(ValkeyDatabase("127.0.0.1", silent_port), USERS)
    with pytest.raises(RedisTimeoutError):
        read(readers)


def test_a_refused_connection_is_a_connection_error() -> None:
    from redis.exceptions import ConnectionError as RedisConnectionError

    readers = open_readers(ValkeyDatabase("127.0.0.1", free_port()), USERS)
    with pytest.raises(RedisConnectionError):
        read(readers)


def test_readers_recover_from_a_restart_without_an_error() -> None:
    with valkey_server(appendonly="yes", appendfsync="always") as server:
        readers = open_readers(ValkeyDatabase(server.host, server.port), USERS)
        readers.write(USERS, table_of(USERS, {"user_id": [1, 2], "f_count": [10, 20]}))
        assert read(readers) == [10, 20]
        server.restart()
        assert read(readers) == [10, 20]


def test_a_frozen_server_is_a_timeout_and_its_late_answer_goes_to_nobody() -> None:
    from redis.exceptions import TimeoutError as RedisTimeoutError

    with valkey_server() as server:
        readers = open_readers(ValkeyDatabase(server.host, server.port), USERS)
        readers.write(USERS, table_of(USERS, {"user_id": [1, 2, 3], "f_count": [10, 20, 30]}))
        assert read(readers) == [10, 20]
        os.kill(server.pid, signal.SIGSTOP)
        with pytest.raises(RedisTimeoutError):
            readers.ours.get_online_features(features=["users:f_count"], entity_rows={"user_id": [3]})
        os.kill(server.pid, signal.SIGCONT)
        assert read(readers) == [10, 20]


def test_a_refused_command_is_named(valkey: ValkeyDatabase) -> None:
    from redis.exceptions import ResponseError

    readers = open_readers(valkey, USERS)
    readers.write(USERS, table_of(USERS, {"user_id": [1], "f_count": [10]}))
    key = valkey.client.keys("*")[0]
    valkey.client.delete(key)
    valkey.client.set(key, b"not a hash")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        read(readers)


def test_removing_a_view_leaves_other_views_and_projects_alone(valkey: ValkeyDatabase) -> None:
    orders = contract_of({"user_id": "int64", "f_sum": "int64"}, name="orders", ttl="3650d")
    readers = open_readers(valkey, USERS, orders)
    readers.write(USERS, table_of(USERS, {"user_id": [1, 2], "f_count": [10, 20]}))
    readers.write(orders, table_of(orders, {"user_id": [2], "f_sum": [5]}))
    other_project = valkey.client.keys("*")[0].replace(b"feature_store_local", b"x_feature_store_local")
    valkey.client.hset(other_project, b"_ts:users", b"")
    store = readers.ours
    store.provider.online_store.teardown(store.config, [store.get_feature_view("users")], [])
    assert read(readers) == [None, None]
    assert store.get_online_features(features=["orders:f_sum"], entity_rows={"user_id": [2]}).to_dict()["f_sum"] == [5]
    assert valkey.client.exists(other_project)


def test_an_apply_that_lacks_a_view_keeps_its_values(valkey: ValkeyDatabase, caplog: pytest.LogCaptureFixture) -> None:
    readers = open_readers(valkey, USERS)
    readers.write(USERS, table_of(USERS, {"user_id": [1, 2], "f_count": [10, 20]}))
    store = readers.ours
    store.provider.update_infra(store.project, [store.get_feature_view("users")], [], [], [], partial=False)
    assert read(readers) == [10, 20]
    assert "Kept the online values of users" in caplog.text
