"""The exact load on a Redis Cluster: rows go to the node that owns their slot, and every node guards its own share."""

import os
import signal
from collections.abc import Iterator

import pytest
from redis.cluster import RedisCluster

from feature_platform.adapters.online_store import published_file as online_source
from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.errors import ConflictError, StorageError
from tests.faults.online_loader import LEASE_S, loader
from tests.support.online import AS_OF_US, PROJECT, Publications, users
from tests.support.stock_feast import contents, features_only
from tests.support.valkey_cluster import valkey_cluster
from tests.support.valkey_server import ValkeyServer, free_port, valkey_server

A, B, C = "v_20260115T000000", "v_20260116T000000", "v_20260117T000000"
Hashes = dict[bytes, dict[bytes, bytes]]


@pytest.fixture(scope="module")
def running_cluster() -> Iterator[list[ValkeyServer]]:
    """Three nodes."""
    with valkey_cluster() as servers:
        yield servers


@pytest.fixture
def cluster(running_cluster: list[ValkeyServer]) -> list[ValkeyServer]:
    """Three empty nodes."""
    for server in running_cluster:
        with server.client() as client:
            client.flushall()
    return running_cluster


@pytest.fixture(scope="module")
def single() -> Iterator[ValkeyServer]:
    """A single server to say what is right."""
    with valkey_server() as server:
        yield server


def _hashes(servers: list[ValkeyServer]) -> Hashes:
    found: Hashes = {}
    for server in servers:
        with server.client() as client:
            found |= features_only(contents(client))
    return found


def _right(single: ValkeyServer, log: Publications, version: str) -> Hashes:
    with single.client() as client:
        client.flushall()
    RedisOnlineStore(single.connection_string).load(log.request(version, sequence=1))
    return _hashes([single])


def test_loads_replace_and_roll_back_exactly(cluster: list[ValkeyServer], single: ValkeyServer) -> None:
    """And a cluster client finds every key where it looks for it."""
    log, store = Publications(), RedisOnlineStore(f"{cluster[1].connection_string},skip_full_coverage_check=true")
    for request in (log.publish(A, users(range(3_000))), log.publish(B, users(range(1_500, 5_000), shift=3)), log.promote(A)):
        store.load(request)
        assert _hashes(cluster) == _right(single, log, request.version)
        assert store.parity(request, limit=None, now_us=AS_OF_US).exact
    marker = store.marker(project=PROJECT, view="user_features")
    assert marker is not None
    assert (marker.state, marker.target.version) == ("online", A)
    assert all(len(_hashes([server])) > 500 for server in cluster)
    with RedisCluster(host=cluster[0].host, port=cluster[0].port) as client:
        assert all(client.exists(key) for key in list(_hashes(cluster))[:50])


def test_a_node_that_was_flushed_midway_ends_the_load(
    cluster: list[ValkeyServer], single: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever node it is: each of them holds a fence."""
    monkeypatch.setattr(online_source, "BATCH_ROWS", 300)
    log = Publications()
    for server in cluster:
        store = RedisOnlineStore(cluster[0].connection_string)
        store.load(log.publish(A, users(range(3_000))))
        request = log.publish(B, users(range(1_500, 5_000), shift=3))
        with server.client() as client, pytest.raises(ConflictError, match="lost its fence"):
            store.load(request, progress=lambda done, _, flush=client.flushall: flush() if done == 1_500 else None)
        store.load(request)
        assert _hashes(cluster) == _right(single, log, B)


def test_a_frozen_load_writes_nothing_after_a_newer_one_began(cluster: list[ValkeyServer], single: ValkeyServer) -> None:
    """On no node."""
    log, store = Publications(), RedisOnlineStore(cluster[0].connection_string, lease_s=LEASE_S)
    store.load(log.publish(A, users(range(3_000))))
    old = log.publish(B, users(range(1_500, 5_000), shift=3))
    with loader(cluster[0].connection_string, log, B, old.sequence) as frozen:
        assert frozen.after(10) is not None
        os.kill(frozen.process.pid or 0, signal.SIGSTOP)
        store.load(log.publish(C, users(range(500, 2_500), shift=5)))
        os.kill(frozen.process.pid or 0, signal.SIGCONT)
        assert frozen.end() == "ConflictError"
    assert _hashes(cluster) == _right(single, log, C)


def test_a_strayed_entity_is_repaired_on_whatever_node_it_is(cluster: list[ValkeyServer], single: ValkeyServer) -> None:
    """The scan visits every node."""
    log, store = Publications(), RedisOnlineStore(cluster[0].connection_string)
    store.load(log.publish(A, users(range(2_000))))
    for server in cluster:
        with server.client() as client:
            for key in [key for key in client.scan_iter() if key.endswith(b":marker")]:
                client.delete(key)
    assert store.load(log.publish(B, users(range(1_000, 3_000)))).swept == 1_000
    assert store.repair(log.request(B, sequence=2)).scanned == 2_000
    assert _hashes(cluster) == _right(single, log, B)


def test_a_cluster_with_a_hole_is_refused() -> None:
    """Slots that nobody serves would lose their users."""
    # Left to itself the server takes its port plus 10,000 for the cluster's bus, which need not be free, nor a port at all.
    bus = str(free_port())
    with (
        valkey_server(cluster_enabled="yes", cluster_port=bus) as alone,
        pytest.raises(StorageError, match="does not serve 16384 of 16384 slots"),
    ):
        RedisOnlineStore(alone.connection_string).load(Publications().publish(A, users(range(10))))
