"""A feature set that reads another set's versions: which it reads, what it records, when it is rebuilt, proved, kept; and cycles."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from feature_platform.adapters.contract_files import load_catalog
from feature_platform.core.layout import as_of
from feature_platform.core.publishing.retention import Policy
from feature_platform.core.versions.version_metadata import VersionMetadata
from feature_platform.defs import automation, jobs
from feature_platform.errors import ContractError, NotFoundError, StorageError
from feature_platform.use_cases.build import build
from feature_platform.use_cases.commit import commit
from feature_platform.use_cases.currency import look
from feature_platform.use_cases.preview import preview
from feature_platform.use_cases.promote import move_latest
from feature_platform.use_cases.reproduce import reproduce
from feature_platform.use_cases.retain import collect, survey
from feature_platform.wiring import Platform
from tests.orchestration.test_several_sources import DAYS, UPSTREAM, delivered
from tests.support.example_sets import example_contracts
from tests.support.platforms import MainJob, put_events

pytestmark = pytest.mark.slow

NAME, READ = "spending_rank_features", "user_features"
TODAY = date(2026, 1, 13)


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return delivered(tmp_path)


def committed(platform: Platform, day: str, feature_set: str, *, run: str = "") -> VersionMetadata:
    contract = platform.catalog.contract(feature_set)
    built = build(platform, contract, day, run_id=f"{day}{run}", on_validated=lambda _: None)
    return commit(platform, feature_set, day, built).metadata


def values(platform: Platform, described: VersionMetadata) -> dict[int, tuple[Any, ...]]:
    table = platform.feature_sets.load(described.feature_set, described.version)
    return {row["user_id"]: (row["f_country"], row["f_spent_28d"], row["f_rank_in_country"]) for row in table.to_pylist()}


def test_the_newest_version_as_of_the_moment_is_read_and_recorded(platform: Platform) -> None:
    with pytest.raises(NotFoundError, match="spending_rank_features reads 'user_features', which has no version as of 2026-01-13"):
        committed(platform, DAYS[2], NAME)
    read = [committed(platform, day, READ) for day in DAYS]
    described = committed(platform, DAYS[1], NAME)
    (item,) = described.inputs
    assert (item.feature_set, item.version, item.content_hash) == (READ, read[1].version, read[1].content_hash)
    assert values(platform, committed(platform, DAYS[2], NAME)) == {2: ("PL", 21.0, 0.0), 3: (None, 5.0, 0.0)}
    assert preview(platform, platform.catalog.contract(NAME), DAYS[2]).table.num_rows == 2


def test_a_version_that_its_checks_keep_back_is_passed_over_until_somebody_promotes_it(platform: Platform) -> None:
    good, bad = (committed(platform, day, READ) for day in DAYS[:2])
    strict = platform.catalog.contract(READ)
    checks = strict.checks.model_copy(update={"min_rows": 3})
    platform.catalog.contracts[READ] = strict.model_copy(update={"checks": checks})
    assert good.row_count == bad.row_count == 2
    with pytest.raises(NotFoundError, match="passed its checks"):
        committed(platform, DAYS[1], NAME)
    platform.feature_sets.promote(READ, good.version, actor="me", reason="two users are all there are")
    assert [item.version for item in committed(platform, DAYS[1], NAME).inputs] == [good.version]


def test_a_correction_that_its_checks_keep_back_leaves_what_is_latest_to_be_read(platform: Platform) -> None:
    served = [committed(platform, day, READ) for day in DAYS[:2]][-1]
    move_latest(platform, platform.catalog.contract(READ), actor="me", log=lambda _: None)
    strict = platform.catalog.contract(READ)
    platform.catalog.contracts[READ] = strict.model_copy(update={"checks": strict.checks.model_copy(update={"min_rows": 3})})
    put_events(platform, DAYS[1], users=(1, 2), country="DE")
    assert committed(platform, DAYS[1], READ, run="again").version != served.version
    assert [item.version for item in committed(platform, DAYS[1], NAME).inputs] == [served.version]


def test_a_set_is_refreshed_after_the_sets_that_it_reads(platform: Platform) -> None:
    names = platform.catalog.in_build_order()
    assert names.index(READ) < names.index(NAME)
    assert sorted(names) == sorted(platform.catalog.contracts)


def test_a_version_that_a_rollback_went_back_from_is_not_read(platform: Platform) -> None:
    first, second = (committed(platform, day, READ) for day in DAYS[:2])
    move_latest(platform, platform.catalog.contract(READ), actor="me", log=lambda _: None)
    platform.feature_sets.rollback(READ, first.version, actor="me", reason="wrong")
    assert platform.feature_sets.history(READ).versions.keys() == {first.version, second.version}
    assert [item.version for item in committed(platform, DAYS[1], NAME).inputs] == [first.version]


def test_a_correction_of_what_was_read_rebuilds_and_equal_rows_do_not(platform: Platform) -> None:
    committed(platform, DAYS[0], READ)
    before = committed(platform, DAYS[0], NAME)
    contract = platform.catalog.contract(NAME)
    assert look(platform, contract, today=date(2026, 1, 11), days=7).to_build == []
    put_events(platform, DAYS[0], users=(1, 2), country="DE")
    committed(platform, DAYS[0], READ, run="again")
    found = look(platform, contract, today=date(2026, 1, 11), days=7)
    assert [(item.partition, item.why, item.is_buildable) for item in found.to_build] == [
        (DAYS[0], "user_features@2026-01-10 (changed)", True)
    ]

    def clock() -> datetime:
        return datetime(2026, 1, 11, 6, tzinfo=UTC)

    sensor = automation.raw_sensor(platform.catalog, job=jobs.features_job(platform.first_day), settings=platform.settings, clock=clock)
    with dg.DagsterInstance.ephemeral() as instance:
        asked = sensor(dg.build_sensor_context(instance=instance), platform=platform)
    assert DAYS[0] in [one.partition_key for one in asked.run_requests if one.asset_selection[0] == dg.AssetKey(NAME)]
    after = committed(platform, DAYS[0], NAME, run="again")
    assert after.version != before.version
    assert {country for country, *_ in values(platform, after).values()} == {"DE", None}
    assert look(platform, contract, today=date(2026, 1, 11), days=7).to_build == []
    assert committed(platform, DAYS[0], NAME, run="a third time").version == after.version


def test_reproduction_reads_what_was_read_then_and_says_when_that_is_gone_or_another(platform: Platform) -> None:
    (read, described), contract = [committed(platform, DAYS[0], name) for name in (READ, NAME)], platform.catalog.contract(NAME)
    put_events(platform, DAYS[0], users=(1, 2), country="DE")
    committed(platform, DAYS[0], READ, run="again")
    assert reproduce(platform, contract, described.version).is_reproduced
    uri = f"{platform.feature_sets.layout(READ).version(read.version)}features.parquet"
    body = platform.objects.get(uri)
    assert body is not None
    platform.objects.put(uri, body.body + b"x", write_id="damage", sha256=None, condition=None)
    with pytest.raises(StorageError, match="is not the file that was committed"):
        reproduce(platform, contract, described.version)
    platform.objects.delete(uri)
    with pytest.raises(NotFoundError, match="is gone"):
        reproduce(platform, contract, described.version)


def test_retention_keeps_what_a_living_version_was_computed_from(platform: Platform) -> None:
    reads = [committed(platform, day, READ) for day in DAYS]
    committed(platform, DAYS[0], NAME)
    move_latest(platform, platform.catalog.contract(READ), actor="me", log=lambda _: None)
    policy = Policy(keep_newest=1, keep_days=0, grace_s=0, leftover_age=timedelta())
    assert [item.version for item in survey(platform, READ, policy=policy)] == [reads[1].version]
    swept = collect(platform, READ, policy=policy, actor="me")
    assert [item.version for item in swept.deleted] == [reads[1].version]


def test_one_job_builds_both_in_order_and_the_graph_shows_the_dependency(platform: Platform, instance: dg.DagsterInstance) -> None:
    only = [*UPSTREAM, READ, f"{READ}_tiles", f"{READ}_latest", NAME, f"{NAME}_latest"]
    job = MainJob(platform, instance=instance, only=only)
    run = job.run(DAYS[0], until=DAYS[2])
    assert run.success, run.failure
    assert run.partitions(NAME)[DAYS[1]]["inputs"] == f"user_features {job.version_of(DAYS[1])}"
    parents = {key.to_user_string() for key in job.definitions.resolve_asset_graph().get(dg.AssetKey(NAME)).parent_keys}
    assert parents == {"validated_payments", READ}
    assert [v.as_of for v in platform.feature_sets.history(NAME).live] == [as_of(day) for day in DAYS]


def changed(contracts: Path, name: str, **keys: Any) -> Mapping[str, Any]:
    file = contracts / f"{name}.schema.json"
    document: dict[str, Any] = {**json.loads(file.read_text()), **keys}
    file.write_text(json.dumps(document))
    return document


@pytest.mark.parametrize(
    ("name", "read", "fault"),
    [
        (
            "payment_rhythm_features",
            [NAME],
            "feature_sets: payment_rhythm_features reads spending_rank_features reads payment_rhythm_features",
        ),
        (NAME, [NAME], f"feature_sets: {NAME} reads {NAME}"),
        (NAME, ["no_features"], "feature_sets: 'no_features' has no contract; expected no_features.schema.json beside it"),
        (NAME, [READ, READ], "feature_sets: 'user_features' stands 2 times; expected once"),
        ("merchant_features", [READ], "feature_sets: only a SQL transform reads other sets"),
    ],
)
def test_a_cycle_and_a_set_that_is_not_there_are_refused_when_contracts_are_loaded(
    tmp_path: Path, name: str, read: list[str], fault: str
) -> None:
    contracts = example_contracts(tmp_path)
    changed(contracts, NAME, feature_sets=["payment_rhythm_features"])
    changed(contracts, name, feature_sets=read)
    with pytest.raises(ContractError) as caught:
        load_catalog(contracts)
    assert [found for found in caught.value.faults if fault in found] != [], caught.value.faults
    assert len(caught.value.faults) == 1


def test_a_set_that_reads_no_others_records_no_inputs(platform: Platform) -> None:
    assert committed(platform, DAYS[0], READ).document["input_versions"] == []
