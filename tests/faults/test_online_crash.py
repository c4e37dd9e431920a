"""Loads that are killed, frozen or overtaken. ``FAULTS=full`` (``make faults``) kills 50 of them, otherwise 12.

Whatever happens, the marker never says more than is true, and the next load makes the store exact.
"""

import os
import random
import signal
from collections.abc import Iterator

import pytest

from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.errors import ConflictError
from tests.faults.figures import record_figure
from tests.faults.online_loader import LEASE_S, loader
from tests.support.online import AS_OF_US, PROJECT, Publications, users
from tests.support.stock_feast import contents, features_only
from tests.support.valkey_server import ValkeyServer, valkey_server

IS_FULL = os.environ.get("FAULTS") == "full"
KILLS = 50 if IS_FULL else 12
A, B, C = "v_20260115T000000", "v_20260116T000000", "v_20260117T000000"

Hashes = dict[bytes, dict[bytes, bytes]]


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    """A server of this module's own: database 0 is under test, database 1 says what is right."""
    with valkey_server() as running:
        yield running


@pytest.fixture
def log(server: ValkeyServer) -> Publications:
    """A is online; B drops users, adds users and changes values."""
    with server.client() as client:
        client.flushall()
    log = Publications()
    RedisOnlineStore(server.connection_string).load(log.publish(A, users(range(2_000))))
    log.publish(B, users(range(1_000, 3_000), shift=3))
    return log


def _hashes(server: ValkeyServer, *, db: int = 0) -> Hashes:
    with server.client(db=db) as client:
        return features_only(contents(client))


def _right(server: ValkeyServer, log: Publications, version: str) -> Hashes:
    with server.client(db=1) as client:
        client.flushdb()
    RedisOnlineStore(f"{server.connection_string},db=1").load(log.request(version, sequence=1))
    return _hashes(server, db=1)


def _online(server: ValkeyServer) -> str | None:
    marker = RedisOnlineStore(server.connection_string).marker(project=PROJECT, view="user_features")
    return marker.target.version if marker and marker.state == "online" else None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_load_is_made_good_by_the_next(server: ValkeyServer, log: Publications, seed: int) -> None:
    """Killed once or twice at random steps, then finished: A again, or B, or a third version."""
    chance = random.Random(seed)
    right = {version: _right(server, log, version) for version in (A, B)}
    for _ in range(chance.choice([1, 2])):
        with loader(server.connection_string, log, B, log.sequence) as running:
            running.after(chance.randint(1, 22))
            running.process.kill()
            running.process.join()
        claimed = _online(server)
        assert claimed is None or _hashes(server) == right[claimed]
    final = chance.choice([A, B, C])
    request = log.publish(C, users(range(500, 2_500), shift=5)) if final == C else log.promote(final)
    RedisOnlineStore(server.connection_string, lease_s=LEASE_S).load(request)
    exact = _hashes(server) == _right(server, log, final)
    record_figure("online: killed loads", tried=1, violations=int(not exact))
    assert exact
    assert _online(server) == final


@pytest.mark.parametrize("steps", [2, 12])
def test_a_frozen_load_writes_nothing_after_a_newer_one_began(server: ValkeyServer, log: Publications, steps: int) -> None:
    """It wakes up long after its lease ran out and another version is online."""
    store = RedisOnlineStore(server.connection_string, lease_s=LEASE_S)
    with loader(server.connection_string, log, B, log.sequence) as frozen:
        assert frozen.after(steps) is not None
        os.kill(frozen.process.pid or 0, signal.SIGSTOP)
        newer = log.publish(C, users(range(500, 2_500), shift=5))
        store.load(newer)
        exact = _hashes(server)
        assert exact == _right(server, log, C)
        os.kill(frozen.process.pid or 0, signal.SIGCONT)
        assert frozen.end() == "ConflictError"
    assert _hashes(server) == exact
    assert store.parity(newer, limit=None, now_us=AS_OF_US).exact
    assert _online(server) == C


def test_two_live_loads_never_interleave(server: ValkeyServer, log: Publications) -> None:
    """The second one waits, and gives up where the first one stays alive."""
    impatient = RedisOnlineStore(server.connection_string, lease_s=LEASE_S, wait_s=0)
    refused: list[str] = []

    def intrude(done: int, _total: int) -> None:
        if done == 2_000:
            with pytest.raises(ConflictError, match=r"Another load of .* is running") as refusal:
                impatient.load(log.promote(A))
            refused.append(str(refusal.value))

    RedisOnlineStore(server.connection_string).load(log.request(B, sequence=2), progress=intrude)
    assert len(refused) == 1
    assert _hashes(server) == _right(server, log, B)


def test_a_load_that_failed_gives_its_lease_back(server: ValkeyServer, log: Publications) -> None:
    """The next one need not wait."""
    store = RedisOnlineStore(server.connection_string, wait_s=0)

    def fail(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.load(log.request(B, sequence=2), progress=fail)
    assert _online(server) is None
    store.load(log.request(B, sequence=2))
    assert _hashes(server) == _right(server, log, B)


def test_many_loads_at_once_end_with_the_newest(server: ValkeyServer, log: Publications) -> None:
    """Four processes with four publications; older ones are refused or overwritten, never mixed in."""
    requests = [log.publish(f"v_20260118T00000{number}", users(range(number * 100, 2_000), shift=number)) for number in range(4)]
    processes = [loader(server.connection_string, log, item.version, item.sequence, batch_rows=500) for item in requests]
    running = [process.__enter__() for process in processes]
    ends = [process.end() for process in running]
    for process in processes:
        process.__exit__(None, None, None)
    assert set(ends) <= {"done", "ConflictError"}
    newest = next(item for item, end in reversed(list(zip(requests, ends, strict=True))) if end == "done")
    assert _online(server) == newest.version
    assert _hashes(server) == _right(server, log, newest.version)
