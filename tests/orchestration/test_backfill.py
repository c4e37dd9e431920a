"""A range of days, by one command and by Dagster: what is planned and built, what a second pass leaves alone, who moves latest."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from typer.testing import CliRunner

from feature_platform.adapters.feast.memory import MemoryFeatureRegistry
from feature_platform.adapters.online_store.memory import MemoryOnlineStore
from feature_platform.cli import backfill as command
from feature_platform.cli.app import app
from feature_platform.core.contract.feature_set import load_contract
from feature_platform.core.contract.source import load_source_contract
from feature_platform.core.layout import as_of, version_id
from feature_platform.defs.partitions import RECOMPUTE
from feature_platform.local.services import SHIPPED_CONTRACTS
from feature_platform.use_cases.backfill import BackfillPlan, backfill, plan_backfill
from feature_platform.use_cases.build import build
from feature_platform.use_cases.commit import commit
from feature_platform.use_cases.currency import standing
from feature_platform.wiring import Platform
from tests.support.counting_store import CountingObjectStore
from tests.support.platforms import UPSTREAM, MainJob, memory_platform, put_events

pytestmark = pytest.mark.slow

FIRST = date(2026, 1, 10)
DAYS = [(FIRST + timedelta(days=place)).isoformat() for place in range(5)]


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """Four of five days delivered, none built."""
    online = MemoryOnlineStore()
    platform = memory_platform(tmp_path, start=FIRST, online=online, registry=MemoryFeatureRegistry(online, project="feature_store_local"))
    for day in (DAYS[0], DAYS[1], DAYS[2], DAYS[4]):
        put_events(platform, day)
    return platform


def planned(platform: Platform) -> BackfillPlan:
    return plan_backfill(platform, platform.catalog.contract("user_features"), first=FIRST, last=date.fromisoformat(DAYS[-1]))


def run(platform: Platform, plan: BackfillPlan, *, log: Any = lambda _: None) -> list[tuple[str, str | None]]:
    contract = platform.catalog.contract("user_features")
    return [(one.partition, one.version) for one in backfill(platform, contract, plan, run_id="b", actor="me", log=log)]


def outcomes(plan: BackfillPlan) -> dict[str, str]:
    return {day.partition: day.why if day.is_delivered else f"not delivered, {day.why}" for day in plan.days}


def test_a_plan_says_what_is_built_and_read_and_what_latest_will_be_and_writes_nothing(platform: Platform) -> None:
    plan = planned(platform)
    assert outcomes(plan) == {**dict.fromkeys(DAYS, "never built"), DAYS[3]: "not delivered, never built"}
    assert plan.raw_bytes == sum(info.size_bytes for day in DAYS for info in platform.raw.listed("events", day)) > 0
    assert plan.reads == "each day once, for its tile; windows merge tiles"
    assert plan.latest == f"that of {DAYS[4]} ({version_id(as_of(DAYS[4]))} or a correction of it), if it passes its checks"
    assert platform.feature_sets.history("user_features").live == ()


def test_delivered_days_get_a_version_each_and_latest_moves_once(platform: Platform) -> None:
    built = run(platform, planned(platform))
    assert built == [(day, version_id(as_of(day))) for day in (DAYS[0], DAYS[1], DAYS[2], DAYS[4])]
    history = platform.feature_sets.history("user_features")
    assert history.head is not None
    assert (history.head.version, history.next_sequence) == (version_id(as_of(DAYS[4])), 6)  # four commits, one promotion
    after = planned(platform)
    assert outcomes(after) == {**dict.fromkeys(DAYS, ""), DAYS[3]: "not delivered, never built"}
    assert (after.to_build, after.raw_bytes, after.reads, after.latest) == ([], 0, "nothing", f"stays {version_id(as_of(DAYS[4]))}")


def test_ended_in_between_it_goes_on_with_the_days_that_are_left(platform: Platform) -> None:
    said: list[str] = []

    def stop(line: str) -> None:
        said.append(line)
        if line.startswith("user_features: 3 of 4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(platform, planned(platform), log=stop)
    assert [day.partition for day in planned(platform).to_build] == [DAYS[2], DAYS[4]]
    assert [day for day, _ in run(platform, planned(platform))] == [DAYS[2], DAYS[4]]


def test_another_contract_and_other_raw_data_are_reasons_to_build_a_day_again(platform: Platform, tmp_path: Path) -> None:
    run(platform, planned(platform))
    put_events(platform, DAYS[4], users=(1, 2, 3, 4))
    assert outcomes(planned(platform))[DAYS[4]] == f"raw data changed: {DAYS[4]} (changed)"
    contracts = tmp_path / "contracts"
    contracts.mkdir()
    for file in SHIPPED_CONTRACTS.iterdir():
        (contracts / file.name).write_bytes(file.read_bytes())
    schema = contracts / "user_features.schema.json"
    document = json.loads(schema.read_text())
    document["columns"].append({"name": "f_share", "type": "float64", "expression": "f_purchases_1d / f_total_events_7d"})
    schema.write_text(json.dumps(document))
    later = memory_platform(
        tmp_path, start=FIRST, contracts=contracts, store=platform.objects, online=platform.online, registry=platform.registry
    )
    assert outcomes(planned(later))[DAYS[0]] == "built by another contract"
    built = run(later, planned(later))
    assert [day for day, _ in built] == [DAYS[0], DAYS[1], DAYS[2], DAYS[4]]
    rows = later.feature_sets.load("user_features", str(built[-1][1])).to_pylist()
    assert {row["f_share"] for row in rows} == {0.0}


def test_the_command_plans_builds_and_refuses_a_range_that_has_not_ended(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_platform.cli.backfill.open_platform", lambda: platform)

    def answer(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["backfill", "user_features", *arguments])

    plan = answer(DAYS[0], DAYS[-1], "--plan", "--json")
    assert plan.exit_code == 0, plan.output
    rows = json.loads(plan.stdout)
    assert [row["outcome"] for row in rows] == [*["would be built: never built"] * 3, "not delivered", "would be built: never built"]
    done = answer(DAYS[0], DAYS[-1], "--json")
    assert [row["outcome"] for row in json.loads(done.stdout)] == ["built"] * 4
    assert "expected FIRST not after LAST, and LAST before today (UTC); found 2026-01-12 to 2026-01-10" in answer(DAYS[2], DAYS[0]).output
    assert "expected days as YYYY-MM-DD" in answer("yesterday").output
    assert command.backfill.__doc__


def test_a_backfill_started_anew_computes_no_finished_day_again_unless_asked_and_dagster_has_each_day(tmp_path: Path) -> None:
    store = CountingObjectStore()
    platform = memory_platform(tmp_path, start=FIRST, store=store)
    for day in DAYS[:3]:
        put_events(platform, day)
    with dg.DagsterInstance.ephemeral() as instance:
        job = MainJob(platform, instance=instance, only=UPSTREAM[:3])

        def pass_over(**more: str) -> tuple[set[str], set[str], set[str]]:
            """Days that were computed, days that are new versions, and below which bases something was written."""
            store.calls.clear()
            run = job.run(DAYS[0], until=DAYS[2], tags={"dagster/backfill": "b", **more})
            assert run.success, run.failure
            assert set(run.partitions("validated_events")) == set(DAYS[:3])
            made = run.partitions("user_features")
            assert set(made) == set(DAYS[:3])
            computed = {day for day, facts in made.items() if facts["window_read_from"] != "nothing: unchanged"}
            written = {uri.split("/")[3] for method, uri in store.calls if method == "put"}
            return computed, {day for day, facts in made.items() if facts["is_new"]}, written

        every = set(DAYS[:3])
        assert pass_over() == (every, every, {"work_uri", "feature_base"})
        assert pass_over() == (set(), set(), set())
        assert pass_over(**{RECOMPUTE: "true"}) == (every, set(), {"work_uri"})
        put_events(platform, DAYS[1], users=(7,))
        assert pass_over()[:2] == ({DAYS[1], DAYS[2]}, {DAYS[1], DAYS[2]})


@pytest.mark.parametrize(
    "changed", ["contract", "source contract", "release", "a day of the window came", "its delivery is incomplete", "metadata is gone"]
)
def test_a_version_stands_while_nothing_changed_that_it_follows_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    platform = memory_platform(tmp_path, start=FIRST)
    contract, source = platform.catalog.contract("user_features"), platform.catalog.sources["events"]
    assert standing(platform, contract, DAYS[2]) is None
    put_events(platform, DAYS[2])
    committed = commit(platform, "user_features", DAYS[2], build(platform, contract, DAYS[2], run_id="r", on_validated=lambda _: None))
    found = standing(platform, contract, DAYS[2])
    assert found is not None
    assert (found.version, found.uri, found.is_new) == (committed.version, committed.uri, False)
    if changed == "contract":
        contract = load_contract(json.dumps({**contract.document, "owner": "others"}), file="user_features.schema.json")
    elif changed == "source contract":
        other = load_source_contract(json.dumps({**source.document, "owner": "others"}), file="events.source.json")
        monkeypatch.setitem(platform.catalog.sources, "events", other)
    elif changed == "release":
        monkeypatch.setattr("feature_platform.use_cases.currency.code_version", lambda: "99.0")
    elif changed == "a day of the window came":
        put_events(platform, DAYS[1])
    elif changed == "metadata is gone":
        platform.objects.delete(f"{committed.uri}metadata.json")
    else:
        monkeypatch.setattr("feature_platform.use_cases.validate.incomplete", lambda *_, **__: "not yet")
    assert standing(platform, contract, DAYS[2]) is None


def test_in_a_backfill_of_dagsters_only_the_run_of_the_newest_delivered_day_moves_latest(platform: Platform) -> None:
    platform.objects.delete(f"s3://memory/raw_uri/events/dt={DAYS[4]}/part-0.jsonl")  # the newest day has not come
    with dg.DagsterInstance.ephemeral() as instance:
        of_backfill = PartitionBackfill("b", BulkActionStatus.REQUESTED, from_failure=False, tags={}, backfill_timestamp=0.0)
        instance.add_backfill(of_backfill._replace(partition_names=DAYS))
        job = MainJob(platform, instance=instance, only=UPSTREAM)

        def moved(day: str) -> tuple[bool, str | None, str]:
            run = job.run(day, tags={"dagster/backfill": "b"})
            return run.success, job.latest(), run.summary("user_features_latest").get("outcome", "not run")

        assert moved(DAYS[1]) == (True, None, "skipped")
        assert moved(DAYS[2]) == (True, version_id(as_of(DAYS[2])), "succeeded")
        assert moved(DAYS[0]) == (True, version_id(as_of(DAYS[2])), "skipped")
        assert instance.fetch_observations(dg.AssetKey("user_features_latest"), limit=5).records[0].asset_observation is not None


@pytest.mark.parametrize("ended", ["the run failed", "the backfill was ended"])
def test_where_the_newest_day_does_not_come_any_more_another_run_of_the_backfill_moves_latest(platform: Platform, ended: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        status = BulkActionStatus.CANCELED if ended == "the backfill was ended" else BulkActionStatus.REQUESTED
        of_backfill = PartitionBackfill("b", status, from_failure=False, tags={}, backfill_timestamp=0.0)
        instance.add_backfill(of_backfill._replace(partition_names=DAYS[:2]))
        job = MainJob(platform, instance=instance, only=UPSTREAM)
        if ended == "the run failed":
            tags = {"dagster/backfill": "b", "dagster/partition": DAYS[1]}
            resolved = job.definitions.resolve_job_def("daily_features")
            instance.create_run_for_job(resolved, status=dg.DagsterRunStatus.FAILURE, tags=tags)
        assert job.run(DAYS[0], tags={"dagster/backfill": "b"}).success
        assert job.latest() == version_id(as_of(DAYS[0]))


@pytest.mark.parametrize("is_for_latest", [True, False], ids=["of all assets", "of the versions alone"])
def test_where_the_newest_day_fails_last_a_run_that_the_sensor_asks_for_moves_latest(tmp_path: Path, is_for_latest: bool) -> None:
    """The newest day's rows are all bad; the sensor asks once for what the log shows, and again only after it changed."""
    today = datetime.now(UTC).date()
    days = [(today - timedelta(days=back)).isoformat() for back in (3, 2, 1)]
    platform = memory_platform(tmp_path, start=today - timedelta(days=3))
    put_events(platform, days[0])
    put_events(platform, days[1])
    put_events(platform, days[2], user_id="nobody")
    with dg.DagsterInstance.ephemeral() as instance:
        of_backfill = PartitionBackfill("b", BulkActionStatus.REQUESTED, from_failure=False, tags={}, backfill_timestamp=0.0)
        instance.add_backfill(of_backfill._replace(partition_names=days))
        job = MainJob(platform, instance=instance, only=UPSTREAM if is_for_latest else UPSTREAM[:3])
        assert [job.run(day, tags={"dagster/backfill": "b"}).success for day in days] == [True, True, False]
        assert job.latest() is None

        def requests(cursor: str | None) -> tuple[dict[str, dg.RunRequest], str | None]:
            context = dg.build_sensor_context(
                cursor=cursor, instance=instance, definitions=job.definitions, resources={"platform": platform}
            )
            told = job.definitions.get_repository_def().get_sensor_def("raw_data_changed").evaluate_tick(context)
            return {str(each.run_key).split(":")[1]: each for each in told.run_requests or []}, told.cursor

        asked, cursor = requests(None)
        assert ("latest" in asked) == is_for_latest
        assert requests(cursor)[0] == {}
        if is_for_latest:
            request = asked["latest"]
            assert [key.to_user_string() for key in request.asset_selection or []] == ["user_features_latest", "user_features_online"]
            cause = request.tags["feature_platform/cause"]
            assert cause == f"a backfill made {version_id(as_of(days[1]))} and ended without moving latest"
            assert job.run(None, only=["user_features_latest"], tags=request.tags).success
            assert job.latest() == version_id(as_of(days[1]))
            assert "latest" not in requests(cursor)[0]
