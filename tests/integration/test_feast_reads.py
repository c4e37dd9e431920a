"""Reads through the online store plugin equal Feast's own, for every type, key and request form, from a real server."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from feature_platform.adapters.feast.clock import reading_as_of
from feature_platform.core.contract.feature_set import Contract
from tests.support.feast_reading import Readers, open_readers
from tests.support.online import contract_of, table_of
from tests.support.services import ValkeyDatabase

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

TYPED = {
    "f_int32": ("int32", [2**31 - 1, -(2**31), 0, None]),
    "f_int64": ("int64", [2**53 - 1, -(2**53), 127, 128]),
    "f_float32": ("float32", [1.5, float("nan"), -0.0, None]),
    "f_float64": ("float64", [0.1, float("inf"), -1e308, None]),
    "f_bool": ("bool", [True, False, True, False]),
    "f_string": ("string", ["", "Zoë ✓", "x" * 300, None]),
    "f_bytes": ("bytes", [b"", b"\x00\xff", b"y" * 128, None]),
    "f_timestamp": ("timestamp", [datetime(2026, 1, 1, 12, 30, 15, tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC), None, None]),
    "f_date": ("date", [date(2026, 1, 1), date(1960, 2, 29), date(1970, 1, 1), date(2100, 12, 31)]),
    "f_int64s": ("list<int64>", [[1, -1, 2**40], [], [0], [7]]),
    "f_strings": ("list<string>", [["a", "", "ü"], [], ["x"], ["y"]]),
    "f_float64s": ("list<float64>", [[0.5, -2.25], [], [1e300], [0.0]]),
}
EVERY_TYPE = contract_of({"user_id": "int64", **{name: kind for name, (kind, _) in TYPED.items()}}, name="typed", ttl="3650d")
IDS = [1001, -1, 2**62, 0]
MISSING = 424242


@pytest.fixture
def typed(valkey: ValkeyDatabase) -> Readers:
    readers = open_readers(valkey, EVERY_TYPE)
    readers.write(EVERY_TYPE, table_of(EVERY_TYPE, {"user_id": IDS, **{name: values for name, (_, values) in TYPED.items()}}))
    return readers


def references(contract: Contract) -> list[str]:
    return [f"{contract.feature_set}:{column.name}" for column in contract.feature_columns]


def both(readers: Readers, features: Any, entity_rows: Any, **options: Any) -> tuple[Any, Any]:
    return tuple(
        store.get_online_features(features=features, entity_rows=entity_rows, **options) for store in (readers.ours, readers.stock)
    )  # type: ignore[return-value]


def assert_equal_responses(readers: Readers, features: Any, entity_rows: Any, **options: Any) -> None:
    ours, stock = both(readers, features, entity_rows, **options)
    assert type(ours).__name__ == "RawOnlineResponse"
    for with_timestamps in (False, True):
        assert repr(ours.to_dict(with_timestamps)) == repr(stock.to_dict(with_timestamps))
    assert ours.proto.SerializeToString(deterministic=True) == stock.proto.SerializeToString(deterministic=True)


@pytest.mark.parametrize("full_names", [False, True])
def test_every_type_reads_as_feast_reads_it(typed: Readers, full_names: bool) -> None:
    rows = [{"user_id": key} for key in [*IDS, MISSING]]
    assert_equal_responses(typed, references(EVERY_TYPE), rows, full_feature_names=full_names)


def test_a_service_and_columnar_rows_read_as_feast_reads_them(typed: Readers) -> None:
    assert_equal_responses(typed, typed.stock.get_feature_service("typed"), {"user_id": IDS})


def test_repeated_entities_keep_their_places(typed: Readers) -> None:
    assert_equal_responses(typed, references(EVERY_TYPE), {"user_id": [1001, 0, 1001, MISSING, 0]})


def test_a_thousand_entities_and_values_beyond_one_packet_read_as_feast_reads_them(valkey: ValkeyDatabase) -> None:
    contract = contract_of({"user_id": "int64", "f_text": "string"}, name="long_texts", ttl="3650d")
    readers = open_readers(valkey, contract)
    readers.write(contract, table_of(contract, {"user_id": list(range(1000)), "f_text": [f"{number}-" * 300 for number in range(1000)]}))
    assert_equal_responses(readers, references(contract), {"user_id": list(range(1200))})


def test_several_views_of_one_entity_read_in_one_request(valkey: ValkeyDatabase) -> None:
    first = contract_of({"user_id": "int64", "f_count": "int64"}, name="first", ttl="3650d")
    second = contract_of({"user_id": "int64", "f_count": "int64", "f_name": "string"}, name="second", ttl="3650d")
    readers = open_readers(valkey, first, second)
    readers.write(first, table_of(first, {"user_id": [1, 2], "f_count": [10, 20]}))
    readers.write(second, table_of(second, {"user_id": [2, 3], "f_count": [200, 300], "f_name": ["b", "c"]}))
    assert_equal_responses(readers, ["first:f_count", "second:f_name"], {"user_id": [1, 2, 3]})
    assert_equal_responses(readers, [*references(first), *references(second)], {"user_id": [1, 2, 3]}, full_feature_names=True)


def test_string_and_composite_keys_read_as_feast_reads_them(valkey: ValkeyDatabase) -> None:
    texts = contract_of({"name": "string", "f_count": "int64"}, keys=("name",), name="texts", ttl="3650d")
    pairs = contract_of({"shop": "string", "item": "int32", "f_count": "int64"}, keys=("shop", "item"), name="pairs", ttl="3650d")
    readers = open_readers(valkey, texts)
    readers.write(texts, table_of(texts, {"name": ["Zoë ✓", "", "x" * 200], "f_count": [1, 2, 3]}))
    assert_equal_responses(readers, references(texts), {"name": ["x" * 200, "Zoë ✓", "nobody"]})
    composite = open_readers(valkey, pairs)
    composite.write(pairs, table_of(pairs, {"shop": ["ö", "ö", "b"], "item": [1, -2, 1], "f_count": [1, 2, 3]}))
    assert_equal_responses(composite, references(pairs), {"shop": ["ö", "b", "b"], "item": [-2, 1, 7]})


def test_values_that_are_not_of_the_keys_own_type_are_left_to_feast(typed: Readers) -> None:
    ours, stock = both(typed, references(EVERY_TYPE), [{"user_id": "1001"}])
    assert ours.to_dict() == stock.to_dict()
    for store in (typed.ours, typed.stock):
        with pytest.raises(ValueError, match="same"):
            store.get_online_features(features=references(EVERY_TYPE), entity_rows=[{"user_id": 1}, {"other": 2}])


def test_data_frames_and_arrow_tables_come_out_as_from_feast(typed: Readers) -> None:
    ours, stock = both(typed, ["typed:f_int64", "typed:f_string"], {"user_id": IDS})
    assert ours.to_arrow().equals(stock.to_arrow())
    assert ours.to_df().equals(stock.to_df())


def test_a_view_whose_type_changed_serves_what_is_stored(valkey: ValkeyDatabase) -> None:
    before = contract_of({"user_id": "int64", "f_count": "int64"}, name="changed", ttl="3650d")
    after = contract_of({"user_id": "int64", "f_count": "string"}, name="changed", ttl="3650d")
    readers = open_readers(valkey, before)
    readers.write(before, table_of(before, {"user_id": [1], "f_count": [7]}))
    changed = open_readers(valkey, after)
    assert_equal_responses(changed, references(after), {"user_id": [1]})


def test_a_cluster_serves_what_feast_serves_and_honours_the_ttl() -> None:
    from tests.support.valkey_cluster import valkey_cluster

    contract = contract_of({"user_id": "int64", "f_count": "int64"}, name="clustered", ttl="1h")
    moment = datetime(2026, 1, 15, tzinfo=UTC)
    with valkey_cluster() as nodes:
        readers = open_readers(ValkeyDatabase(nodes[0].host, nodes[0].port), contract, redis_type="redis_cluster")
        readers.write(contract, table_of(contract, {"user_id": list(range(50)), "f_count": list(range(50))}))
        with reading_as_of(moment):
            ours, stock = both(readers, references(contract), {"user_id": list(range(60))})
        assert ours.to_dict() == stock.to_dict() == {"user_id": list(range(60)), "f_count": [*range(50), *[None] * 10]}
        with reading_as_of(moment + timedelta(hours=2)):
            late, _ = both(readers, references(contract), {"user_id": [7]})
        assert late.to_dict() == {"user_id": [7], "f_count": [None]}
        for store in (readers.ours, readers.stock):
            store.provider.online_store._client.close()
