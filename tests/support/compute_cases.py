"""Contracts over one source with a column of each type, and events for them: what every engine and every way of reading is tried on."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.core.contract.source import SourceContract, cross_faults, load_source_contract

AS_OF = datetime(2026, 1, 15, tzinfo=UTC)
MOMENTS = [
    AS_OF - timedelta(days=4),
    AS_OF - timedelta(days=3),
    AS_OF - timedelta(days=2, microseconds=1),
    AS_OF - timedelta(days=1),
    AS_OF - timedelta(days=1, microseconds=1),
    AS_OF - timedelta(seconds=1, microseconds=500_000),
    AS_OF - timedelta(microseconds=1),
    AS_OF,
]
TYPES = {
    "k": "int64", "g": "string", "t": "timestamp", "n": "float64", "h": "float32", "i": "int64", "j": "int32", "s": "string", "b": "bool",
    "d": "date", "y": "bytes", "m": "timestamp",
}  # fmt: skip


def source_contract(**overrides: Any) -> SourceContract:
    columns = [{"name": name, "type": kind, "nullable": name not in {"k", "g", "t"}} for name, kind in TYPES.items()]
    for column in columns:
        if column["type"] in {"float32", "float64"}:
            column["decimals"] = overrides.get("decimals", 3)
    name = overrides.get("source", "events")
    return load_source_contract(json.dumps({"source": name, "event_time": "t", "columns": columns}), file=f"{name}.source.json")


def contract(columns: Sequence[dict[str, Any]], *, keys: Sequence[str] = ("k",), **overrides: Any) -> Contract:
    document = {
        "feature_set": "f",
        "version": "v1",
        "primary_keys": list(keys),
        "columns": [*({"name": key, "type": TYPES[key]} for key in keys), {"name": "event_timestamp", "type": "timestamp"}, *columns],
        **overrides,
    }
    loaded = load_contract(json.dumps(document), file="f.schema.json")
    assert [fault for part in loaded.parts for fault in cross_faults(part, source_contract(source=part.source))] == []
    return loaded


def column(name: str, kind: str, function: str, taken: str | None = None, window: str = "3d", **rest: Any) -> dict[str, Any]:
    aggregation = {"function": function, "window": window, **({"column": taken} if taken else {}), **rest}
    return {"name": name, "type": kind, "aggregation": aggregation}


RULES: list[dict[str, Any]] = [
    {},
    {"s": "a"},
    {"s": ["a", "it's"]},
    {"i": {"ge": -1, "lt": 5}},
    {"n": {"gt": 0.0}},
    {"b": True},
    {"s": {"ne": "a"}, "j": {"le": 1}},
]
FUNCTIONS = [
    ("count", None, "int64"),
    ("age_of_last", None, "int64"),
    ("age_of_last", None, "float64"),
    ("age_of_first", None, "int64"),
    ("age_of_first", None, "float64"),
    *((function, taken, "float64") for function in ("sum", "mean", "stddev") for taken in ("n", "h", "i", "j")),
    ("sum", "i", "int64"),
    ("sum", "j", "int32"),
    *((function, taken, TYPES[taken]) for function in ("min", "max", "first", "last") for taken in "nhijsbdym"),
    *(("approx_distinct", taken, "int64") for taken in ("n", "h", "i", "s", "b", "d", "y", "m")),
]  # fmt: skip
floats = st.floats(-1e6, 1e6, width=32).map(lambda value: value + 0.0)
rows = st.fixed_dictionaries(
    {
        "k": st.integers(1, 2),
        "g": st.sampled_from(["x", "é"]),
        "t": st.sampled_from(MOMENTS),
        "n": st.none() | floats | st.sampled_from([0.0005, -0.0005, 2.5, 1e15, 0.1, -18014398509481.987]),
        "h": st.none() | floats,
        "i": st.none() | st.integers(-3, 7) | st.sampled_from([2**53 + 1, -(2**54) - 3, 2**58 + 1]),
        "j": st.none() | st.integers(-3, 7),
        "s": st.none() | st.sampled_from(["a", "b", "it's", "", "ü"]),
        "b": st.none() | st.booleans(),
        "d": st.none() | st.sampled_from([date(2026, 1, 1), date(1969, 12, 31)]),
        "y": st.none() | st.binary(max_size=2),
        "m": st.none() | st.sampled_from(MOMENTS),
    }
)


def columns_of(chosen: Sequence[tuple[tuple[str, str | None, str], str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """A feature column for each choice of a function, a window and a rule: ``f0``, ``f1`` …"""
    return [
        column(f"f{place}", kind, function, taken, window, **({"where": rule} if rule else {}))
        for place, ((function, taken, kind), window, rule) in enumerate(chosen)
    ]


AGGREGATED = [
    column("a", "int64", "count"),
    column("b", "float64", "sum", "n"),
    column("c", "int32", "max", "j"),
    column("d", "float32", "min", "h", "1d"),
]
"""What derived columns of a test read: one that is never null, one that often is, one that is negative too, and one of a shorter window."""

expressions = st.recursive(
    st.sampled_from(["a", "b", "c", "d", "0", "2", "0.1"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda x: f"-({x})"),
        st.tuples(st.sampled_from(["min", "max", "coalesce"]), inner, inner).map(lambda parts: f"{parts[0]}({parts[1]}, {parts[2]})"),
        inner.map(lambda x: f"abs({x})"),
        inner.map(lambda x: f"bucket({x}, -1, 0, 2.5)"),
    ),
    max_leaves=6,
)
windows = st.sampled_from(["1d", "2d", "3d"])
choices = st.lists(st.tuples(st.sampled_from(FUNCTIONS), windows, st.sampled_from(RULES)), min_size=1, max_size=6)


def two_source_columns(of_events: Sequence[Any], of_payments: Sequence[Any], *, derived: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Chosen columns of two sources, those that derived ones read, and these: ``x0``, ``x1`` …"""
    taken = [
        *((item, "events") for item in (*columns_of(of_events), *AGGREGATED[:2])),
        *(({**item, "name": f"p{item['name']}"}, "payments") for item in columns_of(of_payments)),
        *((item, "payments") for item in AGGREGATED[2:]),
    ]
    computed = [{"name": f"x{place}", "type": "float64", "expression": text} for place, text in enumerate(derived)]
    return [*({**item, "aggregation": {**item["aggregation"], "source": source}} for item, source in taken), *computed]
