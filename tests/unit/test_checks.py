"""The blocking checks of a version: literal cases, and what must hold of the stability index for any two distributions."""

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.core.deviation import failures
from feature_platform.core.versions import checks
from feature_platform.core.versions.log import History, Version
from feature_platform.core.versions.version_metadata import VersionMetadata, parse_metadata

COLUMNS = [
    {"name": "user_id", "type": "int64"},
    {"name": "event_timestamp", "type": "timestamp"},
    {"name": "f_count", "type": "int64", "checks": {"min": 0, "max": 100}},
    {"name": "f_mean", "type": "float64"},
    {"name": "f_name", "type": "string"},
]
FINITE = st.floats(-1e12, 1e12)
QUANTILES = st.lists(FINITE, min_size=2, max_size=101).map(sorted)


def contract(**asked: Any) -> Contract:
    document = {"feature_set": "fs", "version": "v1", "primary_keys": ["user_id"], "columns": COLUMNS, "checks": asked}
    return load_contract(json.dumps(document), file="fs.schema.json", sql="SELECT 1")


def metadata(*, rows: int = 10, missing: tuple[str, ...] = (), **columns: dict[str, Any]) -> VersionMetadata:
    empty: dict[str, Any] = {"nulls": 0, "min": None, "max": None, "quantiles": None}
    document = {
        "feature_set": "fs", "version": "v_20260115T000000", "generated_at": "2026-01-15T01:00:00Z", "as_of": "2026-01-15T00:00:00Z",
        "source": [], "pipeline": "feature_platform", "schema_hash": "s", "content_hash": "c", "feature_uri": "s3://b/fs/", "files": {},
        "row_count": rows, "window": {"partitions": [], "missing": list(missing)},
        "statistics": {str(column["name"]): {**empty, **columns.get(str(column["name"]), {})} for column in COLUMNS},
    }  # fmt: skip
    return parse_metadata(json.dumps(document).encode(), uri="s3://b/fs/metadata.json")


def faults(asked: Contract, now: VersionMetadata, *, before: VersionMetadata | None = None) -> list[str]:
    return failures(checks.evaluate(asked, now, reference=before))


def test_every_check_is_evaluated_in_the_order_of_its_name() -> None:
    results = checks.evaluate(contract(), metadata(), reference=None)
    assert [result.name for result in results] == [
        "row_count",
        "null_ratio",
        "value_bounds",
        "uniqueness",
        "drift",
        "history",
        "source_day",
    ]
    assert list(checks.NAMES) == list(checks.DESCRIPTIONS) == [result.name for result in results]
    assert not any(result.faults for result in results)


@pytest.mark.parametrize(("rows", "told"), [(3, []), (2, ["row_count: found 2 rows, expected at least 3"])])
def test_a_version_needs_so_many_rows(rows: int, told: list[str]) -> None:
    assert faults(contract(min_rows=3), metadata(rows=rows)) == told


def test_an_empty_version_passes_only_where_the_contract_allows_it() -> None:
    assert faults(contract(min_rows=0, max_null_ratio={"f_mean": 0.0}), metadata(rows=0)) == []
    assert faults(contract(), metadata(rows=0)) == ["row_count: found 0 rows, expected at least 1"]


@pytest.mark.parametrize(
    ("nulls", "told"), [(2, []), (3, ["null_ratio: column 'f_mean' is null in 30.0% of rows, expected at most 20.0%"])]
)
def test_nulls_are_bounded_column_by_column(nulls: int, told: list[str]) -> None:
    assert faults(contract(max_null_ratio={"f_mean": 0.2}), metadata(f_mean={"nulls": nulls}, f_name={"nulls": 10})) == told


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"min": 0, "max": 100}, []),
        ({"min": -1, "max": 50}, ["value_bounds: column 'f_count' has minimum -1, expected at least 0"]),
        ({"min": 0, "max": 101}, ["value_bounds: column 'f_count' has maximum 101, expected at most 100"]),
        ({"min": None, "max": None, "nulls": 10}, []),
    ],
)
def test_bounds_are_inclusive_and_nulls_have_none(found: dict[str, Any], told: list[str]) -> None:
    assert faults(contract(), metadata(f_count=found)) == told


def test_a_version_that_another_contract_built_with_texts_lies_within_no_bounds() -> None:
    assert faults(contract(), metadata(f_count={"min": "a", "max": "b"})) == [
        "value_bounds: column 'f_count' holds no numbers in the version, which another contract built; expected them"
    ]


def test_drift_names_the_column_the_index_and_what_it_was_compared_with() -> None:
    before, now = metadata(f_count={"quantiles": [0, 1, 2, 3, 4]}), metadata(f_count={"quantiles": [10, 11, 12, 13, 14]})
    told = faults(contract(max_drift_psi=0.25), now, before=before)
    assert len(told) == 1
    assert told[0].startswith("drift: column 'f_count' has index ")
    assert told[0].endswith(" against v_20260115T000000, expected at most 0.25")
    assert faults(contract(max_drift_psi=0.25), before, before=before) == []


