"""Encoding: both files hold the very rows, equal rows give equal bytes and hashes, and what no version may hold is refused."""

import hashlib
import json
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_platform.adapters.feature_set_store.feature_files import encode_features, read_csv, restamp
from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.core.row_groups import ROW_GROUP_ROWS
from feature_platform.core.versions.content_hash import content_hash
from feature_platform.core.versions.feature_table import EncodedFeatures, FeatureTable
from feature_platform.core.versions.statistics import DISTINCT_EXACT, ColumnStatistics
from feature_platform.errors import InvalidDataError

AS_OF = datetime(2026, 1, 15, tzinfo=UTC)
IDENTITY = {"feature_set": "f", "version": "v_20260115T000000", "schema_hash": "h", "as_of": AS_OF.isoformat(), "write_id": "w"}
TYPES = [
    "int32",
    "int64",
    "float32",
    "float64",
    "bool",
    "string",
    "bytes",
    "timestamp",
    "date",
    "list<int64>",
    "list<string>",
    "list<float64>",
]


def contract(columns: dict[str, str], *, keys: tuple[str, ...] = ("k",)) -> Contract:
    document = {
        "feature_set": "f",
        "version": "v1",
        "primary_keys": list(keys),
        "columns": [{"name": name, "type": kind} for name, kind in columns.items()],
    }
    return load_contract(json.dumps(document), file="f.schema.json", sql="SELECT 1")


def table(wanted: Contract, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{"event_timestamp": AS_OF, **row} for row in rows], schema=wanted.arrow_schema)


def read_back(encoded: EncodedFeatures, wanted: Contract) -> pa.Table:
    """The rows of the CSV file."""
    assert isinstance(encoded.csv, Path)
    return pa.Table.from_batches(read_csv(encoded.csv, contract=wanted), schema=wanted.arrow_schema)


def encode(wanted: Contract, rows: pa.Table, directory: Path, *, batch_rows: int = 1000) -> EncodedFeatures:
    features = FeatureTable(schema=rows.schema, batches=lambda: iter(rows.to_batches(max_chunksize=batch_rows)))
    return encode_features(features, contract=wanted, directory=directory, identity=IDENTITY)


texts = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "'=1", "''", '"', "a,b", "a\nb"]
)
numbers = st.floats(allow_nan=False, allow_infinity=False)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float32": st.floats(allow_nan=False, allow_infinity=False, width=32),
    "float64": numbers,
    "bool": st.booleans(),
    "string": texts,
    "bytes": st.binary(max_size=6),
    "timestamp": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001  the zone is given apart
    "date": st.dates(date(1, 1, 2)),
    "list<int64>": st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=3),
    "list<string>": st.lists(st.none() | texts, max_size=3),
    "list<float64>": st.lists(st.none() | numbers, max_size=3),
}
features = st.fixed_dictionaries({f"f_{place}": st.none() | VALUES[kind] for place, kind in enumerate(TYPES)})
ALL_TYPES = contract({"k": "int64", **{f"f_{place}": kind for place, kind in enumerate(TYPES)}})


@given(rows=st.lists(features, max_size=12))
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_csv_and_the_parquet_file_hold_the_very_rows(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    given_rows = table(ALL_TYPES, [{"k": place, **row} for place, row in enumerate(rows)])
    encoded = encode(ALL_TYPES, given_rows, tmp_path)
    assert read_back(encoded, ALL_TYPES).equals(given_rows)
    assert pq.read_table(encoded.parquet, page_checksum_verification=True).equals(given_rows)
    assert encoded.content_hash == content_hash(given_rows) == content_hash(read_back(encoded, ALL_TYPES))


def test_the_csv_is_spelled_as_documented(tmp_path: Path) -> None:
    wanted = contract(
        {"k": "string", "n": "float64", "b": "bool", "y": "bytes", "d": "date", "l": "list<string>", "event_timestamp": "timestamp"}
    )
    rows = [
        {"k": "", "n": 1.0, "b": True, "y": b"\x00\xff", "d": date(2026, 1, 2), "l": ["=a", None, ""]},
        {"k": "=SUM(A1)", "n": None, "b": None, "y": None, "d": None, "l": None},
    ]
    encoded = encode(wanted, table(wanted, rows), tmp_path)
    assert encoded.csv.read_text(encoding="utf-8") == (
        "k,n,b,y,d,l,event_timestamp\n"
        '"",1.0,true,00ff,2026-01-02,"[""=a"",null,""""]",2026-01-15T00:00:00.000000Z\n'
        "'=SUM(A1),,,,,,2026-01-15T00:00:00.000000Z\n"
    )


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "'"])
def test_no_string_cell_starts_a_formula_and_each_reads_back(start: str, tmp_path: Path) -> None:
    wanted = contract({"k": "int64", "s": "string"})
    encoded = encode(wanted, table(wanted, [{"k": 1, "s": f"{start}cmd"}]), tmp_path)
    assert encoded.csv.read_bytes().splitlines(keepends=True)[1].lstrip(b'1,"').startswith(b"'" + start.encode())
    assert read_back(encoded, wanted)["s"].to_pylist() == [f"{start}cmd"]


