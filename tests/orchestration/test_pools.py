"""A step that serves waits for the pool, on the instance that ``up`` writes. Runs side by side: ``integration/test_dagster_queue.py``."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from feature_platform.adapters.feast.memory import MemoryFeatureRegistry
from feature_platform.adapters.online_store.memory import MemoryOnlineStore
from feature_platform.cli.environment import prepare_instance
from feature_platform.core.layout import as_of, version_id
from feature_platform.defs.feature_assets import serving_pool
from tests.support.platforms import MainJob, Run, memory_platform, put_events

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
    runs: list[Run] = []
    thread = threading.Thread(target=lambda: runs.append(job.run(DAY)))
    thread.start()
    while not storage.get_concurrency_info(POOL).pending_step_count:
        assert thread.is_alive()
        time.sleep(0.05)
    assert (job.version_of(DAY), job.latest()) == (version_id(as_of(DAY)), None)
    storage.free_concurrency_slots_for_run("another-run")
    thread.join(timeout=60)
    assert runs[0].success, runs[0].failure
    assert job.latest() == version_id(as_of(DAY))
    assert storage.get_concurrency_info(POOL).claimed_slots == []