@pytest.mark.parametrize(
    ("asked", "before", "missing", "note"),
    [
        ({}, True, (), ""),
        ({"max_drift_psi": 0.25}, False, (), "not judged: no version of an earlier moment can be read"),
        ({"max_drift_psi": 0.25}, True, ("2026-01-10",), "not judged: the window of v_20260115T000000 lacks 2026-01-10"),
    ],
    ids=["not asked", "nothing before", "window filled in part"],
)
def test_drift_is_not_judged_where_there_is_nothing_comparable_and_says_so(
    asked: dict[str, Any], before: bool, missing: tuple[str, ...], note: str
) -> None:
    now = metadata(f_count={"quantiles": [10, 11]}, missing=missing)
    results = checks.evaluate(contract(**asked), now, reference=metadata(f_count={"quantiles": [0, 1]}) if before else None)
    drift = next(result for result in results if result.name == "drift")
    assert (drift.name, drift.faults, drift.note) == ("drift", (), note)


@pytest.mark.parametrize(("policy", "named"), [(None, True), ("warn", True), ("refuse", True), ("allow", False)])
def test_a_missing_day_is_named_unless_the_contract_allows_it_and_never_blocks(policy: str | None, named: bool) -> None:
    document = {**contract().document, **({"missing_days": policy} if policy else {})}
    asked = load_contract(json.dumps(document), file="fs.schema.json", sql="SELECT 1")
    assert (asked.schema_hash == contract().schema_hash) == (policy is None)
    now = metadata(missing=("2026-01-13",))
    assert not checks.missing_days(asked, metadata()).faults
    assert checks.missing_days(asked, now).faults == (("the window lacks 2026-01-13; the rows rest on 0 of 1 days",) if named else ())
    assert faults(asked, now) == []


def test_drift_looks_at_numbers_only_and_forgives_a_column_that_is_new_or_all_null() -> None:
    before = metadata(f_name={"quantiles": [0, 1]}, event_timestamp={"quantiles": [0, 1]}, f_mean={"quantiles": None})
    now = metadata(f_name={"quantiles": [8, 9]}, event_timestamp={"quantiles": [8, 9]}, f_mean={"quantiles": [1.0, 2.0]})
    del before.statistics["f_count"]
    assert faults(contract(max_drift_psi=0.01), now, before=before) == []


def version(name: str, *, day: int, sequence: int, is_expired: bool = False) -> Version:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
    return Version(name, moment, sequence, "hash", "content", name, {}, moment, "test", is_expired)


def history(*versions: Version) -> History:
    return History(records=(), versions={v.version: v for v in versions}, expired=frozenset(), head=None, floor=None)


def test_drift_is_measured_against_the_newest_correction_of_the_moment_before() -> None:
    a, b, corrected = version("a", day=1, sequence=1), version("b", day=2, sequence=2), version("b2", day=2, sequence=5)
    gone, judged = version("gone", day=3, sequence=3, is_expired=True), version("judged", day=4, sequence=4)
    later = version("later", day=5, sequence=6)
    assert checks.reference_of(history(a, b, corrected, gone, judged, later), judged) == corrected
    assert checks.reference_of(history(corrected, b), corrected) is None
    assert checks.reference_of(history(a, judged), judged) == a


@pytest.mark.parametrize(
    ("reference", "current", "index"),
    [
        # One bin edge at 1: a half and a half become a quarter and three quarters.
        ([0, 1, 2], [0, 2, 2], 0.25 * math.log(2) + 0.25 * math.log(1.5)),
        # Everything left its bin: (1 - 0.0001) times ln(0.0001) twice, over two bins with the smallest share.
        ([0, 1, 2], [5, 6, 7], (0.5 - 1e-4) * math.log(0.5 / 1e-4) + 0.5 * math.log(2)),
        # A constant makes one bin below and one above itself.
        ([7, 7, 7], [7, 7, 7], 0.0),
    ],
)
def test_the_index_of_small_distributions(reference: list[float], current: list[float], index: float) -> None:
    assert checks.stability_index(reference, current) == pytest.approx(index, rel=1e-9, abs=1e-12)


@given(QUANTILES)
def test_a_distribution_has_no_distance_from_itself(quantiles: list[float]) -> None:
    assert checks.stability_index(quantiles, quantiles) == 0.0


@given(QUANTILES, QUANTILES)
def test_the_index_is_finite_and_never_negative(reference: list[float], current: list[float]) -> None:
    index = checks.stability_index(reference, current)
    assert 0.0 <= index < 100
    assert math.isfinite(index)


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=50).map(sorted), st.integers(-1000, 1000), st.sampled_from([1, 2, 4, 8]))
def test_the_index_does_not_depend_on_unit_or_origin(quantiles: list[int], origin: int, unit: int) -> None:
    moved = [quantile * 2 + 1 for quantile in quantiles]
    there = checks.stability_index([q * unit + origin for q in quantiles], [m * unit + origin for m in moved])
    assert there == pytest.approx(checks.stability_index(quantiles, moved), rel=1e-9, abs=1e-9)
