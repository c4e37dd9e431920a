"""Canonical documents and the closed set of types."""

import pyarrow as pa
import pytest

from feature_platform.core.contract import documents, types
from feature_platform.core.versions import content_hash


def test_canonical_json_sorts_keys_keeps_text_and_leaves_no_spaces() -> None:
    assert (
        documents.canonical_json({"b": [1, 2.5, None], "a": {"é": "ü", "d": True}}) == '{"a":{"d":true,"é":"ü"},"b":[1,2.5,null]}'.encode()
    )
    assert documents.schema_hash({"a": 1, "b": 2}) == documents.schema_hash({"b": 2, "a": 1})


@pytest.mark.parametrize("text", ["7", "d", "0d", "07d", "-1d", "1.5d", "7D", "7d\n", "100000d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a whole number followed by d, h, m or s"):
        documents.duration(text)


@pytest.mark.parametrize("text", ["7h", "3661d", "0d", "7d "])
def test_a_window_is_whole_days_up_to_ten_years(text: str) -> None:
    with pytest.raises(ValueError, match="expected whole days from '1d' to '3660d'"):
        documents.days(text)


@pytest.mark.parametrize("name", [*types.SCALARS, "list<int64>", "list<timestamp>"])
def test_each_type_has_one_arrow_type_and_is_named_back(name: str) -> None:
    assert types.is_known(name)
    assert content_hash.type_name(types.arrow_type(name)) == name


@pytest.mark.parametrize("name", ["int", "decimal", "list<list<int64>>", "list<int65>", "LIST<INT64>", "list<int64>\n", ""])
def test_unknown_types_are_unknown(name: str) -> None:
    assert not types.is_known(name)


def test_timestamps_are_utc_microseconds() -> None:
    assert types.arrow_type("timestamp") == pa.timestamp("us", tz="UTC")


def test_the_content_hash_tells_apart_what_differs_and_nothing_else() -> None:
    def hashed(values: list[object], kind: pa.DataType, name: str = "a") -> str:
        return content_hash.content_hash(pa.table({name: pa.array(values, type=kind)}))

    base = hashed([1, None], pa.int64())
    different = [
        hashed([1, 0], pa.int64()),
        hashed([None, 1], pa.int64()),
        hashed([1], pa.int64()),
        hashed([1, None], pa.int32()),
        hashed([1, None], pa.int64(), "b"),
        hashed([1.0, None], pa.float64()),
    ]
    assert len({base, *different}) == 7
    assert hashed(["ab", "c"], pa.string()) != hashed(["a", "bc"], pa.string())
    assert hashed(["", None], pa.string()) != hashed([None, ""], pa.string())
    assert hashed([[1], [2]], pa.list_(pa.int64())) != hashed([[1, 2], []], pa.list_(pa.int64()))
    assert hashed([[]], pa.list_(pa.int64())) != hashed([None], pa.list_(pa.int64()))
    assert hashed([0.0, float("nan")], pa.float64()) == hashed([-0.0, -float("nan")], pa.float64())
