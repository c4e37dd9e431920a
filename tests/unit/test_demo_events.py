"""The demo's event log: the same bytes every time, and in it everything that the demo tells about."""

import gzip
import hashlib
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest

from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine
from feature_platform.adapters.contract_files import load_catalog
from feature_platform.adapters.events.raw_files import RawFiles
from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.local import demo_events
from feature_platform.local.services import SHIPPED_CONTRACTS

FIRST = date(2026, 1, 10)


def digest(day: date) -> str:
    files = demo_events.day_files(day, first_day=FIRST)
    return hashlib.sha256(
        b"".join(name.encode() + body for name, body in sorted(files.items()) if not name.endswith("parquet"))
    ).hexdigest()


def test_a_day_is_the_same_bytes_every_time_and_unlike_its_neighbours() -> None:
    once, twice = (demo_events.day_files(FIRST, first_day=FIRST) for _ in range(2))
    assert once == twice
    assert demo_events.late_file(FIRST) == demo_events.late_file(FIRST)
    assert len({digest(FIRST + timedelta(days=number)) for number in range(5)}) == 5


def test_a_day_comes_in_several_files_of_every_format() -> None:
    files = demo_events.day_files(FIRST, first_day=FIRST)
    assert sorted(files) == ["events-00.parquet", "events-01.csv", "events-02.jsonl.gz", "events-03.csv.gz"]
    assert gzip.decompress(files["events-02.jsonl.gz"]).endswith(b'{"event_id": "cut off')


@pytest.mark.parametrize("day", [FIRST, FIRST + timedelta(days=1)])
def test_good_events_lie_within_their_day_and_are_one_each(day: date) -> None:
    events = demo_events.events_of(day, first_day=FIRST)
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    assert all(midnight <= event.event_time < midnight + timedelta(days=1) for event in events)
    assert Counter(event.event_id for event in events).most_common(1)[0][1] == 1


def test_its_people_do_what_the_demo_says_of_them() -> None:
    first, second = ({e.user_id for e in demo_events.events_of(day, first_day=FIRST)} for day in (FIRST, FIRST + timedelta(days=1)))
    assert demo_events.VANISHING in first - second
    assert demo_events.LATE not in first | second
    assert {demo_events.REGULAR, demo_events.UNICODE} <= first & second
    assert {event.user_id for event in demo_events.late_events(FIRST)} == {demo_events.LATE}
    countries = {e.country for e in demo_events.events_of(FIRST, first_day=FIRST) if e.user_id == demo_events.UNICODE}
    assert countries == {"Zażółć gęślą jaźń 日本"}


def test_every_bad_row_is_quarantined_for_its_own_reason_and_nothing_else_is() -> None:
    store, source = MemoryObjectStore(), load_catalog(SHIPPED_CONTRACTS).sources["events"]
    for name, body in demo_events.day_files(FIRST, first_day=FIRST).items():
        uri = f"s3://memory/raw/events/dt={FIRST}/{name}"
        store.put(uri, body, write_id=name, sha256=None, condition=None)
    manifest = RawFiles(store, "s3://memory/raw").discover(source, FIRST.isoformat())
    day = DuckDBEngine(store, work_uri="s3://memory/work").validate(source, manifest)
    assert day.kept == len(demo_events.events_of(FIRST, first_day=FIRST))
    assert dict(day.rejected) == {
        "unreadable_row": 1,
        "wrong_type": 2,
        "null_value": 1,
        "non_finite": 1,
        "before_partition": 1,
        "duplicate": 1,
    }