def test_equal_rows_give_equal_bytes_however_they_arrive(tmp_path: Path) -> None:
    wanted = contract({"k": "int64", "s": "string", "n": "float64"})
    count = ROW_GROUP_ROWS + 1000
    schema = wanted.arrow_schema
    rows = pa.table(
        [range(count), [None if n % 5 == 0 else f"s{n % 7}" for n in range(count)], [n / 7 for n in range(count)], [AS_OF] * count],
        schema=schema,
    )
    found = []
    for batch_rows in (count, 70_001):
        directory = tmp_path / str(batch_rows)
        directory.mkdir()
        found.append(encode(wanted, rows, directory, batch_rows=batch_rows))
    assert found[0].digests == found[1].digests
    assert found[0].content_hash == found[1].content_hash
    assert found[0].statistics == found[1].statistics
    assert pq.read_metadata(found[0].parquet).num_row_groups == 2


def test_digests_are_those_of_the_files(tmp_path: Path) -> None:
    wanted = contract({"k": "int64"})
    encoded = encode(wanted, table(wanted, [{"k": 1}]), tmp_path)
    for name, digest in encoded.digests.items():
        body = (tmp_path / name).read_bytes()
        assert (digest.sha256, digest.size_bytes) == (hashlib.sha256(body).hexdigest(), len(body))


def test_the_parquet_file_says_what_it_is_and_can_be_restamped(tmp_path: Path) -> None:
    wanted = contract({"k": "int64", "s": "string"})
    rows = table(wanted, [{"k": n, "s": f"s{n}"} for n in range(10)])
    encoded = encode(wanted, rows, tmp_path)
    other = {**IDENTITY, "version": "v_20260115T000001"}
    stamped = restamp(encoded, tmp_path / "features.parquet", identity=other)
    metadata = pq.read_metadata(stamped.parquet).metadata
    assert {name: metadata[name.encode()].decode() for name in [*other, "content_hash"]} == {**other, "content_hash": encoded.content_hash}
    assert pq.read_table(stamped.parquet).equals(rows)
    assert stamped.digests["features.csv"] == encoded.digests["features.csv"]
    assert stamped.digests["features.parquet"].sha256 == hashlib.sha256(stamped.parquet.read_bytes()).hexdigest()


def test_a_flipped_bit_in_a_page_is_found(tmp_path: Path) -> None:
    wanted = contract({"k": "int64"})
    encoded = encode(wanted, table(wanted, [{"k": n * n} for n in range(1000)]), tmp_path)
    body = bytearray(encoded.parquet.read_bytes())
    first = pq.read_metadata(encoded.parquet).row_group(0).column(0)
    body[first.data_page_offset + first.total_compressed_size - 8] ^= 1
    encoded.parquet.write_bytes(body)
    with pytest.raises(OSError, match="CRC checksum"):
        pq.read_table(encoded.parquet, page_checksum_verification=True)


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (
            [{"k": 1, "g": "a"}, {"k": 1, "g": "a"}],
            "primary key: k=1, g='a' stands twice, the second time in row 1; expected each key once",
        ),
        (
            [{"k": 2, "g": "a"}, {"k": 1, "g": "b"}],
            "primary key: row 1 (k=1, g='b') stands after a greater key; expected rows sorted by k, g",
        ),
        (
            [{"k": 1, "g": "b"}, {"k": 1, "g": "a"}],
            "primary key: row 1 (k=1, g='a') stands after a greater key; expected rows sorted by k, g",
        ),
        ([{"k": 1, "g": "b"}, {"k": None, "g": "a"}], "column 'k': row 1 is null; expected a value in every row"),
        ([{"k": 1, "g": "b", "n": math.nan}], "column 'n': row 0 holds nan; expected finite numbers or null"),
        ([{"k": 1, "g": "b", "l": [1.0, math.inf]}], "column 'l': a list holds inf; expected finite numbers or null"),
        ([{"k": 1, "g": "b", "event_timestamp": None}], "column 'event_timestamp': row 0 is null; expected a value in every row"),
    ],
)
def test_rows_that_no_version_may_have_are_refused(rows: list[dict[str, Any]], fault: str, tmp_path: Path) -> None:
    wanted = contract({"k": "int64", "g": "string", "n": "float64", "l": "list<float64>"}, keys=("k", "g"))
    with pytest.raises(InvalidDataError) as caught:
        encode(wanted, table(wanted, rows), tmp_path)
    assert caught.value.faults == (fault,)


