"""Feature set contracts: the minimal one, the hash that signs it, and every fault of a file reported together."""

import copy
import hashlib
import json
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.errors import ContractError

MINIMAL: dict[str, Any] = {
    "feature_set": "user_features",
    "version": "v1",
    "columns": [{"name": "user_id", "type": "int64"}, {"name": "event_timestamp", "type": "timestamp"}, {"name": "f_x", "type": "float64"}],
    "primary_keys": ["user_id"],
}
COUNT = {"name": "f_n", "type": "int64", "aggregation": {"function": "count", "window": "7d"}}


def load(document: dict[str, Any], *, sql: str | None = "SELECT 1", expected_name: str | None = None) -> Contract:
    return load_contract(json.dumps(document), file="user_features.schema.json", sql=sql, expected_name=expected_name)


def faults_of(document: dict[str, Any], *, sql: str | None = None, expected_name: str | None = None) -> tuple[str, ...]:
    with pytest.raises(ContractError) as caught:
        load(document, sql=sql, expected_name=expected_name)
    assert caught.value.subject.startswith("Contract user_features.schema.json has ")
    return caught.value.faults


def changed(**fields: Any) -> dict[str, Any]:
    document = {**copy.deepcopy(MINIMAL), "columns": [*copy.deepcopy(MINIMAL["columns"][:2]), copy.deepcopy(COUNT)]}
    return {**document, **fields}


def test_the_four_key_contract_is_valid_with_a_sql_transform() -> None:
    contract = load(MINIMAL)
    assert (contract.entity, contract.source, contract.ttl_duration, contract.window_days) == ("user", "events", timedelta(days=7), 1)
    assert contract.arrow_schema == pa.schema(
        [
            pa.field("user_id", pa.int64(), nullable=False),
            pa.field("event_timestamp", pa.timestamp("us", tz="UTC"), nullable=False),
            pa.field("f_x", pa.float64()),
        ]
    )


def test_the_schema_hash_is_that_of_the_canonical_document_as_written() -> None:
    text = '{"columns":[{"name":"k","type":"string"}],"description":"é","feature_set":"f","primary_keys":["k"],"version":"v1"}'
    spaced = json.dumps(json.loads(text), indent=2)
    contract = load_contract(spaced, file="f.schema.json", sql="SELECT 1")
    assert contract.schema_hash == hashlib.sha256(text.encode()).hexdigest()


def test_a_version_always_has_the_event_timestamp() -> None:
    contract = load({**MINIMAL, "columns": [{"name": "user_id", "type": "int64"}]})
    assert [column.name for column in contract.all_columns] == ["user_id", "event_timestamp"]
    assert contract.feature_columns == ()


def test_the_longest_window_says_how_many_days_are_read() -> None:
    longer = {"name": "f_m", "type": "int64", "aggregation": {"function": "count", "window": "30d"}}
    assert load(changed(columns=[*changed()["columns"], longer]), sql=None).window_days == 30


def test_another_feature_set_is_refused_with_both_names() -> None:
    assert faults_of(MINIMAL, sql="SELECT 1", expected_name="shop_features") == (
        "feature_set: found 'user_features', expected 'shop_features', the feature set it was loaded as",
    )


def test_all_faults_of_a_file_are_reported_together() -> None:
    document = changed(
        version="",
        nope=1,
        primary_keys=["user_id", "shop"],
        columns=[
            {"name": "user_id", "type": "int65"},
            {"name": "user_id", "type": "int64", "colour": "red"},
            {"name": "f", "type": "string", "aggregation": {"function": "count", "window": "1 week"}},
        ],
    )
    found = faults_of(document)
    types = "int32, int64, float32, float64, bool, string, bytes, timestamp, date or list<one of these>"
    assert f"columns[0] (user_id).type: found type 'int65', expected one of {types}" in found
    assert "columns[1] (user_id).colour: unknown key; expected only documented keys" in found
    assert "columns[2] (f).aggregation.window: expected whole days from '1d' to '3660d', found '1 week'" in found
    assert "nope: unknown key; expected only documented keys" in found
    assert "columns: 'user_id' stands 2 times; expected each name once" in found
    assert any(fault.startswith("primary_keys: 'shop' is not a column; expected one of user_id") for fault in found)
    assert "columns (f): count cannot fill type 'string'; expected one of int32, int64" in found


