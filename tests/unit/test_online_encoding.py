"""Bytes of keys, fields and values. Literals were written by Feast 0.67's own code (``type_map``, ``serialize_entity_key``)."""

import contextlib
import datetime as dt
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_platform.core.contract import types
from feature_platform.core.online.decoding import MOMENTS, column_reader, project_of_key, timestamp_of
from feature_platform.core.online.encoding import encode_keys, encode_timestamps, encode_values
from feature_platform.core.online.layout import FEAST_TYPES, ViewLayout, feature_key, refuse_unknown_feast, view_layout
from feature_platform.core.online.reads import UnplannedRequestError
from feature_platform.errors import ConfigurationError, ContractError, InvalidDataError
from tests.support.online import contract_of

NAN, INF = math.nan, math.inf
HALF_PAST = dt.datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=dt.UTC)
BEFORE_1970 = dt.datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=dt.UTC)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

STORED: dict[str, tuple[list[Any], list[str]]] = {
    "int32": ([1, None, -(2**31)], ["1801", "", "1880808080f8ffffffff01"]),
    "int64": ([1, 0, -(2**63), 2**63 - 1], ["2001", "2000", "2080808080808080808001", "20ffffffffffffffff7f"]),
    "float32": ([1.5, None, NAN, INF, -0.0], ["350000c03f", "", "", "350000807f", "3500000080"]),
    "float64": ([1.5, None, NAN, 0.0], ["29000000000000f83f", "", "", "290000000000000000"]),
    "bool": ([True, None, False], ["3801", "", "3800"]),
    "string": (["", "é\0x", None], ["1200", "1204c3a90078", ""]),
    "bytes": ([b"", b"\xff", None], ["0a00", "0a01ff", ""]),
    "timestamp": (
        [HALF_PAST, None, BEFORE_1970, EPOCH],
        ["4080f2d6ca06", "4080808080808080808001", "40ffffffffffffffffff01", "4000"],
    ),
    "date": ([dt.date(2026, 1, 1), None, dt.date(1960, 1, 1)], ["4080f2d6ca06", "4080808080808080808001", "408091c0e9feffffffff01"]),
    "list<int64>": ([[1, -1, 2**63 - 1], None, []], ["72160a1401ffffffffffffffffff01ffffffffffffffff7f", "", "7200"]),
    "list<int32>": ([[1, -1], None, []], ["6a0d0a0b01ffffffffffffffffff01", "", "6a00"]),
    "list<float32>": ([[1.5, NAN], None, []], ["82010a0a080000c03f0000c07f", "", "820100"]),
    "list<float64>": ([[1.5, NAN], None, []], ["7a120a10000000000000f83f000000000000f87f", "", "7a00"]),
    "list<bool>": ([[True, False], None, []], ["8a01040a020100", "", "8a0100"]),
    "list<string>": ([["", "é"], None, []], ["62060a000a02c3a9", "", "6200"]),
    "list<bytes>": ([[b"", b"x"], None, []], ["5a050a000a0178", "", "5a00"]),
    "list<timestamp>": ([[HALF_PAST], None, [], [BEFORE_1970]], ["9201070a0580f2d6ca06", "", "920100", "9201030a0100"]),
}


@pytest.mark.parametrize("kind", STORED)
def test_writes_the_bytes_that_feast_writes(kind: str) -> None:
    """Every type, with nulls, NaN, extremes and empty values."""
    values, expected = STORED[kind]
    assert [raw.hex() for raw in encode_values(pa.array(values, types.arrow_type(kind)), kind).to_pylist()] == expected


@pytest.mark.parametrize("kind", STORED)
def test_writes_the_same_bytes_for_a_slice(kind: str) -> None:
    """Batches are slices of larger arrays more often than not."""
    values, expected = STORED[kind]
    column = pa.array([values[0], *values, values[0]], types.arrow_type(kind)).slice(1, len(values))
    assert [raw.hex() for raw in encode_values(column, kind).to_pylist()] == expected


@pytest.mark.parametrize("kind", STORED)
def test_reads_back_what_was_written(kind: str) -> None:
    """Whole seconds, NaN as null, a date as its midnight; a column of another type's bytes is read as what it is."""
    values, expected = STORED[kind]
    raws = [bytes.fromhex(raw) for raw in expected]
    read = column_reader(kind, MOMENTS)(raws)
    form = "timestamp" if kind == "date" else kind
    assert encode_values(pa.array(read, types.arrow_type(form)), form).to_pylist() == raws
    assert repr(column_reader("bytes", MOMENTS)(raws)) == repr(read)
    assert [value is None for value in read] == [value is None or value != value for value in values]


def test_knows_bytes_for_every_type_that_feast_has() -> None:
    """The table above leaves no type out."""
    assert set(STORED) == set(FEAST_TYPES)


def test_keeps_large_integers_beside_nulls() -> None:
    """Feast goes through floats where a column has a null, and serves 2**60 + 1 as 2**60."""
    stored = encode_values(pa.array([2**60 + 1, None], pa.int64()), "int64")
    assert column_reader("int64")(stored.to_pylist()) == [2**60 + 1, None]


