"""What differs between two versions, held to a comparison of their stored bytes row by row."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.online.difference import PATTERNS, differences
from feature_platform.core.online.encoding import encode_keys, encode_timestamps, encode_values
from feature_platform.core.online.layout import ViewLayout, view_layout
from tests.support.online import AS_OF_US, PROJECT, contract_of, table_of

Stored = dict[bytes, dict[str, bytes]]

WIDE = contract_of(
    {
        "user_id": "int64",
        "country": "string",
        "f_count": "int32",
        "f_mean": "float64",
        "f_ratio": "float32",
        "f_name": "string",
        "f_raw": "bytes",
        "f_is": "bool",
        "f_day": "date",
        "f_seen": "timestamp",
        "f_tags": "list<string>",
        "f_series": "list<float64>",
    },
    keys=("user_id", "country"),
)
FLOATS = st.sampled_from([None, 0.0, -0.0, 1.5, -1.5])
"""No version holds a NaN, which Redis would hold as a null."""
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "f_count": st.sampled_from([None, 0, 1]),
    "f_mean": FLOATS,
    "f_ratio": FLOATS,
    "f_name": st.sampled_from([None, "", "é"]),
    "f_raw": st.sampled_from([None, b"", b"\0"]),
    "f_is": st.sampled_from([None, True, False]),
    "f_day": st.sampled_from([None, 0, 1]),
    "f_seen": st.sampled_from([None, 0, 1_000_000]),
    "f_tags": st.sampled_from([None, [], [""], ["a", "b"], ["ab"]]),
    "f_series": st.sampled_from([None, [], [1.5], [0.0], [-0.0]]),
    "event_timestamp": st.sampled_from([AS_OF_US, AS_OF_US + 1]),
}
KEYS = st.tuples(st.sampled_from([-1, 0, 7, 300]), st.sampled_from(["", "DE", "de", "é"]))
ROWS = st.dictionaries(KEYS, st.fixed_dictionaries(VALUES), max_size=12)


def stored(batches: Iterator[pa.RecordBatch] | list[pa.RecordBatch], layout: ViewLayout) -> Stored:
    """Redis key → column → bytes, as a full load would leave them."""
    rows: Stored = {}
    for batch in batches:
        columns = {layout.timestamp_field: encode_timestamps(batch.column(layout.timestamp_field))}
        columns |= {name: encode_values(batch.column(name), kind) for name, kind in layout.features}
        for row, key in enumerate(encode_keys(batch, layout).to_pylist()):
            rows[key] = {name: column[row].as_py() for name, column in columns.items()}
    return rows


def version(contract: Contract, rows: dict[tuple[Any, ...], dict[str, Any]], *, at_once: int) -> list[pa.RecordBatch]:
    """Rows in key order, in batches."""
    ordered = sorted(rows)
    columns = {name: [key[place] for key in ordered] for place, name in enumerate(contract.primary_keys)}
    columns |= {name: [rows[key][name] for key in ordered] for name in (*(c.name for c in contract.feature_columns), "event_timestamp")}
    return table_of(contract, columns).to_batches(max_chunksize=at_once)


@given(before=ROWS, after=ROWS, kept=st.booleans(), sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)))
def test_applying_a_difference_gives_the_later_version_and_touches_nothing_else(
    before: dict[Any, Any], after: dict[Any, Any], kept: bool, sizes: tuple[int, int]
) -> None:
    """Every type; rows that came, went, changed or stayed, wherever batches are cut."""
    if kept:
        after = {key: {**row, **dict(list(after.get(key, {}).items())[:2])} for key, row in before.items()}
    layout = view_layout(WIDE, project=PROJECT)
    first, second = (version(WIDE, rows, at_once=size) for rows, size in zip((before, after), sizes, strict=True))
    state, target = stored(first, layout), stored(second, layout)
    writes, seen = 0, 0
    for found in differences(iter(first), iter(second), layout):
        seen += found.rows
        for changed in found.changed:
            for key, values in stored([changed.rows], changed.layout).items():
                assert state.get(key) != target[key], "a row was written that is there"
                state.setdefault(key, {}).update(values)
                writes += 1
        for key in found.vanished.to_pylist():
            del state[key]
    assert state == target
    assert seen == len(after)
    assert writes <= len(after)


def test_a_value_that_did_not_change_is_not_written() -> None:
    """Each row is written with its timestamp and the columns that changed in it."""
    contract = contract_of({"user_id": "int64", "f_a": "int64", "f_b": "int64"})
    layout = view_layout(contract, project=PROJECT)
    rows = {"user_id": list(range(8)), "f_a": [1] * 8, "f_b": [None] * 8}
    first = table_of(contract, rows)
    second = table_of(contract, {**rows, "f_a": [1, 2] * 4, "f_b": [None] * 6 + [5, 5]})
    [found] = differences(iter(first.to_batches()), iter(second.to_batches()), layout)
    by_columns = {tuple(name for name, _ in item.layout.features): item.rows.column("user_id").to_pylist() for item in found.changed}
    assert by_columns == {("f_a",): [1, 3, 5], ("f_b",): [6], ("f_a", "f_b"): [7]}


def test_rows_of_rare_patterns_are_written_whole() -> None:
    """Each pattern costs a pass: what is common is written narrowly, the rest with every column."""
    names = [f"f_{number}" for number in range(7)]
    contract = contract_of({"user_id": "int64", **dict.fromkeys(names, "int64")})
    layout, patterns = view_layout(contract, project=PROJECT), range(1, 128)
    ids = [number for number in patterns for _ in range(3 if number < 65 else 1)]
    first = table_of(contract, {"user_id": list(range(len(ids))), **{name: [0] * len(ids) for name in names}})
    changed = {name: [pattern >> bit & 1 for pattern in ids] for bit, name in enumerate(names)}
    second = table_of(contract, {"user_id": list(range(len(ids))), **changed})
    [found] = differences(iter(first.to_batches()), iter(second.to_batches()), layout)
    assert len(found.changed) == PATTERNS + 1
    assert found.changed[-1].layout == layout
    assert found.changed[-1].rows.num_rows == 63
    assert sum(item.rows.num_rows for item in found.changed) == len(ids)


@pytest.mark.parametrize("shift", [1, 5])
def test_a_row_that_came_first_of_all_shifts_nothing(shift: int) -> None:
    """The two files are cut at the same keys, so one more row at the front is one difference."""
    contract = contract_of({"user_id": "int64", "f_a": "int64"})
    layout = view_layout(contract, project=PROJECT)
    first = table_of(contract, {"user_id": list(range(100, 200)), "f_a": [1] * 100}).to_batches(max_chunksize=16)
    ids = [*range(shift), *range(100, 200)]
    second = table_of(contract, {"user_id": ids, "f_a": [1] * len(ids)}).to_batches(max_chunksize=16)
    found = list(differences(iter(first), iter(second), layout))
    written = [row for item in found for changed in item.changed for row in changed.rows.column("user_id").to_pylist()]
    assert written == list(range(shift))
    assert sum(len(item.vanished) for item in found) == 0
