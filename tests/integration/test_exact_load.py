"""What is online is exactly what was published, through every order of versions. Two databases: ours, and one written from scratch."""

import numpy as np
import pyarrow as pa
import pytest
from redis import Redis

from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.core.online.layout import feature_key
from feature_platform.core.online.load import OnlineLoad
from feature_platform.errors import ConflictError, InvalidDataError, StorageError
from tests.support.online import AS_OF_US, PROJECT, Publications, contract_of, parquet_of, table_of, users
from tests.support.services import ValkeyDatabase
from tests.support.stock_feast import contents, features_only

A, A2, B = "v_20260115T000000", "v_20260115T000001", "v_20260116T000000"


def _store(valkey: ValkeyDatabase, *, db: int = 0) -> RedisOnlineStore:
    return RedisOnlineStore(valkey.address(db=db))


def _fresh(valkey: ValkeyDatabase, *requests: OnlineLoad) -> dict[bytes, dict[bytes, bytes]]:
    """What an empty store holds after loading these, and nothing else before."""
    with _client(valkey, 1) as client:
        client.flushdb()
        for request in requests:
            _store(valkey, db=1).load(request)
        return features_only(contents(client))


def _online(valkey: ValkeyDatabase) -> dict[bytes, dict[bytes, bytes]]:
    with _client(valkey, 0) as client:
        return features_only(contents(client))


def _client(valkey: ValkeyDatabase, db: int) -> Redis:
    return valkey.client_of(db)


def test_every_step_of_a_long_story_is_exact(valkey: ValkeyDatabase) -> None:
    """A, corrected at the same moment, replaced by B, rolled back to A, and A once more."""
    log, store = Publications(), _store(valkey)
    first = log.publish(A, users(range(5_000)))
    steps = [
        (first, 5_000, 0),
        (log.publish(A2, users(range(5_000), shift=3)), 5_000, 0),
        (log.publish(B, users(range(2_500, 8_000), shift=4)), 5_500, 2_500),
        (log.promote(A), 5_000, 3_000),
        (log.promote(A), 5_000, 0),
    ]
    for request, rows, removed in steps:
        report = store.load(request)
        assert (report.rows, report.removed, report.swept) == (rows, removed, 0)
        assert _online(valkey) == _fresh(valkey, request)
        marker = store.marker(project=PROJECT, view="user_features")
        assert marker is not None
        assert (marker.state, marker.target.version, marker.target.sequence) == ("online", request.version, request.sequence)
        assert store.parity(request, limit=None, now_us=AS_OF_US).exact


def test_an_older_publication_never_overwrites_a_newer_one(valkey: ValkeyDatabase) -> None:
    """A run that was delayed by a day comes last; nothing changes."""
    log, store = Publications(), _store(valkey)
    old = log.publish(A, users(range(100)))
    store.load(log.publish(B, users(range(100), shift=1)))
    before = _online(valkey)
    with pytest.raises(ConflictError, match="record 1, but the online store already knows record 2"):
        store.load(old)
    assert _online(valkey) == before


def test_views_that_share_an_entity_lose_only_their_own_fields(valkey: ValkeyDatabase) -> None:
    """Users who vanish from one view stay in the other; a hash goes with its last field."""
    other = Publications(contract_of({"user_id": "int64", "f_orders": "int64"}, name="orders"))
    log, store = Publications(), _store(valkey)
    orders = other.publish(A, table_of(other.contract, {"user_id": list(range(50, 150)), "f_orders": [1] * 100}))
    store.load(orders)
    store.load(log.publish(A, users(range(100))))
    last = log.publish(B, users(range(20)))
    store.load(last)
    assert _online(valkey) == _fresh(valkey, orders, last)
    assert len(_online(valkey)) == 120


def test_fields_of_features_that_a_contract_dropped_go_with_the_next_load(valkey: ValkeyDatabase) -> None:
    """Also those of entities that vanish at the same time."""
    before, after = contract_of({"user_id": "int64", "f": "int64", "g": "int64"}), contract_of({"user_id": "int64", "f": "int64"})
    log, store = Publications(before), _store(valkey)
    store.load(log.publish(A, table_of(before, {"user_id": [1, 2, 3], "f": [1, 2, 3], "g": [4, 5, 6]})))
    log.contract = after
    request = log.publish(B, table_of(after, {"user_id": [2, 3, 4], "f": [7, 8, 9]}))
    store.load(request)
    assert _online(valkey) == _fresh(valkey, request)
    assert not any(feature_key("user_features", "g") in fields for fields in _online(valkey).values())