NAME = "a name of lower-case letters, digits and underscores that starts with a letter, at most 63 characters"


@pytest.mark.parametrize("name", ["../x", "a/b", "a.b", "A", "", "a\n", "1a", "a" * 64])
def test_an_unsafe_name_is_refused(name: str) -> None:
    assert f"feature_set: found {name!r}, expected {NAME}" in faults_of(changed(feature_set=name))


@pytest.mark.parametrize("name", ["latest", "events", "as_of"])
def test_a_reserved_name_is_refused(name: str) -> None:
    assert f"feature_set: {name!r} is reserved; expected another name" in faults_of(changed(feature_set=name))


def aggregated(function: str, kind: str, **aggregation: Any) -> dict[str, Any]:
    return {"name": "f", "type": kind, "aggregation": {"function": function, "window": "7d", **aggregation}}


def derived(expression: str) -> dict[str, Any]:
    return {"name": "f", "type": "float64", "expression": expression}


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        (
            {"name": "f", "type": "float64"},
            "columns (f): says nothing about how it is computed; expected an 'aggregation', an 'expression' or a",
        ),
        (aggregated("sum", "int64"), "columns (f).aggregation: sum needs the event column"),
        (aggregated("mean", "float64", column=None), "columns (f).aggregation: mean needs the event column"),
        (aggregated("count", "int64", column="x"), "columns (f).aggregation: count takes no column; expected none, found 'x'"),
        (aggregated("mean", "int64", column="x"), "columns (f): mean cannot fill type 'int64'; expected one of float32, float64"),
        (aggregated("median", "int64"), "columns[2] (f).aggregation.function: found 'median'"),
        (aggregated("count", "int64", where={"a": []}), "columns (f).aggregation.where (a): found [], expected a value"),
        (
            aggregated("count", "int64", where={"a": {"gt": None}, "b": {"ge": 1, "lt": None}}),
            "columns (f).aggregation.where (b): found {'ge': 1, 'lt': None}, expected a value, a list of values or bounds",
        ),
        ({**aggregated("count", "int64"), "name": "f b"}, "columns[2] (f b).name: found 'f b', expected a name"),
    ],
)
def test_a_column_that_cannot_be_computed_says_why(column: dict[str, Any], fault: str) -> None:
    assert any(found.startswith(fault) for found in faults_of(changed(columns=[*MINIMAL["columns"][:2], column])))


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        (derived("f_missing / 2"), "columns (f).expression: 'f_missing' is not an aggregated column of numbers; expected one of f_n"),
        (derived("user_id + 1"), "columns (f).expression: 'user_id' is not an aggregated column of numbers"),
        (derived("f_n +"), "columns (f).expression: found 'f_n +', expected an expression such as 'f_a / f_b' (SyntaxError)"),
        (derived("f_n ** 2"), "columns (f).expression: 'f_n ** 2' is not known; expected + - * /"),
        (derived("f_n % 2"), "columns (f).expression: 'f_n % 2' is not known; expected + - * /"),
        (derived("not f_n"), "columns (f).expression: 'not f_n' is not known"),
        (derived("__import__('os')"), "columns (f).expression: function '__import__' is not known; expected one of abs, floor, min"),
        (derived("f_n.real"), "columns (f).expression: 'f_n.real' is not known"),
        (derived("f_n + 'a'"), "columns (f).expression: found 'a', expected a finite number"),
        (derived("f_n + True"), "columns (f).expression: found True, expected a finite number"),
        (derived("f_n + 1e999"), "columns (f).expression: found inf, expected a finite number"),
        (derived("f_n + 1" + "0" * 400), "columns (f).expression: found"),
        (derived("abs(f_n, 2)"), "columns (f).expression: abs has 2 argument(s); expected 1"),
        (derived("min(f_n)"), "columns (f).expression: min has 1 argument(s); expected 2 to 16"),
        (derived("bucket(f_n, 2, 1)"), "columns (f).expression: the bounds of 'bucket(f_n, 2, 1)' are not numbers that rise"),
        (derived("bucket(f_n, f_n, 1)"), "columns (f).expression: the bounds of 'bucket(f_n, f_n, 1)' are not numbers that rise"),
        (derived("abs(" * 13 + "f_n" + ")" * 13), "columns (f).expression: nests 13 deep, expected at most 12"),
        (
            derived("min(" * 7 + "f_n" + ", 1)" * 7),
            "columns (f).expression: computes with 382 values, expected at most 256: a value counts",
        ),
        (derived("f_n" + "+1" * 256), "columns (f).expression: computes with 257 values, expected at most 256"),
        (derived("f_n / class"), "columns (f).expression: found 'f_n / class', expected an expression such as 'f_a / f_b' ('class' is a"),
        (
            derived("f_n /\n2"),
            "columns (f).expression: found 'f_n /\\n2', expected an expression such as 'f_a / f_b' (it has a line break)",
        ),
        (derived("(" * 300 + "f_n" + ")" * 300), "columns (f).expression: found"),
        (derived("f_n" + "+1" * 600), "columns (f).expression: found 1203 characters, expected at most 1000"),
        ({**derived("f_n"), "type": "string"}, "columns (f): an expression cannot fill type 'string'; expected one of float32"),
        ({**aggregated("count", "int64"), "expression": "f_n"}, "columns (f): has an aggregation and an expression; expected one of them"),
    ],
)
def test_a_derived_column_that_cannot_be_computed_says_why(column: dict[str, Any], fault: str) -> None:
    assert any(found.startswith(fault) for found in faults_of(changed(columns=[*MINIMAL["columns"][:2], COUNT, column])))


