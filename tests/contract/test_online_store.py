"""What every online store promises, held on memory and on a real server alike: the same hashes, markers, reports and refusals."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from feature_platform.adapters.online_store import redis_scan
from feature_platform.adapters.online_store.memory import MemoryOnlineStore
from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.core.online.layout import feature_key
from feature_platform.core.online.marker import lease_key
from feature_platform.errors import ConflictError, InvalidDataError
from feature_platform.ports.online_store import OnlineStore
from tests.support.online import AS_OF_US, PROJECT, Publications, contract_of, table_of, users
from tests.support.stock_feast import contents, features_only
from tests.support.valkey_server import ValkeyServer, valkey_server

A, B = "v_20260115T000000", "v_20260116T000000"
Hashes = dict[bytes, dict[bytes, bytes]]


@dataclass(frozen=True)
class Subject:
    """A store under test, and its hashes as one sees and changes them from outside."""

    store: OnlineStore
    hashes: Callable[[], Hashes]
    put: Callable[[bytes, bytes, bytes], object]


def _fresh(*requests: Any) -> Hashes:
    """What a store holds that never held anything else."""
    store = MemoryOnlineStore()
    for request in requests:
        store.load(request)
    return store.hashes


class OnlineStoreContract:
    """Inherit it and provide ``subject``: an empty store, and its hashes as stock Feast would find them."""

    @pytest.fixture
    def subject(self) -> Subject:
        raise NotImplementedError

    def test_a_first_load_makes_the_version_online(self, subject: Subject) -> None:
        """Rows, marker and report agree."""
        log = Publications()
        request = log.publish(A, users(range(500)))
        report = subject.store.load(request)
        marker = subject.store.marker(project=PROJECT, view="user_features")
        assert (report.version, report.sequence, report.rows, report.removed, report.swept) == (A, 1, 500, 0, 0)
        assert marker == report.marker
        assert (marker.state, marker.target.row_count, marker.target.schema_hash) == ("online", 500, request.schema_hash)
        assert subject.hashes() == _fresh(request)

    def test_later_versions_replace_earlier_ones_and_rollbacks_undo_them(self, subject: Subject) -> None:
        """Nothing but the head remains, at every step."""
        log = Publications()
        steps = [(log.publish(A, users(range(500))), 0), (log.publish(B, users(range(200, 900), shift=2)), 200), (log.promote(A), 400)]
        for request, removed in steps:
            assert subject.store.load(request).removed == removed
            assert subject.hashes() == _fresh(request)
            assert subject.store.parity(request, limit=None, now_us=AS_OF_US).exact

    def test_other_views_and_other_projects_are_left_alone(self, subject: Subject) -> None:
        """They may share hashes, or only the server."""
        other = Publications(contract_of({"user_id": "int64", "f_orders": "int64"}, name="orders"))
        foreign, log = Publications(project="elsewhere"), Publications()
        orders = other.publish(A, table_of(other.contract, {"user_id": list(range(40)), "f_orders": [3] * 40}))
        abroad = foreign.publish(A, users(range(10)))
        first, second = log.publish(A, users(range(100))), log.publish(B, users(range(90, 110)))
        for request in (orders, abroad, first, second):
            subject.store.load(request)
        assert subject.hashes() == _fresh(orders, abroad, second)

    def test_without_a_marker_strays_are_found(self, subject: Subject) -> None:
        """Someone else wrote an entity of this view before we ever did."""
        log = Publications()
        stray = next(iter(_fresh(log.publish(A, users([10_000])))))
        subject.put(stray, b"_ts:user_features", b"")
        request = log.publish(B, users(range(10)))
        assert subject.store.load(request).swept == 1
        assert subject.hashes() == _fresh(request)

    def test_repair_removes_strays_and_nothing_else(self, subject: Subject) -> None:
        """Of the version that is online, and of no other."""
        log = Publications()
        stray = next(iter(_fresh(log.publish(A, users([10_000])))))
        request = log.publish(B, users(range(10)))
        subject.store.load(request)
        subject.put(stray, b"_ts:user_features", b"")
        assert subject.store.parity(request, limit=None, now_us=AS_OF_US).extra == 1
        report = subject.store.repair(request)
        assert (report.scanned, report.removed) == (11, 1)
        assert subject.hashes() == _fresh(request)
        with pytest.raises(ConflictError, match=f"cannot repair {A}"):
            subject.store.repair(log.request(A, sequence=1))

    def test_parity_counts_what_was_corrupted(self, subject: Subject) -> None:
        """Every seventh hash, in one feature."""
        log = Publications()
        request = log.publish(A, users(range(700)))
        subject.store.load(request)
        for key in sorted(subject.hashes())[::7]:
            subject.put(key, feature_key("user_features", "f_count"), b"\x20\xe8\x07")
        report = subject.store.parity(request, limit=None, now_us=AS_OF_US)
        assert (report.entities, report.mismatched, report.missing, report.extra) == (700, 100, 0, 0)
        assert report.features["f_count"].mismatched == 100

    def test_a_glance_compares_the_first_rows_alone(self, subject: Subject) -> None:
        """A value, and an entity that is gone; the last row is not looked at."""
        log = Publications()
        request = log.publish(A, users(range(100)))
        subject.store.load(request)
        first, *_, last = sorted(subject.hashes())
        assert subject.store.glance(request, rows=60).exact
        for key in (first, last):
            subject.put(key, feature_key("user_features", "f_count"), b"\x20\xe8\x07")
        report = subject.store.glance(request, rows=60)
        assert (report.entities, report.mismatched, report.missing, report.extra) == (60, 1, 0, None)
        assert subject.store.used_ratio() == 0.0

    def test_stale_and_damaged_requests_change_nothing(self, subject: Subject) -> None:
        """Neither rows nor marker."""
        log = Publications()
        old = log.publish(A, users(range(50)))
        new = log.publish(B, users(range(60)))
        subject.store.load(new)
        before = subject.hashes(), subject.store.marker(project=PROJECT, view="user_features")
        with pytest.raises(ConflictError):
            subject.store.load(old)
        with pytest.raises(InvalidDataError):
            subject.store.load(log.publish("v_20260117T000000", users([2, 2])))
        assert (subject.hashes(), subject.store.marker(project=PROJECT, view="user_features")) == before

    def test_an_interrupted_load_says_so_and_the_next_is_exact(self, subject: Subject) -> None:
        """The marker keeps what was online and what was begun."""
        log = Publications()
        subject.store.load(log.publish(A, users(range(50))))
        second = log.publish(B, users(range(40, 90)))

        def interrupt(_done: int, _total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            subject.store.load(second, progress=interrupt)
        marker = subject.store.marker(project=PROJECT, view="user_features")
        assert marker is not None
        assert (marker.state, marker.target.version, [item.version for item in marker.leftovers]) == ("loading", B, [A, B])
        third = log.publish("v_20260117T000000", users(range(5)))
        subject.store.load(third)
        assert subject.hashes() == _fresh(third)

    def test_two_loads_at_once_are_refused(self, subject: Subject) -> None:
        """The one that is under way finishes."""
        log = Publications()
        first, second = log.publish(A, users(range(50))), log.publish(B, users(range(60)))

        def intrude(_done: int, _total: int) -> None:
            with pytest.raises(ConflictError, match="is running"):
                subject.store.load(second)

        subject.store.load(first, progress=intrude)
        assert subject.hashes() == _fresh(first)


class TestMemoryOnlineStore(OnlineStoreContract):
    @pytest.fixture
    def subject(self) -> Subject:
        memory = MemoryOnlineStore()
        return Subject(memory, lambda: memory.hashes, lambda key, name, value: memory.hashes.setdefault(key, {}).update({name: value}))


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    """Shared by the tests on Redis, emptied for each."""
    with valkey_server() as running:
        yield running


class TestRedisOnlineStore(OnlineStoreContract):
    @pytest.fixture
    def subject(self, server: ValkeyServer) -> Iterator[Subject]:
        with server.client() as client:
            client.flushall()
            yield Subject(RedisOnlineStore(server.connection_string, wait_s=0), lambda: features_only(contents(client)), client.hset)

    def test_a_scan_that_finds_nothing_for_long_keeps_its_lease(self, server: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another project's hashes fill the keyspace."""
        with server.client() as client:
            client.flushall()
            RedisOnlineStore(server.connection_string).load(Publications(project="elsewhere").publish(A, users(range(500))))
            left: list[int] = []

            def slow(*_: object) -> list[bytes]:
                left.append(client.pttl(lease_key(PROJECT, "user_features")))
                time.sleep(0.1)
                return []

            monkeypatch.setattr(redis_scan, "SCAN_COUNT", 20)
            monkeypatch.setattr(redis_scan, "_with_field", slow)
            RedisOnlineStore(server.connection_string, lease_s=0.6).load(Publications().publish(A, users(range(10))))
        assert len(left) > 10
        assert min(left) > 0, "a key that is gone has -2 ms"
