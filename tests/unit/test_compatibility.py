"""What a changed contract means for readers."""

import json
from typing import Any

import pytest

from feature_platform.core.contract.compatibility import compare
from feature_platform.core.contract.feature_set import Contract, load_contract

COUNT = {"function": "count", "window": "7d"}
DOCUMENT: dict[str, Any] = {
    "feature_set": "users",
    "version": "v1",
    "primary_keys": ["user_id"],
    "columns": [
        {"name": "user_id", "type": "int64"},
        {"name": "f_a", "type": "int64", "aggregation": COUNT},
        {"name": "f_b", "type": "float64", "aggregation": {"function": "sum", "window": "7d", "column": "price"}},
    ],
}


def contract(*, columns: list[dict[str, Any]] | None = None, **changed: Any) -> Contract:
    return load_contract(json.dumps(DOCUMENT | changed | {"columns": columns or DOCUMENT["columns"]}), file="users.schema.json")


KEY, A, B = DOCUMENT["columns"]


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({}, "none", []),
        ({"version": "v2"}, "none", ["version: v1 became v2: what changes is intended"]),
        (
            {"missing_days": "refuse"},
            "none",
            ["missing_days: warn became refuse: whether a version of a window that lacks days is built"],
        ),
        ({"description": "who they are"}, "none", ["owner, description: texts for people changed"]),
        ({"columns": [KEY, B, A]}, "none", ["columns: their order in the files changed; readers go by name"]),
        ({"checks": {"min_rows": 9}}, "none", ["checks: what a version must pass changed"]),
        ({"columns": [KEY, A, B, A | {"name": "f_c"}]}, "additive", ["column f_c: added (int64)"]),
        ({"ttl": "14d"}, "additive", ["ttl: values are served for 14d instead of 7d"]),
        ({"ttl": "1d"}, "breaking", ["ttl: values are served for 1d instead of 7d"]),
        ({"columns": [KEY, A]}, "breaking", ["column f_b: removed (was float64)"]),
        ({"columns": [KEY, A | {"type": "int32"}, B]}, "breaking", ["column f_a: retyped from int64 to int32"]),
        (
            {"columns": [KEY, A | {"aggregation": COUNT | {"window": "1d", "where": {"price": {"gt": 0}}}}, B]},
            "breaking",
            ["column f_a: redefined from count() over 7d to count() over 1d where {'price': {'gt': 0}}"],
        ),
        ({"entity": "person"}, "breaking", ["entity: user became person"]),
        ({"source": "clicks"}, "breaking", ["source: events became clicks"]),
        ({"timestamp_field": "at"}, "breaking", None),
    ],
)
def test_a_change_has_a_kind_and_a_reason(changed: dict[str, Any], kind: str, said: list[str] | None) -> None:
    found = compare(contract(), contract(**changed))
    assert found.kind == kind
    assert said is None or [str(change) for change in found.changes] == said
    assert set(found.effects) == ({"versions", "latest", "registry", "online", "readers"} if found.changes else set())


def derived(expression: str) -> Contract:
    return contract(columns=[KEY, A, {"name": "f_c", "type": "float64", "expression": expression}])


@pytest.mark.parametrize(
    ("expression", "said"),
    [("(f_a+1) / 2.0", []), ("f_a + 1 / 2.0", ["column f_c: redefined from (f_a + 1) / 2.0 to f_a + 1 / 2.0"])],
)
def test_an_expression_is_another_one_by_its_meaning_and_not_by_its_spaces(expression: str, said: list[str]) -> None:
    assert [str(change) for change in compare(derived("(f_a + 1) / 2.0"), derived(expression)).changes] == said


def test_sources_in_another_order_are_named() -> None:
    aggregated = [{**A, "name": f"f_{name}", "aggregation": COUNT | {"source": name}} for name in ("a", "b")]
    old, new = (contract(columns=[KEY, *aggregated], sources=sources) for sources in (["a", "b"], ["b", "a"]))
    assert [(change.kind, str(change)) for change in compare(old, new).changes] == [("none", "sources: their order changed")]


def test_another_sql_transform_breaks_and_one_that_nobody_knows_says_nothing() -> None:
    assert compare(contract(), contract(), old_sql_hash="a", new_sql_hash="b").kind == "breaking"
    assert compare(contract(), contract(), old_sql_hash=None, new_sql_hash="b").changes == ()
