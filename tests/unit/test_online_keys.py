"""Which entities vanished, and which cluster slot a key has."""

from collections.abc import Iterator

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot as redis_py_slot

from feature_platform.core.online.keys import KeyBatch, key_batches, key_slots, vanished
from feature_platform.core.online.layout import ViewLayout

LAYOUT = ViewLayout("p", "v", (("a", "int64"), ("b", "string")), (), "event_timestamp")

keys = st.sets(st.tuples(st.integers(-3, 3), st.sampled_from(["", "x", "é", "xy"])), max_size=25)


def _batches(entities: set[tuple[int, str]], size: int) -> Iterator[KeyBatch]:
    ordered = sorted(entities)
    rows = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    return key_batches((pa.record_batch([[a for a, _ in part], [b for _, b in part]], schema=schema) for part in rows), LAYOUT)


@given(keys, keys, st.integers(1, 7), st.integers(1, 7))
def test_finds_exactly_the_entities_that_vanished(earlier: set, current: set, one: int, other: int) -> None:
    """Against sets, for any batch sizes on both sides."""
    found = [key for batch in vanished(_batches(earlier, one), _batches(current, other)) for key in batch.to_pylist()]
    expected = [key for batch in _batches(earlier - current, 100) for key in batch.keys.to_pylist()]
    assert sorted(found) == sorted(expected)


@given(st.lists(st.binary(max_size=30) | st.from_regex(rb"\A[a{}]{0,8}\Z"), max_size=20))
def test_agrees_with_redis_py_about_slots(raw: list[bytes]) -> None:
    """Hash tags, accidental braces and empty keys included."""
    array = pa.array([b"pad", *raw], pa.binary()).slice(1)
    assert key_slots(array).tolist() == [redis_py_slot(key) for key in raw]
