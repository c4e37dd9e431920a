"""Servers that restart, are flushed, fill up, fall silent or evict, in the middle of a load or before it."""

import os
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from feature_platform.adapters.online_store import published_file as online_source
from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.errors import ConfigurationError, ConflictError, StorageError
from tests.support.online import PROJECT, Publications, users
from tests.support.stock_feast import contents, features_only
from tests.support.valkey_server import ValkeyServer, valkey_server

A, B = "v_20260115T000000", "v_20260116T000000"


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many steps from few rows."""
    monkeypatch.setattr(online_source, "BATCH_ROWS", 200)


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """A server to be maltreated, without persistence."""
    with valkey_server() as running:
        yield running


@pytest.fixture
def persistent() -> Iterator[ValkeyServer]:
    """One that keeps an append-only file."""
    with valkey_server(appendonly="yes", appendfsync="always") as running:
        yield running


def _store(server: ValkeyServer) -> RedisOnlineStore:
    return RedisOnlineStore(server.connection_string)


def _state(server: ValkeyServer) -> tuple[str, str] | None:
    marker = _store(server).marker(project=PROJECT, view="user_features")
    return (marker.state, marker.target.version) if marker else None


def _is_exact(server: ValkeyServer, log: Publications, version: str) -> bool:
    with server.client() as client, server.client(db=1) as other:
        other.flushdb()
        RedisOnlineStore(f"{server.connection_string},db=1").load(log.request(version, sequence=1))
        return features_only(contents(client)) == features_only(contents(other))


def _midway(act: Callable[[], object]) -> Callable[[int, int], None]:
    """Acts once, after some rows and before the last: 1,500 of a difference, 2,000 of every row."""
    acts = [act]

    def progress(done: int, total: int) -> None:
        if 1_500 <= done < total and acts:
            acts.pop()()

    return progress


def _prepared(server: ValkeyServer) -> Publications:
    log = Publications()
    _store(server).load(log.publish(A, users(range(3_000))))
    log.publish(B, users(range(1_500, 6_000), shift=3))
    return log


@pytest.mark.parametrize("is_full", [False, True], ids=["difference", "every row"])
def test_a_flush_midway_ends_the_load_without_a_claim(server: ValkeyServer, is_full: bool) -> None:
    """The rows before it are gone; the fence went with them."""
    log = _prepared(server)
    with server.client() as client, pytest.raises(ConflictError, match="lost its fence"):
        _store(server).load(log.request(B, sequence=2), is_full=is_full, progress=_midway(client.flushall))
    assert _state(server) is None
    report = _store(server).load(log.request(B, sequence=2))
    assert report.marker.state == "online"
    assert _is_exact(server, log, B)


@pytest.mark.parametrize("is_full", [False, True], ids=["difference", "every row"])
def test_a_restart_without_persistence_midway_ends_the_load_and_the_next_is_full(server: ValkeyServer, is_full: bool) -> None:
    """An empty server says nothing about itself."""
    log = _prepared(server)
    with pytest.raises(StorageError):
        _store(server).load(log.request(B, sequence=2), is_full=is_full, progress=_midway(server.restart))
    assert _state(server) is None
    _store(server).load(log.request(B, sequence=2))
    assert _is_exact(server, log, B)


@pytest.mark.parametrize("is_full", [False, True], ids=["difference", "every row"])
def test_a_restart_with_persistence_midway_keeps_what_is_needed(persistent: ValkeyServer, is_full: bool) -> None:
    """The marker says ``loading`` and what was online, so the dropped users are found without a scan."""
    log = _prepared(persistent)
    with pytest.raises(StorageError):
        _store(persistent).load(log.request(B, sequence=2), is_full=is_full, progress=_midway(persistent.restart))
    assert _state(persistent) == ("loading", B)
    report = _store(persistent).load(log.promote(A))
    assert report.swept == 0
    assert _is_exact(persistent, log, A)


def test_a_restart_with_persistence_afterwards_serves_what_it_claims(persistent: ValkeyServer) -> None:
    """Marker and rows come back together."""
    log = _prepared(persistent)
    _store(persistent).load(log.request(B, sequence=2))
    persistent.restart()
    assert _state(persistent) == ("online", B)
    assert _is_exact(persistent, log, B)


@pytest.mark.parametrize("is_full", [False, True], ids=["difference", "every row"])
def test_a_full_server_is_a_clear_error(server: ValkeyServer, is_full: bool) -> None:
    """With ``noeviction`` it refuses writes; more memory and another load make it good."""
    log = _prepared(server)
    with server.client() as client:
        used = int(client.info("memory")["used_memory"])
        with pytest.raises(StorageError, match="full"):
            _store(server).load(
                log.request(B, sequence=2), is_full=is_full, progress=_midway(lambda: client.config_set("maxmemory", used // 2))
            )
        assert _state(server) == ("loading", B)
        client.config_set("maxmemory", 0)
    _store(server).load(log.request(B, sequence=2))
    assert _is_exact(server, log, B)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_may_evict_is_refused_up_front(server: ValkeyServer, policy: str) -> None:
    """``volatile`` policies too: our keys have a TTL."""
    log = Publications()
    with server.client() as client:
        client.config_set("maxmemory-policy", policy)
        with pytest.raises(ConfigurationError, match=f"maxmemory-policy: expected noeviction, found {policy}"):
            _store(server).load(log.publish(A, users(range(10))))
        assert client.dbsize() == 0


@pytest.mark.parametrize("is_full", [False, True], ids=["difference", "every row"])
def test_a_server_that_falls_silent_midway_is_given_up(server: ValkeyServer, is_full: bool) -> None:
    """Frozen, as behind a dead network; what it had received before may still happen after it wakes, and harms nothing."""
    log = _prepared(server)
    store = RedisOnlineStore(server.connection_string, lease_s=0.5)
    with pytest.raises(StorageError, match="did not answer in time"):
        store.load(log.request(B, sequence=2), is_full=is_full, progress=_midway(lambda: os.kill(server.pid, signal.SIGSTOP)))
    os.kill(server.pid, signal.SIGCONT)
    assert _state(server) == ("loading", B)
    store.load(log.request(B, sequence=2))
    assert _is_exact(server, log, B)


@pytest.mark.timeout(20)
def test_a_server_that_never_answers_is_given_up() -> None:
    """It accepts connections and says nothing: a second for the connection's first command, not twenty."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        store = RedisOnlineStore(f"127.0.0.1:{silent.getsockname()[1]},socket_timeout=0.2,socket_connect_timeout=0.2,retry=null")
        with pytest.raises(StorageError, match="did not answer in time"):
            store.load(Publications().publish(A, users(range(10))))
        with pytest.raises(StorageError, match="did not answer in time"):
            store.marker(project=PROJECT, view="user_features")


