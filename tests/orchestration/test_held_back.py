"""Versions that checks keep back: of the raw day, or of the version itself; what is read for it, and how a person overrides."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from feature_platform.adapters.feast.memory import MemoryFeatureRegistry
from feature_platform.adapters.online_store.memory import MemoryOnlineStore
from feature_platform.adapters.watch_metrics import WatchMetrics
from feature_platform.cli.app import app
from feature_platform.core.deviation import DAYS, failures
from feature_platform.core.layout import as_of, version_id
from feature_platform.core.versions.findings import ASK
from feature_platform.local.services import SHIPPED_CONTRACTS
from feature_platform.use_cases.backfill import backfill, plan_backfill
from feature_platform.use_cases.build import build
from feature_platform.use_cases.commit import commit
from feature_platform.use_cases.promote import judge, move_latest, override
from feature_platform.use_cases.serve import serve
from feature_platform.use_cases.watch import Watch
from feature_platform.wiring import Platform
from tests.support.counting_store import CountingObjectStore
from tests.support.platforms import UPSTREAM, MainJob, memory_platform, put_events

FIRST = date(2026, 1, 1)
DAY, NEXT = "2026-01-01", "2026-01-02"


@pytest.fixture
def checked(tmp_path: Path) -> Callable[..., Platform]:
    """A platform with the shipped contracts and other checks for the source or the feature set."""

    def opened(*, of_source: dict[str, Any] | None = None, of_set: dict[str, Any] | None = None, **ports: Any) -> Platform:
        contracts = tmp_path / "contracts"
        shutil.copytree(SHIPPED_CONTRACTS, contracts)
        for name, asked in (("events.source.json", of_source), ("user_features.schema.json", of_set)):
            document = json.loads((contracts / name).read_text())
            (contracts / name).write_text(json.dumps({**document, "checks": asked} if asked else document))
        return memory_platform(tmp_path, contracts=contracts, start=FIRST, **ports)

    return opened


def test_a_raw_day_that_a_blocking_check_refuses_gives_a_version_that_is_not_latest_until_a_person_promotes_it(
    checked: Callable[..., Platform], instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = MemoryOnlineStore()
    registry = MemoryFeatureRegistry(online, project="feature_store_local")
    platform = checked(of_source={"min_rows": 2, "max_delay": "1s"}, online=online, registry=registry)
    put_events(platform, DAY)
    put_events(platform, NEXT, users=(1,))
    job = MainJob(platform, instance=instance, only=[*UPSTREAM])
    first, second = job.run(DAY), job.run(NEXT)
    assert first.success
    assert not second.success
    # Objects in memory are written today, long after the day: that warns, and keeps nothing back.
    assert {name: passed for name, passed in first.checks().items() if not passed} == {"freshness": False}
    failed = {name for name, passed in second.checks().items() if not passed}
    assert {"rows", "source_day"} <= failed
    held, served = version_id(as_of(NEXT)), version_id(as_of(DAY))
    assert (job.version_of(NEXT), job.latest()) == (held, served)

    monkeypatch.setattr("feature_platform.cli.operations.open_platform", lambda: platform)

    def promote(version: str, *options: str) -> Any:
        return CliRunner().invoke(app, ["promote", "user_features", version, *options, "--json"])

    assert promote(held).exit_code == 2  # without a reason
    done = promote(held, "--reason", "upstream confirmed the outage")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["to"] == job.latest() == held
    record = platform.feature_sets.history("user_features").records[-1]
    assert (record.op, record.version) == ("promote", held)
    assert record.reason.startswith("upstream confirmed the outage (overrides ")
    assert "source_day: rows: 1 rows were kept, expected at least 2" in record.reason
    assert record.actor
    back = promote(served, "--reason", "no")
    assert back.exit_code != 0
    assert f"feature-platform rollback user_features {served}" in back.output
    assert job.latest() == held


def test_a_check_that_only_warns_keeps_no_version_back(checked: Callable[..., Platform], instance: dg.DagsterInstance) -> None:
    job = MainJob(checked(of_set={"min_rows": 9, "severity": {"row_count": "warn"}}), instance=instance, only=UPSTREAM)
    put_events(job.platform, DAY)
    run = job.run(DAY)
    assert run.success, run.failure
    assert not run.checks()["row_count"]
    assert job.latest() == version_id(as_of(DAY))


@pytest.mark.parametrize("severity", ["warn", "block"])
def test_a_version_that_only_warns_or_that_a_person_promoted_is_loaded(checked: Callable[..., Platform], severity: str) -> None:
    online = MemoryOnlineStore()
    registry = MemoryFeatureRegistry(online, project="feature_store_local")
    asked = {"min_rows": 9, "max_null_ratio": {"f_purchases_1d": 0}, "severity": dict.fromkeys(("row_count", "null_ratio"), severity)}
    platform = checked(of_set=asked, online=online, registry=registry)
    contract, version = platform.catalog.contract("user_features"), version_id(as_of(DAY))
    put_events(platform, DAY)
    commit(platform, "user_features", DAY, build(platform, contract, DAY, run_id="r", on_validated=lambda _: None))
    if severity == "block":
        override(platform, contract, version, actor="me", reason="a small region")
    else:
        move_latest(platform, contract, actor="me", log=lambda _: None)
    assert serve(platform, "user_features").load.rows == 3
    marker = online.marker(project=platform.project, view="user_features")
    assert marker is not None
    assert (marker.state, marker.target.version) == ("online", version)


def test_checks_that_warned_are_seen_told_once_and_judged_once_while_the_set_stays_healthy(checked: Callable[..., Platform]) -> None:
    store, online = CountingObjectStore(), MemoryOnlineStore()
    asked = {"of_source": {"max_delay": "1s"}, "of_set": {"min_rows": 9, "severity": {"row_count": "warn"}}}
    registry = MemoryFeatureRegistry(online, project="feature_store_local")
    platform = checked(**asked, store=store, online=online, registry=registry)
    contract = platform.catalog.contract("user_features")
    put_events(platform, DAY)
    plan = plan_backfill(platform, contract, first=FIRST, last=FIRST)
    backfill(platform, contract, plan, run_id="b", actor="me", log=lambda _: None)
    serve(platform, "user_features")
    watch, now = Watch(platform, []), as_of(DAY) + timedelta(hours=1)
    looks = []
    for place in range(4):
        store.counted()
        looks.append(watch.look(now=now + timedelta(minutes=place)))
        if place:
            assert not [uri for _, uri in store.calls if uri.endswith("/manifest.json")]
    assert [len(look.sent) for look in looks] == [0, 2, 0, 0]
    first, second = sorted(notice.text for notice in looks[1].sent)
    assert first.startswith(f"[warning] user_features: freshness: {version_id(as_of(DAY))}: its last raw object was written ")
    assert "row_count: v_20260102T000000: found 3 rows, expected at least 9, since" in second
    assert "change what the contract's checks ask" in second
    [health] = looks[0].healths
    assert (health.state, health.row()["remedy"]) == ("healthy", ASK)
    metrics = WatchMetrics(watch)
    metrics.show(looks[-1], datetime.now(UTC))
    told = {
        tuple(sample.labels.values()): sample.value for family in metrics.collect() for sample in family.samples if "check" in sample.labels
    }
    assert told["user_features", "row_count", "rows"] == 3
    assert told["user_features", "rejected_ratio", "rejected_ratio"] == 0
    failed = {labels[1] for labels, value in told.items() if len(labels) == 2 and value}
    assert failed == {"freshness", "row_count"}


def test_judging_by_history_reads_manifests_and_metadata_of_four_weeks_and_no_more(checked: Callable[..., Platform]) -> None:
    store = CountingObjectStore()
    platform = checked(of_source={"max_deviation": 7}, of_set={"max_deviation": 7, "max_drift_psi": 0.25}, store=store)
    contract = platform.catalog.contract("user_features")
    days = [(FIRST + timedelta(days=place)).isoformat() for place in range(DAYS + 8)]
    for day in days:
        put_events(platform, day, users=range(40 if day == days[-1] else 20))
        commit(platform, "user_features", day, build(platform, contract, day, run_id=day, on_validated=lambda _: None))
        if day != days[-1]:
            move_latest(platform, contract, actor="me", log=lambda _: None)
    history = platform.feature_sets.history("user_features")
    store.counted()
    faults = failures(judge(platform, contract, history, history.live[-1]))
    asked = [uri for method, uri in store.calls if method in {"get", "open", "download"}]
    assert sum(uri.endswith("/metadata.json") for uri in asked) == DAYS + 1
    assert sum(uri.endswith("/manifest.json") for uri in asked) == DAYS + 1
    assert len(asked) == 2 * (DAYS + 1)
    assert [fault.split(" is ")[0] for fault in faults if "number" in fault] == [
        "history: number of rows",
        "source_day: volume: number of rows",
    ]
