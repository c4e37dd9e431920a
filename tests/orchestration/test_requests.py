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
def delivered(tmp_path: Path, store: CountingObjectStore, instance: dg.DagsterInstance) -> MainJob:
    """The demo's eight days, none of them built."""
    online = MemoryOnlineStore()
    registry = MemoryFeatureRegistry(online, project="feature_store_local")
    job = MainJob(memory_platform(tmp_path, store=store, start=FIRST, online=online, registry=registry), instance=instance)
    for day in DAYS:
        put_raw(job.platform, day.isoformat(), demo_events.day_files(day, first_day=FIRST))
    return job


@pytest.fixture
def job(delivered: MainJob, store: CountingObjectStore) -> MainJob:
    """Seven of the days built and served."""
    run = delivered.run(FIRST.isoformat(), until=DAYS[-2].isoformat())
    assert run.success, run.failure
    store.counted()
    return delivered


def test_a_daily_run_asks_the_object_store_so_often(job: MainJob, store: CountingObjectStore) -> None:
    run = job.run(DAYS[-1].isoformat())
    assert run.success, run.failure
    head = f"user_features/{job.latest()}/features.parquet"
    # Copied to latest/, loaded online, compared with what is online: each step reads the file once.
    assert Counter(method for method, uri in store.calls if uri.endswith(head) and method != "put") == {"download": 3}
    raw = [method for method, uri in store.calls if "/raw_uri/" in uri]
    # Each of the day's five objects is looked at once and judged once, which is when text is parsed; the Parquet file is measured before.
    # Days of the look-back are listed; the day itself before it is validated, before its tile is made, and for its window.
    assert Counter(raw) == {"scan": 24, "open": 11}
    # One listing of the log and one get of them draw the version's distributions beside those of the version before.
    # The day's tile: looked for, the day read again, a file and a manifest put; then one get for each day of the window.
    # How often DuckDB's threads open one file of many is theirs to decide; which files they open is not.
    opened = {uri for method, uri in store.calls if method == "open" and "/work_uri/" in uri}
    assert len(opened) == 8
    counted = store.counted()
    del counted["open"]
    assert counted == {"scan": 42, "head": 12, "put": 16, "get": 28, "download": 6}


def test_a_range_reads_the_events_of_each_day_once_and_merges_what_was_kept_of_them(delivered: MainJob, store: CountingObjectStore) -> None:
    run = delivered.run(FIRST.isoformat(), until=DAYS[-1].isoformat())
    assert run.success, run.failure
    opened = Counter(uri.split("/dt=")[1][:10] for method, uri in store.calls if method == "open" and "/validated/" in uri)
    days = [day.isoformat() for day in DAYS]
    # The last day lies in one window alone: it is read for its tile, and so is each other once. The first window is one day, read as it is.
    assert {opened[day] for day in days[1:]} == {opened[days[-1]]}
    read = {day: facts["window_read_from"].split(":")[0] for day, facts in run.partitions("user_features").items()}
    assert read == {**dict.fromkeys(days, "tiles"), days[0]: "events"}
