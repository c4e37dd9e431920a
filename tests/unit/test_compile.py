"""The compiled SQL against a naive oracle: every function, several windows, rules, ties, nulls; and its exactness literally.

``FAULTS=full`` (``make faults``) tries two to three times as many examples.
"""

import json
import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_platform.adapters.compute.spark.dialect import to_spark
from feature_platform.core.compute.aggregates import DAY, POSITION
from feature_platform.core.compute.features_sql import compile_features, compile_tile
from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.core.contract.source import SourceContract, load_source_contract
from feature_platform.core.events.validated import validated_schema
from tests.support.compute_cases import (
    AGGREGATED,
    AS_OF,
    FUNCTIONS,
    TYPES,
    choices,
    column,
    columns_of,
    contract,
    expressions,
    rows,
    source_contract,
)
from tests.support.feature_oracle import features_of, in_order, to_twelve_digits, within

pytestmark = pytest.mark.slow

IS_FULL = os.environ.get("FAULTS") == "full"


def compute(wanted: Contract, events: Sequence[dict[str, Any]], *, source: SourceContract | None = None, threads: int = 2) -> pa.Table:
    source = source or source_contract()
    events = within(events, source, AS_OF, wanted.window_days)  # an engine reads the days of the window and no other
    with duckdb.connect(config={"threads": threads}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        ordered = in_order(events, source)
        place_of = {id(event): place for place, event in enumerate(ordered)}
        places = [place_of[id(event)] for event in events]
        table = pa.Table.from_pylist(list(events), schema=validated_schema(source))
        table = table.append_column(POSITION, pa.array(places, type=pa.int64()))
        connection.register("events", table)
        found = connection.sql(compile_features(wanted, sources=[source], as_of=AS_OF)).to_arrow_table().cast(wanted.arrow_schema)
        connection.register("tiles", tiles_of(connection, wanted, table, source))
        merged = connection.sql(compile_features(wanted, sources=[source], as_of=AS_OF, from_tiles=["events"]))
        assert merged.to_arrow_table().cast(wanted.arrow_schema).equals(found)  # a window is the same by its days as by its events
        longer = connection.sql(compile_tile(wanted, source=source, from_tiles=True)).to_arrow_table()
        connection.register("events", table)
        assert longer.equals(connection.sql(compile_tile(wanted, source=source)).to_arrow_table())  # and so is a tile of several days
        return found


def tiles_of(connection: duckdb.DuckDBPyConnection, wanted: Contract, table: pa.Table, source: SourceContract) -> pa.Table:
    """What is kept of each day that has events, as it comes back from a Parquet file."""
    days = {moment.replace(hour=0, minute=0, second=0, microsecond=0) for moment in table[source.event_time].to_pylist()}
    kept = []
    for day in sorted(days or {AS_OF - timedelta(days=1)}):
        own = pc.and_(pc.greater_equal(table[source.event_time], day), pc.less(table[source.event_time], day + timedelta(days=1)))
        connection.register("events", table.filter(own))
        tile = connection.sql(compile_tile(wanted, source=source)).to_arrow_table()
        sink = pa.BufferOutputStream()
        pq.write_table(tile.append_column(DAY, pa.array([day] * tile.num_rows, type=pa.timestamp("us", tz="UTC"))), sink)
        kept.append(pq.ParquetFile(pa.BufferReader(sink.getvalue())).read())
    return pa.concat_tables(kept)


@given(
    events=st.lists(rows, min_size=1, max_size=14),
    chosen=choices,
    keys=st.sampled_from([("k",), ("g",), ("g", "k")]),
)
@settings(max_examples=100 if IS_FULL else 40)
def test_every_function_window_and_rule_equals_the_naive_oracle(
    events: list[dict[str, Any]], chosen: list[Any], keys: tuple[str, ...]
) -> None:
    wanted = contract(columns_of(chosen), keys=keys)
    expected = features_of(wanted, source_contract(), as_of=AS_OF, events=events)
    assert to_twelve_digits(compute(wanted, events).to_pylist(), wanted) == to_twelve_digits(expected, wanted)


@given(events=st.lists(rows, min_size=1, max_size=14), order=st.randoms(use_true_random=False))
@settings(max_examples=10 if IS_FULL else 3)
def test_results_do_not_depend_on_row_order_or_threads(events: list[dict[str, Any]], order: Any) -> None:
    wanted = contract([column(f"f{place}", kind, function, taken) for place, (function, taken, kind) in enumerate(FUNCTIONS)])
    shuffled = list(events)
    order.shuffle(shuffled)
    assert compute(wanted, shuffled, threads=1).equals(compute(wanted, events, threads=2))


@given(events=st.lists(rows, min_size=1, max_size=8), chosen=st.lists(expressions, min_size=1, max_size=4))
@settings(max_examples=60 if IS_FULL else 20)
def test_a_derived_column_is_what_python_makes_of_the_other_columns(events: list[dict[str, Any]], chosen: list[str]) -> None:
    derived = [{"name": f"x{place}", "type": "float64", "expression": text} for place, text in enumerate(chosen)]
    wanted = contract([*AGGREGATED, *derived])
    assert compute(wanted, events).to_pylist() == features_of(wanted, source_contract(), as_of=AS_OF, events=events)


def test_derived_columns_have_a_type_and_an_answer_for_nothing_and_for_nought() -> None:
    derived = [
        ("ratio", "float64", "b / a"), ("nought", "float64", "a / (a - a)"), ("nothing", "float64", "c + 1"),
        ("filled", "float32", "coalesce(c, 7) / 2"), ("lower", "int64", "-b"), ("stage", "int32", "bucket(b, 1, 2.5, 100)"),
        ("huge", "float64", "1e308 * 10 - a"), ("least", "float64", "min(a, c)"), ("chain", "float64", "a - 2 - (3 - a) + a * 2 / 4 * 2"),
    ]  # fmt: skip
    wanted = contract([*AGGREGATED, *({"name": name, "type": kind, "expression": text} for name, kind, text in derived)])
    (row,) = compute(wanted, [event(n=2.5)]).to_pylist()
    assert {name: row[name] for name, _, _ in derived} == {
        "ratio": 2.5, "nought": None, "nothing": None, "filled": 3.5, "lower": -3, "stage": 2, "huge": None, "least": None,
        "chain": -2.0,
    }  # fmt: skip


def test_a_long_sum_is_translated_for_spark_on_a_small_stack() -> None:
    wanted = contract([*AGGREGATED, {"name": "x", "type": "float64", "expression": " + ".join(["a"] * 100)}])
    assert to_spark(compile_features(wanted, sources=[source_contract()], as_of=AS_OF)).count(" + ") >= 99


def test_a_derived_integer_that_doubles_cannot_count_to_is_refused_by_name() -> None:
    wanted = contract([*AGGREGATED, {"name": "x", "type": "int64", "expression": "a * 1e16"}])
    with pytest.raises(duckdb.Error, match=r"column 'x': .* does not fit int64"):
        compute(wanted, [event()])


def event(k: int = 1, *, at: datetime = AS_OF - timedelta(hours=1), **cells: Any) -> dict[str, Any]:
    return {**dict.fromkeys(TYPES), "k": k, "g": "x", "t": at, **cells}


def test_sums_of_decimals_are_exact_where_floating_sums_are_not() -> None:
    wanted = contract([column("f_sum", "float64", "sum", "n"), column("f_mean", "float64", "mean", "n")])
    found = compute(wanted, [event(n=0.1) for _ in range(10)])
    assert (found["f_sum"][0].as_py(), found["f_mean"][0].as_py()) == (1.0, 0.1)  # sum([0.1] * 10) is 0.9999999999999999


def test_deviation_is_exact_around_a_large_mean() -> None:
    wanted = contract([column("f", "float64", "stddev", "i")])
    found = compute(wanted, [event(i=10**15 + offset) for offset in (4, 7, 13, 16)])
    assert found["f"][0].as_py() == math.sqrt(30.0)  # sample variance of 4, 7, 13, 16


def test_ties_at_one_moment_are_settled_by_the_other_columns_so_that_features_agree_on_the_event() -> None:
    wanted = contract(
        [column("f_first", "string", "first", "s"), column("f_last", "string", "last", "s"), column("f_n", "float64", "last", "n")]
    )
    found = compute(wanted, [event(n=2.0, s="a"), event(n=1.0, s="c"), event(n=3.0, s="b"), event(n=4.0, s=None)])
    assert (found["f_first"][0].as_py(), found["f_last"][0].as_py(), found["f_n"][0].as_py()) == ("c", "b", 4.0)


def test_a_window_holds_its_start_and_not_its_end() -> None:
    wanted = contract([column("f_1d", "int64", "count", window="1d"), column("f_2d", "int64", "count", window="2d")])
    edges = [
        AS_OF - timedelta(microseconds=1),
        AS_OF - timedelta(days=1),
        AS_OF - timedelta(days=1, microseconds=1),
        AS_OF - timedelta(days=2),
    ]
    found = compute(wanted, [event(at=at) for at in edges])
    assert found.to_pylist() == [{"k": 1, "event_timestamp": AS_OF, "f_1d": 2, "f_2d": 4}]


@pytest.mark.parametrize("text", ["2026-01-14 23:30:30+01:00:30", "2026-01-14T22:30:00,0Z", "2026-01-14T22:30Z"])
def test_a_moment_in_a_rule_is_read_as_the_contract_was(text: str) -> None:
    wanted = contract([column("f", "int64", "count", where={"m": {"ge": text}})])
    moment = datetime(2026, 1, 14, 22, 30, tzinfo=UTC)
    assert compute(wanted, [event(m=moment), event(m=moment - timedelta(microseconds=1))])["f"].to_pylist() == [1]


@pytest.mark.parametrize(
    ("kind", "cells", "message"),
    [
        ("int64", {"i": 2**62}, "column 'f': 9223372036854775808 does not fit int64"),
        ("int32", {"i": 2**30}, "column 'f': 2147483648 does not fit int32"),
    ],
)
def test_a_sum_beyond_the_columns_type_is_refused_by_name(kind: str, cells: dict[str, Any], message: str) -> None:
    wanted = contract([column("f", kind, "sum", "i")])
    with pytest.raises(duckdb.Error) as caught:
        compute(wanted, [event(**cells), event(**cells)])
    assert message in str(caught.value)


def test_a_fractional_sum_is_refused_under_an_integer() -> None:
    with pytest.raises(duckdb.Error) as caught:
        compute(contract([column("f", "int64", "sum", "n")]), [event(n=1.5)])
    assert "column 'f': sum 1500e-3 is not whole; expected int64" in str(caught.value)


def test_distinct_counts_are_within_two_percent_of_twenty_thousand() -> None:
    wanted = contract([column("f", "int64", "approx_distinct", "i")])
    found = compute(wanted, [event(i=value) for value in range(20_000)])["f"][0].as_py()
    assert abs(found / 20_000 - 1) < 0.02


def test_names_and_values_with_quotes_are_only_ever_data() -> None:
    wanted = contract([column("f", "int64", "count", where={"s": "'; DROP TABLE events; --"})])
    assert compute(wanted, [event(s="'; DROP TABLE events; --"), event(s="x")])["f"].to_pylist() == [1]


@pytest.mark.parametrize("key", ["a0", "d0", "hash", "bits", "register", "rank", "filled", "weight", "estimate", "aggregates", "events"])
def test_a_key_called_like_a_name_of_the_compiled_query_is_just_a_key(key: str) -> None:
    columns = [{"name": key, "type": "int64", "nullable": False}, {"name": "t", "type": "timestamp"}, {"name": "s", "type": "string"}]
    source = load_source_contract(json.dumps({"source": "events", "event_time": "t", "columns": columns}), file="events.source.json")
    features = [column("f_count", "int64", "count"), column("f_kinds", "int64", "approx_distinct", "s")]
    document = {"feature_set": "f", "version": "v1", "primary_keys": [key], "columns": [{"name": key, "type": "int64"}, *features]}
    wanted = load_contract(json.dumps(document), file="f.schema.json")
    with duckdb.connect() as connection:
        rows = f"(77, TIMESTAMPTZ '{AS_OF - timedelta(hours=1)}', 'x'), (77, TIMESTAMPTZ '{AS_OF - timedelta(hours=2)}', 'y')"
        connection.execute(f'CREATE TABLE events AS SELECT *, 1 AS "#position" FROM (VALUES {rows}) AS given ("{key}", t, s)')
        found = connection.execute(compile_features(wanted, sources=[source], as_of=AS_OF)).fetchall()
    assert [row[:3] for row in found] == [(77, 2, 2)]
