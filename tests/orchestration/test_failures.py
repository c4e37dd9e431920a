"""Runs that fail: what is retried and what is not, what the run says at its end, and that latest stays where it was."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.layout import METADATA
from feature_platform.core.objects import ObjectInfo
from feature_platform.core.versions.checks import MISSING_DAYS, NAMES
from feature_platform.definitions import build_definitions
from feature_platform.defs.failures import RETRY_DELAY_S, as_dagster_failures
from feature_platform.defs.jobs import JOB_NAME
from feature_platform.errors import (
    ConfigurationError,
    ConflictError,
    ContractError,
    FeaturePlatformError,
    FullDiskError,
    InvalidDataError,
    NotFoundError,
    StorageError,
    UnknownNameError,
    UnknownOutcomeError,
)
from feature_platform.local.services import SHIPPED_CONTRACTS
from tests.support.platforms import QUIET, UPSTREAM, MainJob, Run, event, json_lines, memory_platform, put_events, put_raw

pytestmark = pytest.mark.slow

DAY, NEXT = "2026-01-10", "2026-01-11"


UNREACHABLE = "S3 could not be reached after all retries."


class UnreliableStore(MemoryObjectStore):
    """Memory in which a listing of each of ``failing``, in this order, fails once."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: list[str] = []
        self.is_interrupting = False

    def scan(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        if self.is_interrupting:
            signal.raise_signal(signal.SIGINT)
        if self.failing and prefix.endswith(self.failing[0]):
            raise StorageError(f"{self.failing.pop(0)}: {UNREACHABLE}")
        return super().scan(prefix, after=after)


@pytest.fixture
def store() -> UnreliableStore:
    return UnreliableStore()


@pytest.fixture
def job(tmp_path: Path, store: UnreliableStore, instance: dg.DagsterInstance) -> MainJob:
    job = MainJob(memory_platform(tmp_path, store=store), instance=instance, only=UPSTREAM)
    put_events(job.platform, DAY)
    return job


def published(job: MainJob) -> dict[str, str]:
    return {info.uri: info.etag for info in job.platform.objects.scan("s3://memory/feature_base/")}


def with_checks(tmp_path: Path, **checks: Any) -> Path:
    """The shipped contracts, with other checks for the feature set."""
    contracts = tmp_path / "contracts"
    shutil.copytree(SHIPPED_CONTRACTS, contracts)
    file = contracts / "user_features.schema.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "checks": checks}))
    return contracts


@pytest.mark.parametrize(
    ("error", "is_retried"),
    [
        (ConfigurationError, False), (ContractError, False), (InvalidDataError, False), (NotFoundError, False), (UnknownNameError, False),
        (ConflictError, True), (StorageError, True), (FullDiskError, True), (UnknownOutcomeError, True),
    ],
)  # fmt: skip
def test_one_further_attempt_after_three_minutes_for_what_may_pass_and_none_for_what_will_not(
    error: type[FeaturePlatformError], is_retried: bool
) -> None:
    assert RETRY_DELAY_S == 180
    with pytest.raises((dg.Failure, dg.RetryRequested)) as raised, as_dagster_failures():
        raise error("told")
    found = raised.value
    assert isinstance(found, dg.RetryRequested) == is_retried
    assert found.max_retries == 1 if isinstance(found, dg.RetryRequested) else found.allow_retries is False


def test_a_missing_day_is_not_retried_and_is_named_with_what_to_do(job: MainJob) -> None:
    assert job.run(DAY).success
    before = published(job)
    run = job.run(NEXT, only=["validated_events"])
    assert (run.success, run.count("STEP_UP_FOR_RETRY"), run.count("STEP_FAILURE")) == (False, 0, 1)
    assert "No raw objects of source 'events' for 2026-01-11 below s3://memory/raw_uri/events/dt=2026-01-11/" in run.failure
    assert "Wait for upstream to deliver the day, or check FEATURE_PLATFORM_RAW_URI." in run.failure
    assert published(job) == before


def test_a_failed_run_ends_with_a_summary_too(job: MainJob) -> None:
    run = job.run(NEXT, only=["validated_events", "user_features"])
    assert run.summary("validated_events") == {
        "feature_set": "events",
        "partition": "2026-01-11",
        "version": "-",
        "uri": "-",
        "rows": "-",
        "outcome": "failed",
    }
    assert run.summary("user_features") == {}
    logged = [entry.user_message for entry in job.instance.all_logs(run.result.run_id) if entry.user_message.startswith("summary ")]
    assert logged == ["summary validated_events: feature_set=events partition=2026-01-11 version=- uri=- rows=- outcome=failed"]


def test_a_run_that_succeeds_sums_up_every_step(job: MainJob) -> None:
    run = job.run(DAY)
    assert run.summary("user_features") == {
        "feature_set": "user_features",
        "partition": "2026-01-10",
        "version": "v_20260111T000000",
        "uri": "s3://memory/feature_base/user_features/v_20260111T000000/",
        "rows": "3",
        "outcome": "succeeded",
    }
    logged = [entry.user_message for entry in job.instance.all_logs(run.result.run_id) if entry.user_message.startswith("summary ")]
    assert [line.split(":")[0] for line in logged] == [f"summary {asset}" for asset in UPSTREAM]
    assert all(line.endswith("outcome=succeeded") for line in logged)


def test_a_run_that_a_person_interrupts_ends_there_and_is_not_retried(job: MainJob, store: UnreliableStore) -> None:
    store.is_interrupting = True
    run = job.run(DAY)
    counted = [run.count(kind) for kind in ("STEP_START", "STEP_UP_FOR_RETRY", "STEP_FAILURE", "STEP_SUCCESS")]
    assert (run.success, counted) == (False, [1, 0, 1, 0])
    assert run.summary("raw_events")["outcome"] == "failed"


def test_the_pause_before_a_retry_is_announced_and_an_interrupt_ends_it(
    tmp_path: Path, store: UnreliableStore, instance: dg.DagsterInstance
) -> None:
    """With a pause of an hour the test would not end otherwise."""
    platform = memory_platform(tmp_path, store=store)
    put_events(platform, DAY)
    store.failing.append("dt=2026-01-10/")
    definitions = build_definitions(platform, retry_delay_s=3600)
    announced = threading.Event()

    def heard(entry: dg.EventLogEntry, _: str) -> None:
        if "tries again in 3600 s" in entry.user_message:
            announced.set()
            os.kill(os.getpid(), signal.SIGINT)

    run_id = dg.DagsterRun(job_name="x").run_id
    instance.watch_event_logs(run_id, None, heard)
    result = definitions.resolve_job_def(JOB_NAME).execute_in_process(
        partition_key=DAY, instance=instance, run_id=run_id, asset_selection=[dg.AssetKey("raw_events")], run_config=QUIET,
        raise_on_error=False,
    )  # fmt: skip
    run = Run(result, instance)
    assert announced.is_set()
    assert (run.success, run.count("STEP_UP_FOR_RETRY"), run.count("STEP_SUCCESS")) == (False, 1, 0)


def test_a_storage_error_in_an_asset_is_retried_once_and_then_succeeds(job: MainJob, store: UnreliableStore) -> None:
    store.failing.append("dt=2026-01-10/")
    run = job.run(DAY)
    assert run.success, run.failure
    assert run.count("STEP_UP_FOR_RETRY") == 1
    assert run.summary("raw_events")["outcome"] == "succeeded"
    assert job.latest() == "v_20260111T000000"


def test_a_storage_error_in_the_io_manager_is_retried_and_commits_once(job: MainJob, store: UnreliableStore) -> None:
    assert job.run(DAY, only=["raw_events", "validated_events"]).success
    store.failing.append("_log/")
    run = job.run(DAY, only=["user_features", "user_features_latest"])
    assert run.success, run.failure
    assert run.count("STEP_UP_FOR_RETRY") == 1
    assert [record.op for record in job.platform.feature_sets.history("user_features").records] == ["commit", "promote"]


def test_a_storage_error_that_stays_fails_after_one_retry(job: MainJob, store: UnreliableStore) -> None:
    assert job.run(DAY, only=["raw_events", "validated_events"]).success
    store.failing += ["_log/", "_log/"]
    run = job.run(DAY, only=["user_features", "user_features_latest"])
    assert (run.success, run.count("STEP_UP_FOR_RETRY"), run.count("STEP_FAILURE")) == (False, 1, 1)
    assert UNREACHABLE in run.failure
    assert run.summary("user_features")["outcome"] == "failed"
    assert job.latest() is None
    assert job.run(DAY).success


def test_too_many_rejected_rows_refuse_the_day_and_keep_what_was_published(job: MainJob) -> None:
    assert job.run(DAY).success
    before = published(job)
    bad = [event(None, f"{DAY}T10:00:00Z", number=number) for number in range(2)]
    put_raw(job.platform, DAY, {"part-1.jsonl": json_lines(bad)})
    run = job.run(DAY)
    assert (run.success, run.count("STEP_UP_FOR_RETRY")) == (False, 0)
    assert "2 of 5 rows were rejected (40.0%); expected at most 20.0% (max_rejected_ratio)" in run.failure
    assert "null_value: 2 row(s)" in run.failure
    assert published(job) == before


def test_a_version_that_fails_a_blocking_check_is_committed_and_never_becomes_latest(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """Neither the run that built it, nor a later run of latest alone, nor a run of any other day promotes it."""
    platform = memory_platform(tmp_path, contracts=with_checks(tmp_path, min_rows=2))
    job = MainJob(platform, instance=instance, only=UPSTREAM)
    put_events(platform, DAY)
    assert job.run(DAY).success
    put_events(platform, DAY, users=(1,))
    run = job.run(DAY)
    assert run.checks() == dict.fromkeys((*NAMES, MISSING_DAYS), True) | {"row_count": False}
    assert (run.success, job.version_of(DAY), job.latest()) == (False, "v_20260111T000001", "v_20260111T000000")
    assert run.summary("user_features_latest") == {}

    alone = job.run(DAY, only=["user_features_latest"])
    assert alone.success, alone.failure
    assert alone.metadata("user_features_latest")["has_moved"] is False
    assert "v_20260111T000001: row_count: found 1 rows, expected at least 2" in str(alone.metadata("user_features_latest")["refused"])
    assert job.latest() == "v_20260111T000000"
    assert platform.objects.get("s3://memory/feature_base/user_features/v_20260111T000001/metadata.json") is not None

    put_events(platform, DAY, users=(1, 2))
    assert job.run(DAY).success
    assert job.latest() == "v_20260111T000002"


def test_where_no_version_passes_its_checks_there_is_no_latest(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    platform = memory_platform(tmp_path, contracts=with_checks(tmp_path, min_rows=9))
    job = MainJob(platform, instance=instance, only=UPSTREAM)
    put_events(platform, DAY)
    assert not job.run(DAY).success
    run = job.run(DAY, only=["user_features_latest"])
    assert (run.success, run.count("STEP_UP_FOR_RETRY"), job.latest()) == (False, 0, None)
    assert "user_features has no version that passes its checks; correct the data or the contract:" in run.failure
    assert "found 3 rows, expected at least 9" in run.failure


def test_latest_before_any_version_says_what_to_materialize(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    run = MainJob(memory_platform(tmp_path), instance=instance).run(DAY, only=["user_features_latest"])
    assert not run.success
    assert run.failure == "user_features has no committed version; materialize user_features first."


def test_a_damaged_projection_is_healed_by_the_next_run_of_latest(job: MainJob) -> None:
    assert job.run(DAY).success
    uri = f"s3://memory/feature_base/user_features/latest/{METADATA}"
    good = job.platform.objects.get(uri)
    assert good is not None
    job.platform.objects.delete(uri)
    assert job.run(DAY, only=["user_features_latest"]).success
    healed = job.platform.objects.get(uri)
    assert healed is not None
    assert json.loads(healed.body)["version"] == json.loads(good.body)["version"] == "v_20260111T000000"


def test_a_contract_that_refuses_missing_days_gets_no_version_without_them(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    contracts = with_checks(tmp_path)
    file = contracts / "user_features.schema.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "missing_days": "refuse"}))
    job = MainJob(memory_platform(tmp_path, contracts=contracts), instance=instance, only=UPSTREAM)
    put_events(job.platform, DAY)
    put_events(job.platform, "2026-01-12")
    assert job.run(DAY).success, "days before the first do not count"
    run = job.run("2026-01-12")
    assert (run.success, run.count("STEP_UP_FOR_RETRY"), job.version_of("2026-01-12")) == (False, 0, None)
    assert "the window lacks 2026-01-11 of source 'events'; expected every day since 2026-01-10 (missing_days: refuse)" in run.failure
    put_events(job.platform, NEXT)
    assert job.run("2026-01-12").success
