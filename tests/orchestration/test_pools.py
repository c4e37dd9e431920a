"""A step that serves waits for the pool, on the instance that ``up`` writes. Runs side by side: ``integration/test_dagster_queue.py``."""

import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import dagster as dg
import pytest

from feature_platform.adapters.feast.memory import MemoryFeatureRegistry
from feature_platform.adapters.online_store.memory import MemoryOnlineStore
from feature_platform.cli.environment import INSTANCE, WRITTEN, prepare_instance
from feature_platform.core.layout import as_of, version_id
from feature_platform.defs.feature_assets import serving_pool
from tests.support.platforms import MainJob, memory_platform, put_events
from tests.support.processes import wait_until

EARLIER = """\
# One run of the daily job at a time; missed ticks are not caught up.
concurrency:
  runs:
    max_concurrent_runs: 2
    tag_concurrency_limits:
      - key: feature_platform/queue
        value: daily_features
        limit: 1
scheduler:
  module: dagster.core.scheduler
  class: DagsterDaemonScheduler
  config:
    max_catchup_runs: 0
run_monitoring:
  enabled: true
# What the platform's own modules warn of, such as an S3 that is waited for, stands in the run's log.
python_logs:
  managed_python_loggers:
    - feature_platform
telemetry:
  enabled: false
nux:
  enabled: false
"""
"""What ``up`` wrote before there were pools."""

DAY, POOL = "2026-01-10", serving_pool("user_features")


@pytest.fixture
def job(tmp_path: Path) -> Iterator[MainJob]:
    """A day delivered, on an instance with databases on disk."""
    online = MemoryOnlineStore()
    registry = MemoryFeatureRegistry(online, project="feature_store_local")
    platform = memory_platform(tmp_path, online=online, registry=registry)
    put_events(platform, DAY)
    with dg.DagsterInstance.from_config(str(prepare_instance(tmp_path))) as instance:
        yield MainJob(platform, instance=instance)


def test_a_step_that_serves_waits_for_the_pool_after_its_run_has_built(job: MainJob) -> None:
    storage = job.instance.event_log_storage
    storage.initialize_concurrency_limit_to_default(POOL)
    assert storage.claim_concurrency_slot(POOL, "another-run", "user_features_latest").is_claimed
    seen: list[tuple[str | None, str | None]] = []

    def free_once_it_waits() -> None:
        wait_until(lambda: bool(storage.get_concurrency_info(POOL).pending_step_count), within_s=120, what="a step that waits")
        seen.append((job.version_of(DAY), job.latest()))
        storage.free_concurrency_slots_for_run("another-run")

    thread = threading.Thread(target=free_once_it_waits)
    thread.start()
    run = job.run(DAY)  # in the main thread, as runs are everywhere else
    thread.join()
    assert run.success, run.failure
    assert seen == [(version_id(as_of(DAY)), None)]
    assert job.latest() == version_id(as_of(DAY))
    assert storage.get_concurrency_info(POOL).claimed_slots == []


def test_a_dagster_yaml_of_an_earlier_release_is_brought_up_to_date_and_an_edited_one_is_kept_and_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = prepare_instance(tmp_path) / "dagster.yaml"
    assert sha256(settings.read_bytes()).hexdigest() in WRITTEN, "add the digest of what INSTANCE is now, and take out none"
    assert capsys.readouterr().err == ""

    def after(text: str) -> tuple[str, str]:
        settings.write_text(text)
        prepare_instance(tmp_path)
        return settings.read_text(), capsys.readouterr().err

    now, told = after(EARLIER)
    assert now == INSTANCE
    assert "is brought up to date; start Dagster again" in told
    edited = EARLIER.replace("limit: 1", "limit: 4")
    now, told = after(edited)
    assert now == edited
    assert "was edited and lacks default_limit, free_slots_after_run_end_seconds, granularity, pools: " in told
    assert "delete the file to have it written anew" in told
    edited = INSTANCE.replace("limit: 2", "limit: 4")
    assert after(edited) == (edited, "")