def test_refuses_nulls_inside_lists() -> None:
    """Feast would serve them as zeros."""
    with pytest.raises(InvalidDataError, match="nulls inside its lists"):
        encode_values(pa.array([[1, None]], pa.list_(pa.int64())), "list<int64>")


def test_encodes_no_rows() -> None:
    """An empty batch gives an empty array for every type."""
    for kind in FEAST_TYPES:
        assert encode_values(pa.array([], types.arrow_type(kind)), kind).to_pylist() == []


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (EPOCH, ""),
        (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "0880f2d6ca06"),
        (HALF_PAST, "0880f2d6ca061080cab5ee01"),
        (BEFORE_1970, "08ffffffffffffffffff011080cab5ee01"),
    ],
)
def test_writes_event_timestamps_as_protobuf(moment: dt.datetime, expected: str) -> None:
    """Seconds and nanoseconds, each left out where it is zero; the second counts towards the past."""
    raw = encode_timestamps(pa.array([moment], pa.timestamp("us", tz="UTC")))[0].as_py()
    assert raw.hex() == expected
    seconds, nanos = timestamp_of(raw)
    assert EPOCH + dt.timedelta(seconds=seconds, microseconds=nanos // 1000) == moment


def test_refuses_event_timestamps_that_are_null_or_out_of_range() -> None:
    """Feast raises in the middle of a write; we before it."""
    with pytest.raises(InvalidDataError, match="nulls"):
        encode_timestamps(pa.array([None], pa.timestamp("us", tz="UTC")))
    with pytest.raises(InvalidDataError, match="years 1 to 9999"):
        encode_timestamps(pa.array([253_402_300_800_000_000], pa.timestamp("us", tz="UTC")))


def test_writes_entity_keys_with_join_keys_sorted_by_name() -> None:
    """Count, names, then type, length and bytes of each value, then the project."""
    layout = ViewLayout("prøject", "v", (("user_id", "int64"), ("area", "string"), ("bucket", "int32")), (), "event_timestamp")
    batch = pa.record_batch({"user_id": pa.array([-2]), "area": ["é"], "bucket": pa.array([7], pa.int32())})
    (raw,) = encode_keys(batch, layout).to_pylist()
    assert raw.hex() == (
        "03000000"
        + "0200000004000000"
        + b"area".hex()
        + "0200000006000000"
        + b"bucket".hex()
        + "0200000007000000"
        + b"user_id".hex()
        + "0200000002000000c3a9"
        + "030000000400000007000000"
        + "0400000008000000feffffffffffffff"
        + "prøject".encode().hex()
    )
    assert project_of_key(raw) == "prøject".encode()


def test_tells_whose_project_a_key_belongs_to() -> None:
    """A project whose name ends like another's is not that one, and arbitrary keys are nobody's."""
    bookshop = ViewLayout("bookshop", "v", (("user_id", "int64"),), (), "event_timestamp")
    raw = encode_keys(pa.record_batch({"user_id": pa.array([5])}), bookshop)[0].as_py()
    assert project_of_key(raw) == b"bookshop"
    assert project_of_key(b"feature_platform:{a:b}:marker") is None
    assert project_of_key(b"") is None


def test_refuses_a_null_primary_key() -> None:
    """There is no entity without a key."""
    layout = ViewLayout("p", "v", (("user_id", "int64"),), (), "event_timestamp")
    with pytest.raises(InvalidDataError, match="'user_id'"):
        encode_keys(pa.record_batch({"user_id": pa.array([None], pa.int64())}), layout)


def test_hashes_field_names_as_feast_does() -> None:
    """MurmurHash3, 32 bits, little-endian."""
    assert feature_key("user_features", "f_total_events_7d").hex() == "8deb425f"


def test_refuses_a_type_that_feast_cannot_hold() -> None:
    """Feast raises on a list of dates in the middle of a write."""
    with pytest.raises(ContractError, match="list<date>"):
        view_layout(contract_of({"user_id": "int64", "days": "list<date>"}), project="p")


def test_refuses_another_feast_by_name() -> None:
    """A patch release keeps the layout, a minor one has to be looked at."""
    refuse_unknown_feast("0.67.3")
    with pytest.raises(ConfigurationError, match=r"Feast 0\.68\.0"):
        refuse_unknown_feast("0.68.0")


@given(st.binary(max_size=40), st.sampled_from(sorted(FEAST_TYPES)))
def test_arbitrary_bytes_decode_or_are_refused(raw: bytes, kind: str) -> None:
    """A corrupted field is left to Feast, never another exception."""
    for read in (column_reader(kind), column_reader(kind, MOMENTS)):
        with contextlib.suppress(UnplannedRequestError):
            assert len(read([raw, None, raw])) == 3
    with contextlib.suppress(UnplannedRequestError):
        timestamp_of(raw)
