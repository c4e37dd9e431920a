"""A load over a version that is known to be online writes what differs, and every row wherever anything is in doubt."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from redis import Redis

from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.core.online.layout import feature_key
from feature_platform.core.online.load import LoadReport
from feature_platform.core.online.marker import decode_marker, encode_marker, marker_key
from feature_platform.errors import ConflictError
from tests.support.online import AS_OF_US, PROJECT, USERS, Publications, contract_of, table_of, users
from tests.support.services import ValkeyDatabase
from tests.support.stock_feast import contents, features_only
from tests.support.valkey_server import valkey_server

A, A2, B, C = "v_20260115T000000", "v_20260115T000001", "v_20260116T000000", "v_20260117T000000"
COUNT = feature_key("user_features", "f_count")


def corrected(rows: int, *, ids: list[int]) -> dict[str, list[object]]:
    """The users' rows, of which some have another count."""
    columns = users(range(rows)).to_pydict()
    for number in ids:
        columns["f_count"][number] = -number - 1
    return columns


def calls(client: Redis) -> dict[str, int]:
    """Commands that wrote features, since the last look."""
    stats = client.info("commandstats")
    client.config_resetstat()
    return {name: stats[f"cmdstat_{name}"]["calls"] for name in ("hset", "hdel", "pexpireat") if f"cmdstat_{name}" in stats}


def exact(store: RedisOnlineStore, request: object) -> bool:
    return store.parity(request, limit=None, now_us=AS_OF_US).exact  # type: ignore[arg-type]


def test_a_correction_and_its_rollback_write_the_rows_that_differ(valkey: ValkeyDatabase) -> None:
    log, store = Publications(), RedisOnlineStore(valkey.address(db=0))
    first = store.load(log.publish(A, users(range(1_000))))
    assert (first.written, first.full_because) == (1_000, "nothing says what is online")
    wrong = table_of(USERS, corrected(1_000, ids=[3, 500, 999]))
    with valkey.client_of(0) as client:
        calls(client)
        for request in (log.publish(A2, wrong.slice(0, 998)), log.promote(A)):
            report = store.load(request)
            assert (report.rows, report.full_because) == (report.marker.target.row_count, None)
            assert exact(store, request)
        seen = calls(client)
    # A2 changes two rows and lacks two; A brings the two back and has the two of before.
    assert (report.written, report.removed) == (4, 0)
    assert (seen["hset"] - 2, seen["hdel"], seen["pexpireat"]) == (4, 2, 6)  # and once a load the view's retention


def test_the_same_version_again_writes_nothing(valkey: ValkeyDatabase) -> None:
    log, store = Publications(), RedisOnlineStore(valkey.address(db=0))
    store.load(log.publish(A, users(range(100))))
    report = store.load(log.promote(A))
    assert (report.rows, report.written, report.removed, report.full_because) == (100, 0, 0, None)
    assert report.marker.target.sequence == 2


def test_a_new_moment_writes_each_rows_timestamp_and_what_changed_in_it(valkey: ValkeyDatabase) -> None:
    """Shown by a value that somebody else wrote: it stays, because nobody writes what did not change."""
    log, store = Publications(), RedisOnlineStore(valkey.address(db=0))
    store.load(log.publish(A, users(range(50))))
    columns = {**corrected(50, ids=[7]), "event_timestamp": [AS_OF_US + 86_400_000_000] * 50}
    with valkey.client_of(0) as client:
        for key in features_only(contents(client)):
            client.hset(key, COUNT, b"foreign")
        request = log.publish(B, table_of(USERS, columns))
        report = store.load(request)
        assert (report.written, report.full_because) == (50, None)
        kept = [fields[COUNT] == b"foreign" for fields in features_only(contents(client)).values()]
        assert (sum(kept), len(kept)) == (49, 50)
        assert not exact(store, request)
        healed = store.load(request)
        assert (healed.written, healed.full_because) == (50, "what is online is in doubt")
        assert exact(store, request)


def _flushed(client: Redis, _store: RedisOnlineStore) -> None:
    client.flushdb()


def _interrupted(client: Redis, _store: RedisOnlineStore) -> None:
    key = marker_key(PROJECT, "user_features")
    client.set(key, encode_marker(replace(decode_marker(client.get(key)), state="loading")))


def _expiring(client: Redis, _store: RedisOnlineStore) -> None:
    key = marker_key(PROJECT, "user_features")
    marker = decode_marker(client.get(key))
    assert marker.basis is not None
    client.set(key, encode_marker(replace(marker, basis=replace(marker.basis, expire_at_ms=1))))