def test_a_changed_join_key_moves_every_entity(valkey: ValkeyDatabase) -> None:
    """Entities under the old key are all gone."""
    before, after = contract_of({"user_id": "int64", "f": "int64"}), contract_of({"user_id": "string", "f": "int64"})
    log, store = Publications(before), _store(valkey)
    store.load(log.publish(A, table_of(before, {"user_id": [1, 2], "f": [1, 2]})))
    log.contract = after
    request = log.publish(B, table_of(after, {"user_id": ["1", "2"], "f": [1, 2]}))
    assert store.load(request).removed == 2
    assert _online(valkey) == _fresh(valkey, request)


def test_a_flushed_marker_is_made_up_for_by_a_scan(valkey: ValkeyDatabase) -> None:
    """Someone deleted the marker; entities of a version nobody remembers are found and removed."""
    log, store = Publications(), _store(valkey)
    store.load(log.publish(A, users(range(300))))
    with _client(valkey, 0) as client:
        client.delete(*client.keys("feature_platform:*:marker"))
    report = store.load(log.publish(B, users(range(200, 400))))
    assert (report.swept, report.removed) == (200, 0)
    assert _online(valkey) == _fresh(valkey, log.request(B, sequence=2))


def test_a_version_that_retention_took_is_made_up_for_by_a_scan(valkey: ValkeyDatabase) -> None:
    """Its keys cannot be read any more."""
    log, store = Publications(), _store(valkey)
    store.load(log.publish(A, users(range(300))))
    del log.files[A]
    assert store.load(log.publish(B, users(range(200, 400)))).removed == 200
    assert len(_online(valkey)) == 200


def test_repair_removes_what_others_wrote(valkey: ValkeyDatabase) -> None:
    """An entity pushed by hand is not of the version; the same view in another project is none of our business."""
    log, store = Publications(), _store(valkey)
    request = log.publish(A, users(range(100)))
    foreign = Publications(project=f"other_{PROJECT}")
    store.load(foreign.publish(A, users(range(500, 600))))
    store.load(request)
    exact = _online(valkey)
    with _client(valkey, 0) as client:
        key = next(iter(_fresh(valkey, log.request(A, sequence=1)))).replace(PROJECT.encode(), b"")
        client.hset(key[:-8] + b"\xff" * 8 + PROJECT.encode(), "_ts:user_features", b"")
    assert not store.parity(request, limit=None, now_us=AS_OF_US).exact
    report = store.repair(request)
    assert (report.scanned, report.removed) == (101, 1)
    assert _online(valkey) == exact


def test_repair_of_another_version_than_the_one_online_is_refused(valkey: ValkeyDatabase) -> None:
    """It would remove what is right."""
    log, store = Publications(), _store(valkey)
    first = log.publish(A, users(range(10)))
    store.load(log.publish(B, users(range(10))))
    with pytest.raises(ConflictError, match=f"cannot repair {A}"):
        store.repair(first)


@pytest.mark.parametrize("share", [1, 7])
def test_parity_counts_exactly_the_corrupted_entities(valkey: ValkeyDatabase, share: int) -> None:
    """Hashes are corrupted by their position; so many are reported, in the feature that was hit."""
    log, store = Publications(), _store(valkey)
    request = log.publish(A, users(range(1_000)))
    store.load(request)
    with _client(valkey, 0) as client:
        keys = sorted(features_only(contents(client)))[::share]
        for key in keys:
            client.hset(key, feature_key("user_features", "f_count"), b"\x20\xe8\x07")  # 1000, which no row has
    report = store.parity(request, limit=None, now_us=AS_OF_US)
    assert (report.mismatched, report.missing, report.extra) == (len(keys), 0, 0)
    assert report.features["f_count"].mismatched == len(keys)
    assert report.features["f_mean"].mismatched == 0


def test_parity_of_a_sample_looks_at_a_part(valkey: ValkeyDatabase) -> None:
    """Chosen by key hash; expired entities are counted."""
    log, store = Publications(), _store(valkey)
    request = log.publish(A, users(range(4_000)))
    store.load(request)
    report = store.parity(request, limit=400, now_us=AS_OF_US + 8 * 86_400_000_000)
    assert 250 < report.entities < 600
    assert report.past_ttl == report.entities
    assert report.exact


