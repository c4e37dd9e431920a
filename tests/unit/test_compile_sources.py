"""Features of two sources against a naive oracle: any functions of each, keys that one of them lacks, each window by events or by tiles."""

from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_platform.core.compute.aggregates import POSITION
from feature_platform.core.compute.features_sql import compile_features, compile_tile
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.events.validated import validated_schema
from feature_platform.errors import ContractError
from tests.support.compute_cases import AS_OF, choices, contract, expressions, rows, source_contract, two_source_columns
from tests.support.feature_oracle import Event, features_of_several, in_order, to_twelve_digits, within
from tests.unit.test_compile import tiles_of

SOURCES = [source_contract(), source_contract(source="payments", decimals=1)]


def compute(wanted: Contract, events: Sequence[Sequence[Event]], *, from_tiles: Sequence[str]) -> pa.Table:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for place, (part, source, own) in enumerate(zip(wanted.parts, SOURCES, events, strict=True)):
            ordered = in_order(within(own, source, AS_OF, part.window_days), source)
            table = pa.Table.from_pylist(ordered, schema=validated_schema(source))
            table = table.append_column(POSITION, pa.array(range(len(ordered)), type=pa.int64()))
            connection.register(f"events_{place}", table)
            if source.source in from_tiles:
                connection.register(f"tiles_{place}", tiles_of(connection, part, table, source))
        found = connection.sql(compile_features(wanted, sources=SOURCES, as_of=AS_OF, from_tiles=from_tiles))
        return found.to_arrow_table().cast(wanted.arrow_schema)


@given(
    events=st.tuples(st.lists(rows, min_size=1, max_size=9), st.lists(rows, min_size=1, max_size=9)),
    chosen=st.tuples(choices, choices),
    derived=st.lists(expressions, max_size=2),
    keys=st.sampled_from([("k",), ("g",), ("g", "k")]),
    from_tiles=st.sampled_from([(), ("events",), ("payments",), ("events", "payments")]),
)
@settings(max_examples=20, deadline=None)
def test_every_function_of_two_sources_gives_what_the_oracle_gives(
    events: tuple[list[Any], ...],
    chosen: tuple[Any, Any],
    derived: list[str],
    keys: tuple[str, ...],
    from_tiles: tuple[str, ...],
) -> None:
    wanted = contract(two_source_columns(*chosen, derived=derived), keys=keys, sources=["events", "payments"])
    expected = features_of_several(wanted, list(zip(SOURCES, events, strict=True)), as_of=AS_OF)
    found = compute(wanted, events, from_tiles=from_tiles).to_pylist()
    assert to_twelve_digits(found, wanted) == to_twelve_digits(expected, wanted)


def test_a_part_of_two_sources_keeps_of_a_day_what_a_set_of_that_source_alone_keeps() -> None:
    both = contract(two_source_columns([], [], derived=["a / c"]), sources=["events", "payments"])
    of_payments = [each for each in two_source_columns([], []) if each["aggregation"].pop("source") == "payments"]
    alone = contract(of_payments, source="payments")
    assert compile_tile(both.parts[1], source=SOURCES[1]) == compile_tile(alone, source=SOURCES[1])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"sources": ["events"]}, "sources: expected two or more; a set of one source names it by 'source'"),
        ({"sources": ["events", "payments", "events"]}, "sources: 'events' stands 2 times; expected once"),
        ({"source": "events"}, "sources: found beside 'source'; expected one of them"),
        ({"sources": ["events", "clicks"]}, "columns (c).aggregation.source: found 'payments', expected one of events, clicks"),
        ({"sources": ["events", "payments", "clicks"]}, "sources: no column is taken of 'clicks'; expected one, or the source left out"),
        ({"sources": "events"}, "columns (a).aggregation.source: found 'events', expected one of"),
        ({"sources": None}, "sources: "),
    ],
)
def test_what_a_contract_says_of_its_sources_is_judged_when_it_is_loaded(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(ContractError) as caught:
        contract(two_source_columns([], []), **{"sources": ["events", "payments"], **change})
    assert any(found.startswith(fault) for found in caught.value.faults), caught.value.faults


def test_a_column_of_a_set_of_one_source_names_none() -> None:
    with pytest.raises(ContractError, match="expected none, because the contract has one 'source'"):
        contract(two_source_columns([], []))