@pytest.mark.parametrize(
    ("doubt", "reason"),
    [
        (_flushed, "nothing says what is online"),
        (_interrupted, "the load before did not finish"),
        (_expiring, "keys are about to expire"),
    ],
)
def test_after_anything_doubtful_every_row_is_written(
    valkey: ValkeyDatabase, doubt: Callable[[Redis, RedisOnlineStore], None], reason: str
) -> None:
    log, store = Publications(), RedisOnlineStore(valkey.address(db=0))
    store.load(log.publish(A, users(range(100))))
    with valkey.client_of(0) as client:
        doubt(client, store)
    request = log.publish(A2, users(range(100), shift=1))
    report = store.load(request)
    assert (report.written, report.full_because) == (100, reason)
    assert exact(store, request)
    assert store.load(log.promote(A)).full_because is None


@pytest.mark.parametrize("loss", ["gone", "damaged", "another version"])
def test_a_file_of_what_is_online_that_cannot_be_compared_means_every_row(valkey: ValkeyDatabase, loss: str) -> None:
    log, store = Publications(), RedisOnlineStore(valkey.address(db=0))
    store.load(log.publish(A, users(range(20_000))))
    request = log.publish(A2, users(range(20_000), shift=1))
    if loss == "gone":
        del log.files[A]
    elif loss == "damaged":
        body = bytearray(log.files[A])
        body[len(body) // 2] ^= 1  # a page in the middle, met after some rows were compared
        log.files[A] = bytes(body)
    else:
        log.files[A] = log.files[A2]
    report = store.load(request)
    assert report.written == 20_000
    assert report.full_because is not None
    assert report.full_because.startswith("there is nothing to compare with: ")
    assert exact(store, request)


def test_a_full_load_is_done_on_demand_and_after_a_while(valkey: ValkeyDatabase) -> None:
    log, store = Publications(), RedisOnlineStore(valkey.address(db=0))
    store.load(log.publish(A, users(range(10))))
    assert store.load(log.promote(A), is_full=True).full_because == "it was asked for"
    often = RedisOnlineStore(valkey.address(db=0), full_every_s=0)
    assert often.load(log.promote(A)).full_because == "the last full load was 0 hours ago"


def test_a_changed_contract_and_a_restarted_server_mean_every_row() -> None:
    log, wider = Publications(), contract_of({"user_id": "int64", "f_count": "int64"})
    with valkey_server(appendonly="yes") as server:
        store = RedisOnlineStore(server.connection_string)
        store.load(log.publish(A, users(range(100))))
        server.restart()
        request = log.publish(A2, users(range(100), shift=1))
        assert store.load(request).full_because == "a server was restarted or replaced"
        other = Publications(wider, sequence=5)
        request = other.publish(B, table_of(wider, {"user_id": [1, 2], "f_count": [3, 4]}))
        report = store.load(replace(request, open_earlier=log.request(A2, sequence=2).open_earlier))
        assert (report.full_because, report.written, report.removed) == ("the contract changed", 2, 98)
        assert exact(store, request)


def test_a_difference_that_is_overtaken_leaves_what_the_newer_load_wrote(valkey: ValkeyDatabase) -> None:
    """Another load begins while a difference is under way: it writes every row, and the first one ends without a word more."""
    log, store = Publications(), RedisOnlineStore(valkey.address(db=0), lease_s=0.5)
    store.load(log.publish(A, users(range(30_000))))
    second, third = log.publish(B, users(range(30_000), shift=1)), log.publish(C, users(range(29_000), shift=2))
    reports: list[LoadReport] = []

    def intrude(_done: int, _total: int) -> None:
        if not reports:
            with valkey.client_of(0) as client:  # as if this one had been silent for its lease
                client.delete(b"feature_platform:{feature_store_test:user_features}:lease")
            reports.append(RedisOnlineStore(valkey.address(db=0)).load(third))

    with pytest.raises(ConflictError, match="lost its fence"):
        store.load(second, progress=intrude)
    assert reports[0].full_because == "the load before did not finish"
    assert exact(store, third)


def test_views_on_one_entity_keep_to_their_own_fields(valkey: ValkeyDatabase) -> None:
    """A row that vanished from one view stays in the other."""
    orders = Publications(contract_of({"user_id": "int64", "f_orders": "int64"}, name="orders"))
    log, store = Publications(), RedisOnlineStore(valkey.address(db=0))
    ours, theirs = log.publish(A, users(range(10))), orders.publish(A, table_of(orders.contract, {"user_id": [1, 2], "f_orders": [5, 6]}))
    store.load(ours)
    store.load(theirs)
    fewer = log.publish(A2, users([0, 2, 3]))
    report = store.load(fewer)
    assert (report.written, report.removed, report.full_because) == (0, 7, None)
    assert exact(store, fewer)
    assert exact(store, theirs)