def test_long_sums_and_every_bound_of_a_bucket_can_be_computed() -> None:
    bounds = ", ".join(map(str, range(64)))
    for expression in (" + ".join(["f_n"] * 100), f"bucket(coalesce(f_n, 0), {bounds})", "min(max(min(max(f_n, 1), 2), 3), 4)"):
        load(changed(columns=[*MINIMAL["columns"][:2], COUNT, derived(expression)]), sql=None)


def test_a_derived_column_reads_aggregated_ones_and_no_other_derived_one() -> None:
    columns = [*MINIMAL["columns"][:2], COUNT, derived("f_n / 2"), {**derived("f + 1"), "name": "g"}]
    assert faults_of(changed(columns=columns)) == (
        "columns (g).expression: 'f' is not an aggregated column of numbers; expected one of f_n",
    )


@pytest.mark.parametrize("kind", ["string", "date", "timestamp", "bytes", "list<int64>"])
def test_a_bound_that_no_statistic_can_be_held_against_is_refused(kind: str) -> None:
    columns = [*MINIMAL["columns"][:2], {"name": "f", "type": kind, "checks": {"min": 0, "max": 1}}]
    assert faults_of(changed(columns=columns), sql="SELECT 1") == tuple(
        f"columns (f).checks.{said}: found on type {kind!r}; expected a column of float32, float64, int32, int64, bool, or no {said!r}"
        for said in ("min", "max")
    )


@pytest.mark.parametrize("kind", ["bytes", "list<int64>"])
def test_a_share_of_different_values_that_nobody_counts_is_refused(kind: str) -> None:
    columns = [*MINIMAL["columns"][:2], {"name": "f", "type": kind, "checks": {"min_distinct_ratio": 0.5}}]
    assert faults_of(changed(columns=columns), sql="SELECT 1") == (
        f"columns (f).checks.min_distinct_ratio: different values of type {kind!r} are not counted; expected another type, or none",
    )


