"""How often one daily run asks the object store, held as numbers: a change that costs requests has to say so here."""

from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from feature_platform.adapters.feast.memory import MemoryFeatureRegistry
from feature_platform.adapters.online_store.memory import MemoryOnlineStore
from feature_platform.local import demo_events
from tests.support.counting_store import CountingObjectStore
from tests.support.platforms import MainJob, memory_platform, put_raw

FIRST = date(2026, 1, 10)
DAYS = [FIRST + timedelta(days=number) for number in range(8)]


@pytest.fixture
def store() -> CountingObjectStore:
    return CountingObjectStore()


@pytest.fixture
def job(tmp_path: Path, store: CountingObjectStore, instance: dg.DagsterInstance) -> MainJob:
    """The demo's eight days, seven of them built and served."""
    online = MemoryOnlineStore()
    registry = MemoryFeatureRegistry(online, project="feature_store_local")
    job = MainJob(memory_platform(tmp_path, store=store, start=FIRST, online=online, registry=registry), instance=instance)
    for day in DAYS:
        put_raw(job.platform, day.isoformat(), demo_events.day_files(day, first_day=FIRST))
    run = job.run(FIRST.isoformat(), until=DAYS[-2].isoformat())
    assert run.success, run.failure
    store.counted()
    return job


def test_a_daily_run_asks_the_object_store_so_often(job: MainJob, store: CountingObjectStore) -> None:
    run = job.run(DAYS[-1].isoformat())
    assert run.success, run.failure
    head = f"user_features/{job.latest()}/features.parquet"
    # Copied to latest/, loaded online, compared with what is online: each step reads the file once.
    assert Counter(method for method, uri in store.calls if uri.endswith(head) and method != "put") == {"download": 3}
    raw = [method for method, uri in store.calls if "/raw_uri/" in uri]
    # Each of the day's five objects is looked at once and judged once, which is when text is parsed; the Parquet file is measured before.
    # Days of the look-back are listed.
    assert Counter(raw) == {"scan": 23, "open": 11}
    # One listing of the log and one get of them draw the version's distributions beside those of the version before.
    assert store.counted() == {"scan": 41, "open": 29, "head": 11, "put": 14, "get": 21, "download": 6}