def test_keys_expire_with_the_most_patient_view_and_full_loads_refresh_them(valkey: ValkeyDatabase) -> None:
    """One day asked for by one view, thirty by another: shared keys live for thirty, whichever loads last."""
    patient = Publications(contract_of({"user_id": "int64", "f_orders": "int64"}, name="orders", ttl="30d"))
    hasty = Publications(contract_of({"user_id": "int64", "f_clicks": "int64"}, name="clicks", ttl="1d"))
    store, month = _store(valkey), 30 * 86_400
    store.load(hasty.publish(A, table_of(hasty.contract, {"user_id": [1], "f_clicks": [1]})))
    with _client(valkey, 0) as client:
        (key,) = features_only(contents(client))
        assert 86_400 - 60 < client.ttl(key) <= 86_400
        store.load(patient.publish(A, table_of(patient.contract, {"user_id": [1], "f_orders": [1]})))
        assert month - 60 < client.ttl(key) <= month
        client.expire(key, 1_000)
        store.load(hasty.promote(A), is_full=True)
        assert month - 60 < client.ttl(key) <= month


def test_progress_ends_with_every_row(valkey: ValkeyDatabase) -> None:
    """Rows done and rows in total."""
    seen: list[tuple[int, int]] = []
    _store(valkey).load(Publications().publish(A, users(range(25_000))), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (25_000, 25_000)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def _unsorted() -> pa.Table:
    return users([3, 1, 2])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (users([1, 2, 2]), "stands twice"),
        (_unsorted(), "stands after a greater key"),
        (users(range(3)).set_column(1, "f_count", pa.array([1.5, 2.0, 3.0])), "expected int64, found double"),
        (users(range(3)).drop_columns(["f_mean"]), "found none"),
    ],
)
def test_a_file_that_must_not_be_served_is_refused_before_anything_is_written(
    valkey: ValkeyDatabase, table: pa.Table, message: str
) -> None:
    """Duplicate keys, disorder, lossy types, missing columns."""
    with pytest.raises(InvalidDataError, match=message):
        _store(valkey).load(Publications().publish(A, table))
    with _client(valkey, 0) as client:
        assert client.dbsize() == 0


def test_a_file_of_another_version_is_refused(valkey: ValkeyDatabase) -> None:
    """Two versions never mix, whatever a path is made to point at."""
    log = Publications()
    request = log.publish(A, users(range(3)))
    log.publish(B, users(range(3)))
    log.files[A] = log.files[B]
    with pytest.raises(InvalidDataError, match=f"version: expected '{A}', found '{B}'"):
        _store(valkey).load(request)


def test_a_flipped_bit_is_found_before_it_is_served(valkey: ValkeyDatabase) -> None:
    """Page checksums are verified; a value page that is damaged ends the load, and the marker says so."""
    log, store = Publications(), _store(valkey)
    request = log.publish(A, users(range(2_000)))
    damaged = bytearray(log.files[A])
    place = damaged.rindex(b"PAR1") // 2
    damaged[place] ^= 0x10
    log.files[A] = bytes(damaged)
    with pytest.raises(InvalidDataError, match="cannot be read"):
        store.load(request)
    marker = store.marker(project=PROJECT, view="user_features")
    assert marker is None or marker.state == "loading"
    log.files[A] = parquet_of(users(range(2_000)), identity=log._identity(A))
    store.load(request)
    assert _online(valkey) == _fresh(valkey, request)


def test_wide_rows_travel_in_smaller_chunks(valkey: ValkeyDatabase) -> None:
    """Lists of 40 kB in every row."""
    contract = contract_of({"user_id": "int64", "embedding": "list<float64>"})
    log, numbers = Publications(contract), np.arange(5_000, dtype=np.float64)
    table = table_of(contract, {"user_id": list(range(300)), "embedding": [numbers + row for row in range(300)]})
    request = log.publish(A, table)
    _store(valkey).load(request)
    assert _store(valkey).parity(request, limit=None, now_us=AS_OF_US).exact


def test_the_file_may_be_slow_to_fail(valkey: ValkeyDatabase) -> None:
    """A source that breaks midway leaves a loading marker and an error of its own kind."""
    log, store = Publications(), _store(valkey)
    request = log.publish(A, users(range(50)))

    def broken(_version: str):  # type: ignore[no-untyped-def]
        raise StorageError("S3 went away")

    store.load(request)
    second = log.publish(B, users(range(30)))
    with pytest.raises(StorageError, match="S3 went away"):
        store.load(OnlineLoad(**{**{name: getattr(second, name) for name in second.__slots__}, "open_earlier": broken}))
    marker = store.marker(project=PROJECT, view="user_features")
    assert marker is not None
    assert (marker.state, marker.target.version, marker.previous and marker.previous.version) == ("loading", B, A)
    store.load(second)
    assert _online(valkey) == _fresh(valkey, second)