@pytest.mark.parametrize(("key", "entity"), [("_id", ""), ("_User", "_user")])
def test_a_key_that_gives_no_name_of_an_entity_asks_for_one(key: str, entity: str) -> None:
    document = {**MINIMAL, "primary_keys": [key], "columns": [{"name": key, "type": "int64"}]}
    assert faults_of(document, sql="SELECT 1") == (
        f"entity: missing, and key {key!r} gives {entity!r}; expected 'entity' to name it, beginning with a letter",
    )
    assert load({**document, "entity": "user"}).entity == "user"


def test_an_aggregation_beside_a_sql_transform_is_refused() -> None:
    assert faults_of(changed(), sql="SELECT 1") == (
        "columns (f_n): has an aggregation although a SQL transform is delivered; expected one or the other",
    )


def test_a_key_is_neither_a_float_nor_aggregated() -> None:
    document = changed(columns=[{**COUNT, "name": "user_id", "type": "float64"}])
    assert "primary_keys: 'user_id' has type 'float64'; expected one of int32, int64, string" in faults_of(document)
    assert "columns (user_id): a key or the event timestamp is not computed; expected no 'aggregation'" in faults_of(document)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "expected a JSON object, found: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[]", "expected an object, found list"),
        ('{"a": 1, "a": 2}', "key 'a' stands twice in one object; expected once"),
        ('{"a": NaN}', "expected a JSON object, found: NaN is not JSON"),
    ],
)
def test_what_is_not_one_json_object_is_refused_by_file(text: str, fault: str) -> None:
    with pytest.raises(ContractError, match=r"^f\.schema\.json ") as caught:
        load_contract(text, file="f.schema.json")
    assert caught.value.faults == (fault,)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"timestamp_field": ["x"]}, "timestamp_field: found ['x'], expected a valid string"),
        ({"feature_set": []}, "feature_set: found [], expected a valid string"),
        ({"primary_keys": [["user_id"]]}, "primary_keys[0]: found ['user_id'], expected a valid string"),
        ({"checks": {"max_null_ratio": False}}, "checks.max_null_ratio: found False, expected"),
        ({"checks": {"max_null_ratio": [{}]}}, "checks.max_null_ratio: found [{}], expected"),
        ({"columns": [{"name": [], "type": "int64"}]}, "columns[0].name: found [], expected a valid string"),
        ({"columns": [{**COUNT, "aggregation": {"function": [], "window": "7d"}}]}, "columns[0] (f_n).aggregation.function: found []"),
        ({"primary_keys": ["event_timestamp"]}, "timestamp_field: 'event_timestamp' is a primary key; expected another column"),
        ({"ttl": "1\u0663d"}, "ttl: expected a whole number followed by d, h, m or s"),
    ],
)
def test_a_wrong_kind_of_value_is_a_fault_at_its_place(fields: dict[str, Any], fault: str) -> None:
    assert [found for found in faults_of(changed(**fields)) if found.startswith(fault)]


def test_names_that_differ_in_case_alone_are_refused() -> None:
    columns = [*changed()["columns"], {**COUNT, "name": "F_N"}]
    assert "columns: 'f_n' and 'F_N' differ in case alone; expected names that differ otherwise" in faults_of(changed(columns=columns))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"checks": {"max_drift_psi": 1e400}}', "expected a JSON object, found: '1e400' is too great a number"),
        ('{"owner": "\\ud800"}', r"owner: found '\ud800', expected text without lone surrogates"),
        ('{"\\udfff": 1}', r"'\udfff': found '\udfff', expected text without lone surrogates"),
        ('{"a": ' * 70 + "1" + "}" * 70, "a.a.a…: nested more than 64 deep; expected a flat document"),
        ('{"a": ' * 100_000, "expected a JSON object, found:"),
        (f'{{"a": {"9" * 5000}}}', "expected a JSON object, found: Exceeds the limit"),
    ],
)
def test_what_no_document_can_hold_is_refused_by_place(text: str, fault: str) -> None:
    with pytest.raises(ContractError) as caught:
        load_contract(text, file="f.schema.json")
    assert caught.value.faults[0].startswith(fault)
