"""Chunks are applied whole or not at all, and only under the newest fence. On a single server and on a cluster."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from feature_platform.adapters.online_store.redis_channel import CHUNK_ROWS, Channels
from feature_platform.adapters.online_store.redis_connection import RedisTopology, connect, parse_address
from feature_platform.adapters.online_store.redis_lease import Lease
from feature_platform.core.online.commands import Frames, removals, upserts
from feature_platform.core.online.layout import ViewLayout, view_layout
from feature_platform.errors import ConfigurationError, ConflictError, StorageError
from tests.support.online import PROJECT, USERS, users
from tests.support.valkey_cluster import valkey_cluster
from tests.support.valkey_server import valkey_server

LAYOUT: ViewLayout = view_layout(USERS, project=PROJECT)


@pytest.fixture(scope="module", params=["server", "cluster"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """One server, or three nodes."""
    if request.param == "server":
        with valkey_server() as server:
            yield server.connection_string
    else:
        with valkey_cluster() as servers:
            yield servers[0].connection_string


@pytest.fixture
def topology(address: str) -> Iterator[RedisTopology]:
    """Empty servers."""
    with closing(connect(parse_address(address))) as topology:
        for node in topology.nodes:
            node.client.flushall()
        yield topology


def _lease(topology: RedisTopology) -> Lease:
    """A lease that is as good as expired, so that another one can be taken."""
    lease = Lease(topology, LAYOUT, lease_s=0.05)
    lease.acquire(wait_s=10)
    return lease


def _rows(channels: Channels, count: int = 1_000) -> Frames:
    return upserts(users(range(count)).to_batches()[0], LAYOUT, framing=channels.framing)


def _apply(channels: Channels, frames: Frames) -> None:
    channels.send(frames)
    channels.settle()


def _entities(topology: RedisTopology) -> int:
    return sum(1 for node in topology.nodes for key in node.client.scan_iter(_type="hash", count=1000) if b"user_id" in key)


def test_rows_arrive_and_leave(topology: RedisTopology) -> None:
    """In chunks, several channels in turn."""
    with closing(Channels(topology, _lease(topology).fences)) as channels:
        frames = _rows(channels)
        _apply(channels, frames)
        assert _entities(topology) == 1_000
        channels.send(removals(frames.keys, LAYOUT.fields, framing=channels.framing))
        channels.settle()
    assert _entities(topology) == 0


def test_channels_opened_before_a_newer_load_write_nothing(topology: RedisTopology) -> None:
    """Their first chunk comes after the other one began."""
    with closing(Channels(topology, _lease(topology).fences)) as channels:
        channels.settle()
        _lease(topology)
        with pytest.raises(ConflictError, match="lost its fence"):
            _apply(channels, _rows(channels))
    assert _entities(topology) == 0


def test_channels_opened_after_a_newer_load_write_nothing(topology: RedisTopology) -> None:
    """A load that was frozen between taking its lease and connecting."""
    stale = _lease(topology).fences
    _lease(topology)
    with closing(Channels(topology, stale)) as channels, pytest.raises(ConflictError, match="lost its fence"):
        _apply(channels, _rows(channels))
    assert _entities(topology) == 0


def test_channels_of_a_flushed_server_write_nothing(topology: RedisTopology) -> None:
    """Where there is no fence there is no load."""
    fences = _lease(topology).fences
    for node in topology.nodes:
        node.client.flushall()
    with closing(Channels(topology, fences)) as channels, pytest.raises(ConflictError, match="lost its fence"):
        _apply(channels, _rows(channels))
    assert _entities(topology) == 0


def test_a_key_of_another_type_is_an_error_with_the_servers_words(topology: RedisTopology) -> None:
    """Someone put a string where a hash belongs."""
    with closing(Channels(topology, _lease(topology).fences)) as channels:
        frames = _rows(channels, CHUNK_ROWS)
        key = frames.keys[7].as_py()
        topology.place(key).client.set(key, b"mine")
        with pytest.raises(StorageError, match="WRONGTYPE"):
            _apply(channels, frames)


def test_a_newer_token_is_greater_even_after_a_flush(topology: RedisTopology) -> None:
    """The server's clock counts on."""
    first = _lease(topology).token
    for node in topology.nodes:
        node.client.flushall()
    second, third = _lease(topology).token, _lease(topology).token
    numbers = [int(token.split(b":")[0]) for token in (first, second, third)]
    assert numbers == sorted(set(numbers))


def test_an_account_that_may_not_watch_is_told_so_at_once() -> None:
    """Its refusals have fewer lines than the answers that are counted."""
    with valkey_server() as server, closing(connect(parse_address(server.connection_string))) as topology:
        topology.nodes[0].client.acl_setuser("loader", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-watch", "-get"])
        fences = _lease(topology).fences
        with closing(connect(parse_address(f"{server.connection_string},username=loader,password=any"))) as restricted:
            channels = Channels(restricted, fences)
            with closing(channels), pytest.raises(ConfigurationError, match="NOPERM"):
                channels.settle()
