"""Source contracts, and what a feature set may ask of its source."""

import json
from typing import Any

import pytest

from feature_platform.core.contract.feature_set import load_contract
from feature_platform.core.contract.source import cross_faults, load_source_contract
from feature_platform.errors import ContractError
from tests.support.raw_days import source_contract


def faults_of(**fields: Any) -> tuple[str, ...]:
    document = {
        "source": "events",
        "event_time": "at",
        "columns": [{"name": "at", "type": "timestamp"}, {"name": "n", "type": "int64"}],
        **fields,
    }
    with pytest.raises(ContractError) as caught:
        load_source_contract(json.dumps(document), file="events.source.json", expected_name="events")
    return caught.value.faults


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"source": "orders"}, "source: found 'orders', expected 'events', the source it was loaded as"),
        ({"event_time": "n"}, "event_time: 'n' has type 'int64'; expected a column of type 'timestamp'"),
        ({"event_time": "when"}, "event_time: 'when' has no such column; expected a column of type 'timestamp'"),
        ({"dedup_keys": ["id"]}, "dedup_keys: 'id' is not a column; expected one of at, n"),
        ({"max_rejected_ratio": 1.5}, "max_rejected_ratio: found 1.5, expected less than or equal to 1"),
        ({"columns": [{"name": "at", "type": "timestamp"}] * 2}, "columns: 'at' stands 2 times; expected each name once"),
        (
            {"columns": [{"name": "at", "type": "timestamp"}, {"name": "n", "type": "int64", "epoch_unit": "s"}]},
            "columns (n): epoch_unit belongs to a timestamp; found type 'int64'",
        ),
        ({"colour": 1}, "colour: unknown key; expected only documented keys"),
        ({"dedup_keys": [[]]}, "dedup_keys[0]: found [], expected a valid string"),
        ({"event_time": []}, "event_time: found [], expected a valid string"),
        (
            {"columns": [{"name": "at", "type": "timestamp"}, {"name": "At", "type": "int64"}]},
            "columns: 'at' and 'At' differ in case alone; expected names that differ otherwise",
        ),
    ],
)
def test_each_fault_names_its_place_what_was_found_and_expected(fields: dict[str, Any], fault: str) -> None:
    assert fault in faults_of(**fields)


def cross(column: dict[str, Any], *, key: dict[str, Any] | None = None) -> list[str]:
    keyed = key or {"name": "user_id", "type": "int64"}
    document = {"feature_set": "f", "version": "v1", "primary_keys": [keyed["name"]], "columns": [keyed, {"name": "f", **column}]}
    return cross_faults(
        load_contract(json.dumps(document), file="f.schema.json"), source_contract(types={"tags": "list<string>", "ok": "bool"})
    )


def aggregated(function: str, taken: str | None, kind: str, **where: Any) -> dict[str, Any]:
    aggregation = {"function": function, "window": "7d", **({"column": taken} if taken else {}), **({"where": where} if where else {})}
    return {"type": kind, "aggregation": aggregation}


COLUMNS = "event_id, user_id, event_time, event_type, session_sec, tags, ok"


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        (
            aggregated("sum", "nothing", "int64"),
            f"columns (f).aggregation: 'nothing' is not a column of source 'events'; expected one of {COLUMNS}",
        ),
        (
            aggregated("mean", "event_type", "float64"),
            "columns (f).aggregation: mean needs a numeric column; 'event_type' has type 'string'",
        ),
        (aggregated("last", "event_type", "int64"), "columns (f).aggregation: yields type 'string'; expected the column's type 'int64'"),
        (aggregated("max", "tags", "list<string>"), "columns (f).aggregation: max needs a scalar column; 'tags' has type 'list<string>'"),
        (
            aggregated("count", None, "int64", user_id="7"),
            "columns (f).aggregation.where (user_id): found '7', expected a whole number that fits (int64)",
        ),
        (aggregated("count", None, "int64", ok=1), "columns (f).aggregation.where (ok): found 1, expected true or false (bool)"),
        (
            aggregated("count", None, "int64", event_time={"gt": "2026-01-01"}),
            "columns (f).aggregation.where (event_time): found '2026-01-01', expected a moment with its offset, such as "
            "'2026-01-15T00:00:00Z' (timestamp)",
        ),
        (
            aggregated("count", None, "int64", event_type=["a", 1]),
            "columns (f).aggregation.where (event_type): found 1, expected a string (string)",
        ),
    ],
)  # fmt: skip
def test_what_a_source_cannot_give_is_refused(column: dict[str, Any], fault: str) -> None:
    assert cross(column) == [fault]


def test_the_least_integers_and_any_spelling_of_a_moment_may_be_asked_for() -> None:
    assert cross(aggregated("count", None, "int64", user_id=[-(2**63), 2**63 - 1])) == []
    assert cross(aggregated("count", None, "int64", event_time={"ge": "2026-01-01T00:00Z", "lt": "2026-01-02 00:00:00,5+01:00:30"})) == []
    [beyond] = cross(aggregated("count", None, "int64", event_time={"ge": "0001-01-01T00:00:00+05:00"}))
    assert "expected a moment with its offset" in beyond
    [greater] = cross(aggregated("count", None, "int64", user_id=2**63))
    assert "expected a whole number that fits (int64)" in greater


def test_a_key_has_the_type_of_its_source_column_and_is_never_null() -> None:
    count = aggregated("count", None, "int64")
    assert cross(count, key={"name": "user_id", "type": "string"}) == [
        "columns (user_id): type 'string' is not that of the source's column; expected 'int64', because a key is taken as it is"
    ]
    assert cross(count, key={"name": "event_type", "type": "string"}) == [
        "primary_keys: 'event_type' may be null in source 'events'; expected 'nullable': false there"
    ]
    assert cross(count) == []
