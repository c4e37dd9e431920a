"""Features computed by a Spark Connect server equal those that this process computes, to the bit; and what happens where it fails.

The server is Sail, which needs no Java. `make test-spark` runs the same against Spark itself; the variable SPARK_REMOTE names another.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine
from feature_platform.adapters.compute.duckdb.session import EngineLimits
from feature_platform.adapters.events.partition_files import write_parts
from feature_platform.core.compute.tiles import Window, block_of, blocks_of
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawManifest
from feature_platform.core.events.validated import ValidatedDay, validated_schema
from feature_platform.core.layout import validated_partition
from feature_platform.errors import ConflictError, InvalidDataError, StorageError
from tests.support.compute_cases import (
    AGGREGATED,
    AS_OF,
    FUNCTIONS,
    choices,
    column,
    columns_of,
    contract,
    expressions,
    rows,
    source_contract,
    two_source_columns,
)
from tests.support.directory_store import DirectoryStore
from tests.support.feature_oracle import in_order
from tests.support.spark_connect import running, spark_engine

WORK_URI = "s3://work/w"
SOURCE = source_contract()
EXAMPLES = int(os.environ.get("SPARK_EXAMPLES", "12"))


@pytest.fixture(scope="module")
def remote() -> Iterator[str]:
    with running() as address:
        yield address


class World:
    """Validated days in a directory, and both engines over it."""

    def __init__(self, directory: Path, remote: str) -> None:
        self.directory = directory
        self.store = DirectoryStore(directory / "objects")
        self.duckdb = DuckDBEngine(self.store, work_uri=WORK_URI, workdir=directory)
        self.spark = spark_engine(self.store, remote=remote, work_uri=WORK_URI, workdir=directory)

    def days(self, events: Sequence[dict[str, Any]], *, source: SourceContract = SOURCE) -> list[ValidatedDay]:
        """The three days before the as-of moment, as validation would leave them."""
        found = []
        for back in (3, 2, 1):
            start = AS_OF - timedelta(days=back)
            own = in_order([event for event in events if start <= event["t"] < start + timedelta(days=1)], source)
            table = pa.Table.from_pylist(own, schema=validated_schema(source))
            partition = start.date().isoformat()
            prefix = validated_partition(WORK_URI, source.source, partition)
            files = write_parts(self.store, iter(table.to_batches()), schema=table.schema, prefix=prefix, directory=self.directory)
            raw = RawManifest(source=source.source, partition=partition, objects=())
            found.append(ValidatedDay(source.source, partition, source.schema_hash, raw, len(own), {}, files, ()))
        return found


@pytest.fixture
def world(tmp_path: Path, remote: str) -> World:
    return World(tmp_path, remote)


@given(
    events=st.lists(rows, min_size=1, max_size=14),
    chosen=choices,
    derived=st.lists(expressions, max_size=2),
    keys=st.sampled_from([("k",), ("g", "k")]),
)
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cluster_gives_the_bits_that_this_process_gives_by_events_and_by_tiles(
    world: World, events: list[dict[str, Any]], chosen: list[Any], derived: list[str], keys: tuple[str, ...]
) -> None:
    computed = [{"name": f"x{place}", "type": "float64", "expression": text} for place, text in enumerate(derived)]
    wanted = contract([*columns_of(chosen), *(AGGREGATED if derived else ()), *computed], keys=keys, checks={"min_rows": 0})
    days = world.days(events)[-wanted.window_days :]
    expected = world.duckdb.build(wanted, [Window(SOURCE, days)], as_of=AS_OF).to_arrow()
    assert world.spark.build(wanted, [Window(SOURCE, days)], as_of=AS_OF).to_arrow().equals(expected)
    blocks = blocks_of(wanted, days, end=AS_OF.date())
    ours = [world.duckdb.make_tile(wanted, SOURCE, block) for block in blocks]
    theirs = [world.spark.make_tile(wanted, SOURCE, block) for block in blocks]
    for tiles in (ours, theirs):
        for engine in (world.duckdb, world.spark):
            assert engine.build(wanted, [Window(SOURCE, days, tiles)], as_of=AS_OF).to_arrow().equals(expected)


PAYMENTS = source_contract(source="payments", decimals=1)


@given(
    events=st.tuples(st.lists(rows, min_size=1, max_size=9), st.lists(rows, min_size=1, max_size=9)),
    chosen=st.tuples(choices, choices),
    keys=st.sampled_from([("k",), ("g", "k")]),
)
@settings(max_examples=max(1, EXAMPLES // 3), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_two_sources_give_the_same_bits_too(
    world: World, events: tuple[list[Any], ...], chosen: tuple[Any, Any], keys: tuple[str, ...]
) -> None:
    columns = two_source_columns(*chosen, derived=["a / coalesce(c, d)"])
    wanted = contract(columns, keys=keys, sources=["events", "payments"], checks={"min_rows": 0})
    read = [
        Window(source, world.days(own, source=source)[-part.window_days :])
        for part, source, own in zip(wanted.parts, (SOURCE, PAYMENTS), events, strict=True)
    ]
    expected = world.duckdb.build(wanted, read, as_of=AS_OF).to_arrow()
    assert world.spark.build(wanted, read, as_of=AS_OF).to_arrow().equals(expected)
    blocks = blocks_of(wanted.parts[1], read[1].days, end=AS_OF.date())
    tiles = [world.duckdb.make_tile(wanted.parts[1], PAYMENTS, block) for block in blocks]
    assert world.spark.build(wanted, [read[0], Window(PAYMENTS, read[1].days, tiles)], as_of=AS_OF).to_arrow().equals(expected)


def event(**cells: Any) -> dict[str, Any]:
    return {**dict.fromkeys("knhijsbdym"), "k": 1, "g": "x", "t": AS_OF - timedelta(hours=1), **cells}


def test_sums_of_units_are_whole_beyond_64_bits(world: World) -> None:
    columns = [column("a", "float64", "sum", "n"), column("b", "float64", "mean", "n"), column("c", "float64", "sum", "i")]
    wanted = contract(columns, checks={"min_rows": 0})
    days = world.days([event(n=4e15, i=2**62, t=AS_OF - timedelta(hours=hours)) for hours in (1, 2, 3, 4)])
    found = world.spark.build(wanted, [Window(SOURCE, days)], as_of=AS_OF).to_arrow()
    assert found.select(["a", "b", "c"]).to_pylist() == [{"a": 1.6e16, "b": 4e15, "c": float(2**64)}]
    assert world.duckdb.build(wanted, [Window(SOURCE, days)], as_of=AS_OF).to_arrow().equals(found)


def test_sums_of_any_size_are_the_nearest_doubles(world: World) -> None:
    columns = [column("a", "float64", "sum", "i"), column("b", "float64", "mean", "i"), column("c", "float64", "sum", "n")]
    columns.append({"name": "d", "type": "float32", "expression": "a * 1e30"})
    wanted = contract(columns, checks={"min_rows": 0})
    sums = [-(2**54) - 3, 2**63 - 1, -(2**63), 3 * 2**62 + 2**10 + 1]
    events = [event(k=key, i=total // 4 + (part < total % 4)) for key, total in enumerate(sums) for part in range(4)]
    days = world.days([{**one, "n": -18014398509481.987 if one["k"] == 0 else 0.0} for one in events])
    found = world.duckdb.build(wanted, [Window(SOURCE, days)], as_of=AS_OF).to_arrow()
    assert found["a"].to_pylist() == [float(total) for total in sums]
    assert found["b"].to_pylist() == [float(total) / 4 for total in sums]
    assert found["c"][0].as_py() == 4 * -18014398509481.987
    assert found["d"].to_pylist() == [None] * len(sums)
    assert world.spark.build(wanted, [Window(SOURCE, days)], as_of=AS_OF).to_arrow().equals(found)


def test_squares_beyond_128_bits_are_refused_with_what_to_do(world: World) -> None:
    wanted = contract([column("a", "float64", "stddev", "i")], checks={"min_rows": 0})
    days = world.days([event(i=9 * 10**18, t=AS_OF - timedelta(seconds=seconds)) for seconds in (1, 2, 3)])
    for engine in (world.duckdb, world.spark):
        with pytest.raises(InvalidDataError, match=r"stddev adds the squares .* fewer decimals"):
            engine.build(wanted, [Window(SOURCE, days)], as_of=AS_OF)


@pytest.mark.parametrize("value", [1e16, -1e16, 1e300])
def test_a_value_that_no_64_bit_unit_holds_is_refused_and_not_cut(world: World, value: float) -> None:
    wanted = contract([column("a", "float64", "sum", "n")], checks={"min_rows": 0})
    days = world.days([event(n=value)])
    for engine in (world.duckdb, world.spark):
        with pytest.raises(InvalidDataError):
            engine.build(wanted, [Window(SOURCE, days)], as_of=AS_OF)


def test_every_function_over_wide_and_negative_values_is_equal_and_so_is_a_tile_of_several_days(world: World) -> None:
    events = [
        event(
            t=AS_OF - timedelta(days=back, seconds=second), n=value, h=value, i=whole, j=back - 2, s="é" * back, b=back > 1, y=b"\xff\x00"
        )
        for back, (value, whole) in enumerate([(0.0005, 2**53 + 1), (-0.0005, -(2**62)), (1e15, 2**62)])
        for second in (1, 2)
    ]
    wanted = contract([column(f"f{place}", kind, function, taken) for place, (function, taken, kind) in enumerate(FUNCTIONS)])
    days = world.days(events)
    expected = world.duckdb.build(wanted, [Window(SOURCE, days)], as_of=AS_OF).to_arrow()
    assert world.spark.build(wanted, [Window(SOURCE, days)], as_of=AS_OF).to_arrow().equals(expected)
    parts = [world.spark.make_tile(wanted, SOURCE, block_of((AS_OF - timedelta(days=back)).date(), 1, days)) for back in (3, 2, 1)]
    longer = world.spark.make_tile(wanted, SOURCE, block_of((AS_OF - timedelta(days=3)).date(), 8, days), parts=parts)
    assert world.spark.build(wanted, [Window(SOURCE, days, [longer])], as_of=AS_OF).to_arrow().equals(expected)


def test_a_value_that_the_type_cannot_hold_is_a_fault_of_the_data(world: World) -> None:
    wanted = contract([column("f", "int32", "sum", "i")])
    with pytest.raises(InvalidDataError, match="column 'f': 2147483648 does not fit int32"):
        world.spark.build(wanted, [Window(SOURCE, world.days([event(i=2**30), event(i=2**30)]))], as_of=AS_OF)


def test_a_file_that_is_not_the_one_of_its_day_is_refused_before_the_cluster_reads_it(world: World) -> None:
    wanted = contract([column("f", "int64", "count")])
    days = world.days([event()])
    world.store.path(days[-1].files[0].uri).write_bytes(b"other")
    with pytest.raises(ConflictError, match="Validate the day again"):
        world.spark.build(wanted, [Window(SOURCE, days)], as_of=AS_OF)
    assert list(world.directory.iterdir()) == [world.directory / "objects"]


@pytest.mark.filterwarnings(r"ignore:\[RETRIES_EXCEEDED\]")
def test_a_cluster_that_does_not_answer_is_an_error_to_retry_and_names_no_token(world: World) -> None:
    away = spark_engine(world.store, remote="sc://127.0.0.1:1/;token=secret", work_uri=WORK_URI, workdir=world.directory)
    with pytest.raises(StorageError, match=r"Spark at sc://127\.0\.0\.1:1 did not answer") as caught:
        away.build(contract([column("f", "int64", "count")]), [Window(SOURCE, world.days([event()]))], as_of=AS_OF)
    assert "secret" not in str(caught.value)
    assert list(world.directory.iterdir()) == [world.directory / "objects"]


def test_the_engine_loads_where_the_main_module_has_no_file() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import feature_platform.adapters.compute.spark.engine as e; print(e.SparkEngine.__name__)"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert told.stdout == "SparkEngine\n"


def test_a_query_that_takes_too_long_is_ended(world: World, remote: str) -> None:
    limits = EngineLimits(transform_timeout_s=0.0)
    slow = spark_engine(world.store, remote=remote, work_uri=WORK_URI, workdir=world.directory, limits=limits)
    wanted = contract([column(f"f{place}", kind, function, taken) for place, (function, taken, kind) in enumerate(FUNCTIONS)])
    with pytest.raises(StorageError, match="Spark took longer than 0 s"):
        slow.build(wanted, [Window(SOURCE, world.days([event()]))], as_of=AS_OF)