def test_a_server_that_is_not_there_is_a_clear_error() -> None:
    """Nobody listens."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    with pytest.raises(StorageError, match="cannot be reached"):
        RedisOnlineStore(f"127.0.0.1:{port}").load(Publications().publish(A, users(range(10))))


def test_wrong_credentials_are_a_setting_to_fix(server: ValkeyServer) -> None:
    """The password is not in the message."""
    with server.client() as client:
        client.config_set("requirepass", "123456")
    request = Publications().publish(A, users(range(10)))
    with pytest.raises(ConfigurationError, match="refuses this user"):
        _store(server).load(request)
    with pytest.raises(ConfigurationError) as refusal:
        RedisOnlineStore(f"{server.connection_string},password=topsecret").load(request)
    assert "topsecret" not in str(refusal.value)
    RedisOnlineStore(f"{server.connection_string},password=123456").load(request)


def test_an_account_with_the_documented_permissions_is_enough(server: ValkeyServer) -> None:
    """And one command less is a setting to fix. The list stands in docs/online.md."""
    permissions = "+@read +@write +@transaction +scan +info +ping +time +auth +select +client|setinfo -@dangerous"
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "loader", "on", ">pass", "~*", *permissions.split(), "+info")
        client.execute_command("ACL", "SETUSER", "reader", "on", ">pass", "~*", "+@read", "+info", "+client|setinfo")
    log = Publications()
    request = log.publish(A, users(range(500)))
    with pytest.raises(ConfigurationError, match="refuses this user"):
        RedisOnlineStore(f"{server.connection_string},username=reader,password=pass").load(request)
    RedisOnlineStore(f"{server.connection_string},username=loader,password=pass").load(request)
    assert _state(server) == ("online", A)