@pytest.mark.parametrize("batch_rows", [1, 2])
def test_order_is_checked_across_batches(batch_rows: int, tmp_path: Path) -> None:
    wanted = contract({"k": "int64"})
    first, second = (table(wanted, [{"k": k} for k in keys]) for keys in (range(ROW_GROUP_ROWS), [ROW_GROUP_ROWS - 1]))
    with pytest.raises(InvalidDataError, match=f"k={ROW_GROUP_ROWS - 1} stands twice, the second time in row {ROW_GROUP_ROWS}"):
        encode(wanted, pa.concat_tables([first, second]), tmp_path)


def test_another_schema_than_the_contracts_is_refused_with_both(tmp_path: Path) -> None:
    wanted = contract({"k": "int64"})
    other = contract({"k": "int32"})
    with pytest.raises(InvalidDataError) as caught:
        encode(wanted, table(other, [{"k": 1}]), tmp_path)
    assert caught.value.faults == (
        "expected k int64, event_timestamp timestamp[us, tz=UTC]",
        "found k int32, event_timestamp timestamp[us, tz=UTC]",
    )


def test_a_failing_source_of_rows_leaves_no_thread_and_its_own_error(tmp_path: Path) -> None:
    wanted = contract({"k": "int64"})

    def batches() -> Iterator[pa.RecordBatch]:
        yield from table(wanted, [{"k": 1}]).to_batches()
        raise InvalidDataError("upstream broke")

    with pytest.raises(InvalidDataError, match="upstream broke"):
        encode_features(FeatureTable(schema=wanted.arrow_schema, batches=batches), contract=wanted, directory=tmp_path, identity=IDENTITY)


def test_statistics_describe_each_column(tmp_path: Path) -> None:
    wanted = contract({"k": "int64", "n": "float64", "s": "string"})
    rows = [{"k": n, "n": None if n == 0 else float(n), "s": "abc"[n % 3]} for n in range(101)]
    statistics = encode(wanted, table(wanted, rows), tmp_path).statistics
    assert statistics["k"] == {
        "nulls": 0, "min": 0, "max": 100, "mean": 50.0, "quantiles": [float(n) for n in range(0, 101, 5)], "distinct": 101
    }  # fmt: skip
    assert {name: statistics["n"][name] for name in ("nulls", "min", "max", "mean", "distinct")} == {
        "nulls": 1, "min": 1.0, "max": 100.0, "mean": 50.5, "distinct": 100
    }  # fmt: skip
    assert statistics["s"] == {"nulls": 0, "min": "a", "max": "c", "mean": None, "quantiles": None, "distinct": 3}
    assert statistics["event_timestamp"]["min"] == "2026-01-15T00:00:00.000000Z"


def test_approximate_statistics_of_many_rows_are_near_the_truth(tmp_path: Path) -> None:
    wanted = contract({"k": "int64"})
    rows = 300_000
    keys = pa.table([range(rows), [AS_OF] * rows], schema=wanted.arrow_schema)
    found = encode(wanted, keys, tmp_path).statistics["k"]
    assert abs(int(str(found["distinct"])) / rows - 1) < 0.05
    quantiles = found["quantiles"]
    assert isinstance(quantiles, list)
    assert all(abs(value - place * rows / 20) < rows / 1000 for place, value in enumerate(quantiles))


@pytest.mark.parametrize("kind", [pa.int64(), pa.string()])
@pytest.mark.parametrize("distinct", [3, 900, 4_095, 4_096, 9_000, 60_000, 300_000])
def test_distinct_values_are_estimated_from_the_smallest_hashes_of_all_rows(distinct: int, kind: pa.DataType) -> None:
    random = np.random.default_rng(distinct)
    values = pa.array(random.integers(0, distinct, 300_000), mask=random.random(300_000) < 0.1).cast(kind)
    column = ColumnStatistics(kind)
    for start in range(0, len(values), 100_000):
        column.update(values.slice(start, 100_000))
    smallest = np.unique(pl.Series(values.drop_null()).hash(seed=0).to_numpy())[:DISTINCT_EXACT]
    expected = len(smallest) if len(smallest) < DISTINCT_EXACT else round((DISTINCT_EXACT - 1) * 2.0**64 / float(smallest[-1]))
    assert column.summary()["distinct"] == expected
