"""Feature sets of several sources, and the examples that ship: built, rebuilt when a source is corrected, planned, reproduced."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from feature_platform.adapters.contract_check import check_catalog
from feature_platform.adapters.online_store.memory import MemoryOnlineStore
from feature_platform.core.layout import as_of
from feature_platform.core.versions.version_metadata import VersionMetadata
from feature_platform.defs import automation, jobs
from feature_platform.errors import ContractError, InvalidDataError, NotFoundError
from feature_platform.use_cases.backfill import backfill, plan_backfill
from feature_platform.use_cases.build import build
from feature_platform.use_cases.contracts import changes_since
from feature_platform.use_cases.currency import look
from feature_platform.use_cases.health import Judged
from feature_platform.use_cases.health import health as health_of
from feature_platform.use_cases.preview import preview
from feature_platform.use_cases.promote import move_latest
from feature_platform.use_cases.reproduce import reproduce
from feature_platform.wiring import Platform
from tests.support.example_sets import example_contracts, put_payments
from tests.support.platforms import MainJob, memory_platform, put_events

DAYS = ("2026-01-10", "2026-01-11", "2026-01-12")
NAME = "user_value_features"
UPSTREAM = [f"{stage}_{source}" for source in ("events", "payments") for stage in ("raw", "validated")]


def delivered(tmp_path: Path, *, contracts: Path | None = None) -> Platform:
    """Users 1 and 2 do something each day; 2 and 3 pay on the first and the last day."""
    platform = memory_platform(tmp_path, contracts=contracts or example_contracts(tmp_path), online=MemoryOnlineStore())
    for day in DAYS:
        put_events(platform, day, users=(1, 2))
        put_payments(platform, day, [(2, 10.0), (3, 2.5)] if day != DAYS[1] else [(2, 1.0)])
    return platform


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return delivered(tmp_path)


def filled(platform: Platform, feature_set: str = NAME) -> None:
    contract = platform.catalog.contract(feature_set)
    plan = plan_backfill(platform, contract, first=date(2026, 1, 10), last=date(2026, 1, 12))
    done = backfill(platform, contract, plan, run_id="test", actor="me", log=lambda _: None)
    assert [one.fault for one in done] == [None] * len(done)


def newest(platform: Platform, day: str, feature_set: str = NAME) -> VersionMetadata:
    found = platform.feature_sets.history(feature_set).newest_of(as_of(day))
    assert found is not None
    return platform.feature_sets.metadata(feature_set, found.version)


def rows(platform: Platform, day: str, feature_set: str = NAME) -> list[dict[str, Any]]:
    table = platform.feature_sets.load(feature_set, newest(platform, day, feature_set).version)
    return [{name: value for name, value in row.items() if name != "event_timestamp"} for row in table.to_pylist()]


def test_a_row_for_each_key_that_any_source_has_with_zeros_and_nulls_for_what_one_lacks(platform: Platform) -> None:
    filled(platform)
    nobody = {"f_last_country": None, "f_spent_28d": None, "f_spent_7d": None}
    assert rows(platform, DAYS[2]) == [
        {"user_id": 1, "f_events_7d": 3, **nobody, "f_last_country": "PL", "f_spent_per_event_7d": 0.0},
        {"user_id": 2, "f_events_7d": 3, "f_last_country": "PL", "f_spent_28d": 21.0, "f_spent_7d": 21.0, "f_spent_per_event_7d": 7.0},
        {"user_id": 3, "f_events_7d": 0, **nobody, "f_spent_28d": 5.0, "f_spent_7d": 5.0, "f_spent_per_event_7d": None},
    ]


def test_metadata_says_of_each_day_which_source_it_is_of(platform: Platform) -> None:
    filled(platform)
    described = newest(platform, DAYS[1])
    assert list(described.partitions) == [f"{source}/{day}" for source in ("events", "payments") for day in DAYS[:2]]
    assert {item.partition: item.uri.split("memory/")[1] for item in described.sources}["payments/2026-01-11"] == (
        "raw_uri/payments/dt=2026-01-11/paid.jsonl"
    )
    assert described.source_hash is None
    for name in ("events", "payments"):
        assert described.source_hash_of(name) == platform.catalog.sources[name].schema_hash


def test_a_day_is_built_when_each_source_delivered_it_and_other_days_follow_the_rule_for_missing_ones(tmp_path: Path) -> None:
    platform = memory_platform(tmp_path, contracts=example_contracts(tmp_path), online=MemoryOnlineStore())
    contract = platform.catalog.contract(NAME)
    for day in DAYS:
        put_events(platform, day)
    with pytest.raises(NotFoundError, match="source 'payments' has no raw objects for that day"):
        build(platform, contract, DAYS[2], run_id="test", on_validated=lambda _: None)
    plan = plan_backfill(platform, contract, first=date(2026, 1, 10), last=date(2026, 1, 12))
    assert (plan.to_build, {day.why for day in plan.days}) == ([], {"never built"})
    put_payments(platform, DAYS[2], [(1, 1.0)])
    built = build(platform, contract, DAYS[2], run_id="test", on_validated=lambda _: None)
    assert built.provenance.missing_partitions == ["payments/2026-01-10", "payments/2026-01-11"]
    strict = contract.model_copy(update={"missing_days": "refuse"})
    with pytest.raises(InvalidDataError, match="the window lacks payments/2026-01-10, payments/2026-01-11 of source 'payments'"):
        build(platform, strict, DAYS[2], run_id="test", on_validated=lambda _: None)
    assert preview(platform, contract, DAYS[2]).missing[-2:] == ["payments/2026-01-10", "payments/2026-01-11"]


@pytest.mark.parametrize("source", ["events", "payments"])
def test_a_corrected_day_of_either_source_is_found_and_rebuilt_by_the_sensor(platform: Platform, source: str) -> None:
    filled(platform)
    contract = platform.catalog.contract(NAME)
    assert look(platform, contract, today=date(2026, 1, 13), days=7).to_build == []
    if source == "events":
        put_events(platform, DAYS[1], users=(1, 2, 7))
    else:
        put_payments(platform, DAYS[1], [(7, 1.0)], status="refunded")
    found = look(platform, contract, today=date(2026, 1, 13), days=7)
    assert [(item.partition, item.why) for item in found.to_build] == [(day, f"{source}/2026-01-11 (changed)") for day in DAYS[1:]]
    assert {item.is_buildable for item in found.to_build} == {True}

    def clock() -> datetime:
        return datetime(2026, 1, 13, 6, tzinfo=UTC)

    sensor = automation.raw_sensor(platform.catalog, job=jobs.features_job(platform.first_day), settings=platform.settings, clock=clock)
    with dg.DagsterInstance.ephemeral() as instance:
        asked = sensor(dg.build_sensor_context(instance=instance), platform=platform)
    (request,) = [one for one in asked.run_requests if one.asset_selection[0] == dg.AssetKey(NAME)]
    assert request.tags["dagster/asset_partition_range_start"] == DAYS[1]
    filled(platform)
    assert 7 in [row["user_id"] for row in rows(platform, DAYS[1])]
    assert look(platform, contract, today=date(2026, 1, 13), days=7).to_build == []


def test_a_day_that_one_source_took_back_cannot_be_built_and_is_said(platform: Platform) -> None:
    filled(platform)
    platform.objects.delete(f"{platform.settings.raw_uri}/payments/dt={DAYS[2]}/paid.jsonl")
    (item,) = look(platform, platform.catalog.contract(NAME), today=date(2026, 1, 13), days=7).to_build
    assert (item.why, item.is_buildable) == ("payments/2026-01-12 (vanished)", False)


def test_tiles_and_events_of_each_source_give_one_content_hash_and_the_version_reproduces(platform: Platform) -> None:
    contract = platform.catalog.contract(NAME)
    for day in DAYS:
        put_payments(platform, day, [(2, 10.0)] * 20)
    cold = build(platform, contract, DAYS[2], run_id="cold", on_validated=lambda _: None)
    assert not cold.window.from_tiles
    filled(platform)
    warm = build(platform, contract, DAYS[2], run_id="warm", on_validated=lambda _: None, versions=2)
    assert warm.window.told.startswith("tiles: events by events: tiles have 100%")
    assert warm.window.told.endswith("; payments by tiles: 3 of 3 days had tiles, and the run builds 2 versions")
    assert cold.table.to_arrow().equals(warm.table.to_arrow())
    found = reproduce(platform, contract, newest(platform, DAYS[2]).version)
    assert (found.is_reproduced, found.findings) == (True, ())


def test_one_job_builds_every_example_and_shows_what_each_rests_on(platform: Platform, instance: dg.DagsterInstance) -> None:
    sets = ["user_features", "merchant_features", "payment_rhythm_features", NAME]
    only = [
        *UPSTREAM,
        *sets,
        *(f"{name}_tiles" for name in sets if name != "payment_rhythm_features"),
        *(f"{name}_latest" for name in sets),
    ]
    job = MainJob(platform, instance=instance, only=only)
    run = job.run(DAYS[0], until=DAYS[2])
    assert run.success, run.failure
    assert {name: platform.feature_sets.history(name).head_version.as_of for name in sets} == dict.fromkeys(sets, as_of(DAYS[2]))  # type: ignore[union-attr]
    graph = job.definitions.resolve_asset_graph()
    parents = {key.to_user_string() for key in graph.get(dg.AssetKey(NAME)).parent_keys}
    assert parents == {"validated_events", "validated_payments", f"{NAME}_tiles"}
    lineage = run.partitions(NAME)[DAYS[2]]["dagster/column_lineage"].deps_by_column
    read = {dep.asset_key.to_user_string() for dep in lineage["f_spent_per_event_7d"]}
    assert read == {"validated_events", "validated_payments"}
    assert rows(platform, DAYS[2], "merchant_features") == [
        {
            "merchant": "Łódź 1", "currency": "PLN", "f_paid_7d": 5, "f_refunded_7d": 0, "f_revenue_7d": 26.0, "f_payers_7d": 2,
            "f_refund_rate_7d": 0.0, "f_size": 0,
        }
    ]  # fmt: skip
    assert rows(platform, DAYS[2], "payment_rhythm_features") == [
        {"user_id": 2, "f_median_amount": 10.0, "f_longest_gap_sec": 86_400, "f_favourite_merchant": "Łódź 1"},
        {"user_id": 3, "f_median_amount": 2.5, "f_longest_gap_sec": 172_800, "f_favourite_merchant": "Łódź 1"},
    ]


def test_one_source_more_is_additive_and_older_versions_are_still_compared_with_what_they_rest_on(tmp_path: Path) -> None:
    contracts = example_contracts(tmp_path)
    file = contracts / f"{NAME}.schema.json"
    both = json.loads(file.read_text())
    del both["sources"]
    own = [{**c, "aggregation": {k: v for k, v in c["aggregation"].items() if k != "source"}} for c in both["columns"][1:3]]
    file.write_text(json.dumps({**both, "source": "events", "columns": [both["columns"][0], *own]}))
    before = memory_platform(tmp_path, contracts=contracts, online=MemoryOnlineStore())
    for day in DAYS:
        put_events(before, day)
        put_payments(before, day, [(2, 1.0)])
    filled(before)
    move_latest(before, before.catalog.contract(NAME), actor="me", log=lambda _: None)

    after = memory_platform(tmp_path, contracts=example_contracts(tmp_path / "after"), store=before.objects, online=MemoryOnlineStore())
    contract = after.catalog.contract(NAME)
    changes = changes_since(after, contract)
    assert changes.kind == "additive"
    assert "source: payments added: its keys become rows too" in [str(change) for change in changes.changes]
    assert look(after, contract, today=date(2026, 1, 13), days=7).to_build == []
    put_events(after, DAYS[0], users=(9,))
    assert {item.why for item in look(after, contract, today=date(2026, 1, 13), days=7).to_build} == {"events/2026-01-10 (changed)"}
    filled(after)
    assert len(rows(after, DAYS[2])) == 4
    assert changes_since(before, contract).changes == ()
    assert changes_since(after, before.catalog.contract(NAME)).kind == "breaking"


def test_a_transform_of_two_sources_sees_a_view_of_each_ones_name(tmp_path: Path) -> None:
    contracts = example_contracts(tmp_path)
    document = {
        "feature_set": "silent_payers", "version": "v1", "primary_keys": ["user_id"], "sources": ["events", "payments"], "window": "7d",
        "columns": [{"name": "user_id", "type": "int64"}, {"name": "f_paid", "type": "float64"}],
    }  # fmt: skip
    (contracts / "silent_payers.schema.json").write_text(json.dumps(document))
    text = "SELECT user_id, sum(amount) AS f_paid FROM payments WHERE user_id NOT IN (SELECT user_id FROM events) GROUP BY user_id"
    (contracts / "silent_payers.sql").write_text(text)
    assert "silent_payers" in check_catalog(contracts).contracts
    platform = delivered(tmp_path, contracts=contracts)
    filled(platform, "silent_payers")
    assert rows(platform, DAYS[2], "silent_payers") == [{"user_id": 3, "f_paid": 5.0}]
    assert reproduce(platform, platform.catalog.contract("silent_payers"), newest(platform, DAYS[2], "silent_payers").version).is_reproduced
    (contracts / "silent_payers.sql").write_text(text.replace("payments", "paymants"))
    with pytest.raises(ContractError, match="paymants"):
        check_catalog(contracts)


def test_checks_of_each_source_are_told_apart(tmp_path: Path) -> None:
    contracts = example_contracts(tmp_path)
    for source in ("events", "payments"):
        file = contracts / f"{source}.source.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "checks": {"max_delay": "1s"}}))
    platform = delivered(tmp_path, contracts=contracts)
    filled(platform)
    judged: Judged = {}
    health = health_of(platform, platform.catalog.contract(NAME), now=as_of(DAYS[2]), judged=judged)
    assert [problem.part for problem in health.problems if problem.code == "warned"] == ["events: freshness", "payments: freshness"]
    names = [check.name for check in health.checks]
    assert len(names) == len(set(names))
