"""Counting differences between published and online rows."""

import numpy as np
import pyarrow as pa

from feature_platform.core.online.layout import view_layout
from feature_platform.core.online.parity import OnlineRows, ParityReport, compare, encoded_values, past_ttl, published_values, sampled
from tests.support.online import AS_OF_US, USERS, users

LAYOUT = view_layout(USERS, project="p")
BATCH = users(range(10)).to_batches()[0]
FRESH = np.zeros(10, np.bool_)


def _online() -> dict[str, pa.Array]:
    return published_values(BATCH, LAYOUT)


def _replaced(column: pa.Array, row: int, value: bytes | None) -> pa.Array:
    values = column.to_pylist()
    values[row] = value
    return pa.array(values, pa.binary())


def test_equal_rows_are_exact() -> None:
    """Nulls equal nulls."""
    report = compare(_online(), OnlineRows(_online(), np.ones(10, np.bool_)), report=ParityReport("v", 10), past_ttl=FRESH)
    assert report.exact
    assert report.features["f_mean"].compared == 10


def test_counts_each_difference_once_per_entity_and_once_per_feature() -> None:
    """Row 2 differs in two features, row 3 lost a field, row 4 is not there at all."""
    columns = _online()
    columns["f_count"] = _replaced(_replaced(columns["f_count"], 2, b"\x20\x63"), 4, None)
    columns["f_country"] = _replaced(_replaced(columns["f_country"], 2, b""), 4, None)
    columns["f_mean"] = _replaced(_replaced(columns["f_mean"], 3, None), 4, None)
    columns["event_timestamp"] = _replaced(columns["event_timestamp"], 4, None)
    present = np.arange(10) != 4
    report = compare(_online(), OnlineRows(columns, present), report=ParityReport("v", 10), past_ttl=FRESH)
    assert (report.entities, report.mismatched, report.missing) == (10, 2, 1)
    assert (report.features["f_count"].mismatched, report.features["f_count"].missing) == (1, 1)
    assert (report.features["f_mean"].mismatched, report.features["f_mean"].missing) == (0, 2)


def test_values_from_the_sdk_take_the_stored_form() -> None:
    """NaN and null are one thing; a date arrives as its midnight."""
    assert [raw.hex() for raw in encoded_values([1.5, None], "float64").to_pylist()] == ["29000000000000f83f", ""]
    midnight = BATCH.column("event_timestamp")[0].as_py()
    assert encoded_values([midnight], "date").to_pylist() == [bytes.fromhex("4080dca0cb06")]


def test_ttl_is_counted_from_the_event_timestamp() -> None:
    """At exactly the ttl a value is still served."""
    column = BATCH.column("event_timestamp")
    assert not past_ttl(column, now_us=AS_OF_US + 5, ttl_us=5).any()
    assert past_ttl(column, now_us=AS_OF_US + 6, ttl_us=5).all()


def test_samples_are_about_the_size_asked_for_and_always_the_same() -> None:
    """Chosen by the key's hash, so that a second look sees the same entities."""
    keys = pa.array([f"user-{number}".encode() for number in range(20_000)], pa.binary())
    chosen = sampled(keys, rows=20_000, limit=1_000)
    assert 800 < chosen.sum() < 1_200
    assert (chosen == sampled(keys, rows=20_000, limit=1_000)).all()
    assert sampled(keys, rows=20_000, limit=None).all()
