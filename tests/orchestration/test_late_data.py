"""Deliveries that come late, in parts, twice or not at all: what the sensor asks for, what runs build, and what the log says of it."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.contract.source import CompleteWhen
from feature_platform.core.events.raw import incomplete
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.core.layout import as_of
from feature_platform.core.objects import ObjectInfo
from feature_platform.definitions import build_definitions
from feature_platform.errors import ConflictError
from feature_platform.local.services import SHIPPED_CONTRACTS
from feature_platform.use_cases.build import build
from feature_platform.use_cases.commit import commit
from feature_platform.use_cases.promote import move_latest
from feature_platform.use_cases.validate import validated
from feature_platform.wiring import Platform
from tests.support.counting_store import CountingObjectStore
from tests.support.platforms import RANGE, MainJob, event, json_lines, memory_platform, put_events, put_raw

TODAY = datetime.now(UTC).date()
CURRENT = "Every version rests on the raw data as it is now."


def day(back: int) -> str:
    return (TODAY - timedelta(days=back)).isoformat()


class Clock:
    """The store's clock: moves only when a test says so."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC) - timedelta(days=1)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(home: Path, *, start: int = 9, complete_when: dict[str, str] | None = None, **given: Any) -> Platform:
    """The shipped contracts over sources that begin so many days ago."""
    contracts = home / "contracts"
    shutil.copytree(SHIPPED_CONTRACTS, contracts)
    file = contracts / "events.source.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, **({"complete_when": complete_when} if complete_when else {})}))
    return memory_platform(home, contracts=contracts, start=TODAY - timedelta(days=start), **given)


def published(platform: Platform, *backs: int) -> None:
    contract = platform.catalog.contract("user_features")
    for partition in (day(back) for back in backs):
        built = build(platform, contract, partition, run_id=partition, on_validated=lambda _: None)
        commit(platform, "user_features", partition, built)
    move_latest(platform, contract, actor="test", log=lambda _: None)


class Sensor:
    """The sensor of changed raw data with its cursor, look after look."""

    def __init__(self, platform: Platform) -> None:
        self._definitions, self._platform = build_definitions(platform), platform
        self._cursor: str | None = None

    def look(self) -> tuple[list[dg.RunRequest], str]:
        """What it asks for, or why for nothing."""
        with dg.DagsterInstance.ephemeral() as instance:
            resources = {"platform": self._platform}
            context = dg.build_sensor_context(cursor=self._cursor, instance=instance, definitions=self._definitions, resources=resources)
            told = self._definitions.get_repository_def().get_sensor_def("raw_data_changed").evaluate_tick(context)
        self._cursor = told.cursor
        return list(told.run_requests or []), told.skip_message or ""

    def asked(self) -> list[tuple[str, str]]:
        """Partitions of each request, first and last."""
        return [
            (each.partition_key, each.partition_key) if each.partition_key else (each.tags[RANGE[0]], each.tags[RANGE[1]])
            for each in self.look()[0]
        ]


def test_a_late_day_is_asked_for_when_it_arrives_with_every_version_whose_window_lacked_it_and_the_log_says_why(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    platform = opened(tmp_path)
    for back in (5, 3, 2):
        put_events(platform, day(back))
    published(platform, 5, 3, 2)
    sensor = Sensor(platform)
    assert sensor.look() == ([], CURRENT)
    put_events(platform, day(4), users=(7,))
    [request], _ = sensor.look()
    cause = request.tags["feature_platform/cause"]
    assert (request.tags[RANGE[0]], request.tags[RANGE[1]]) == (day(4), day(2))
    assert cause == f"raw data changed: {day(4)} (arrived)"
    job = MainJob(platform, instance=instance)
    run = job.run(day(4), until=day(2), only=["user_features", "user_features_latest"], tags={"feature_platform/cause": cause})
    assert run.success, run.failure
    history = platform.feature_sets.history("user_features")
    rebuilt = [record for record in history.records if record.op == "commit"][3:]
    assert [(record.as_of, record.reason) for record in rebuilt] == [(as_of(day(back)), cause) for back in (4, 3, 2)]
    assert history.head is not None
    assert history.head.version == rebuilt[-1].version
    assert Sensor(platform).look() == ([], CURRENT)


def test_a_correction_older_than_the_look_back_reaches_the_versions_of_the_look_back_whose_window_holds_it(tmp_path: Path) -> None:
    platform = opened(tmp_path, look_back_days=2)
    for back in (7, 2, 1):
        put_events(platform, day(back))
    published(platform, 2, 1)
    sensor = Sensor(platform)
    assert sensor.look() == ([], CURRENT)
    put_events(platform, day(7), users=(1, 2, 3, 4))
    assert sensor.asked() == [(day(2), day(1))]


def test_an_object_that_is_delivered_again_with_the_same_bytes_asks_for_nothing(tmp_path: Path, clock: Clock) -> None:
    platform = opened(tmp_path, store=MemoryObjectStore(clock=clock))
    put_events(platform, day(2))
    published(platform, 2)
    sensor = Sensor(platform)
    assert sensor.look() == ([], CURRENT)
    clock.now += timedelta(hours=1)
    put_events(platform, day(2))
    assert sensor.look() == ([], CURRENT)


@pytest.fixture
def parts(tmp_path: Path, clock: Clock) -> Platform:
    """A source whose days are complete once ``_SUCCESS`` was written last; one day published."""
    platform = opened(tmp_path, complete_when={"marker": "_SUCCESS"}, store=MemoryObjectStore(clock=clock))
    put_events(platform, day(3))
    clock.now += timedelta(minutes=1)
    put_raw(platform, day(3), {"_SUCCESS": b""})
    published(platform, 3)
    return platform


def test_a_delivery_in_parts_is_built_when_its_marker_is_written_and_a_correction_in_parts_too(parts: Platform, clock: Clock) -> None:
    sensor = Sensor(parts)
    assert sensor.look() == ([], CURRENT)
    put_events(parts, day(2))
    assert sensor.look() == ([], CURRENT)
    clock.now += timedelta(minutes=1)
    put_raw(parts, day(2), {"_SUCCESS": b""})
    assert sensor.asked() == [(day(2), day(2))]
    published(parts, 2)
    clock.now += timedelta(minutes=1)
    put_raw(parts, day(3), {"part-1.jsonl": json_lines([event(9, f"{day(3)}T01:00:00Z")])})
    assert sensor.look() == ([], CURRENT)  # neither vanished nor changed, until it is whole
    put_raw(parts, day(3), {"_SUCCESS": b"again"})
    assert sensor.asked() == [(day(3), day(2))]


def test_a_run_leaves_out_a_day_that_is_not_complete_and_a_window_reads_it_as_it_was(
    parts: Platform, clock: Clock, instance: dg.DagsterInstance
) -> None:
    clock.now += timedelta(minutes=1)
    put_events(parts, day(3), users=(1, 2, 3, 4))  # being corrected
    put_events(parts, day(2), users=(5,))  # being delivered
    job = MainJob(parts, instance=instance, only=["raw_events", "validated_events", "user_features", "user_features_latest"])
    run = job.run(day(2))
    assert run.success, run.failure
    assert (run.summary("raw_events")["outcome"], job.version_of(day(2))) == ("skipped", None)
    put_raw(parts, day(2), {"_SUCCESS": b""})
    assert job.run(day(2)).success
    version = job.version_of(day(2))
    assert version is not None
    assert sorted(row["user_id"] for row in parts.feature_sets.load("user_features", version).to_pylist()) == [1, 2, 3, 5]


class ChangedAfterAListing(MemoryObjectStore):
    """Objects that somebody changes right after a listing: one change for each, in turn."""

    changes: Sequence[Callable[[], object]] = ()

    def scan(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        found = list(super().scan(prefix, after=after))
        if changes := self.changes:
            self.changes = changes[1:]
            changes[0]()
        return iter(found)


def test_a_day_that_changes_after_its_listing_is_read_as_it_was_or_again_and_left_out_only_where_it_was_deleted(
    tmp_path: Path, clock: Clock
) -> None:
    store = ChangedAfterAListing(clock=clock)
    platform = opened(tmp_path, complete_when={"marker": "_SUCCESS"}, store=store)
    source = platform.catalog.sources["events"]

    def deliver(name: str, *users: int) -> None:
        clock.now += timedelta(seconds=1)
        put_raw(platform, day(1), {name: json_lines([event(user, f"{day(1)}T12:00:00Z") for user in users])})

    def delete() -> None:
        for info in list(store.scan(platform.raw.uri)):
            store.delete(info.uri)

    def replace() -> None:
        delete()
        deliver("b.jsonl", 4)
        deliver("_SUCCESS")

    def look(*changes: Callable[[], object]) -> ValidatedDay | None:
        store.changes = changes
        return validated(platform, source, day(1), on_validated=lambda _: None)

    deliver("a.jsonl", 1)
    deliver("_SUCCESS")
    before = look()
    deliver("a.jsonl", 2)
    deliver("_SUCCESS")
    assert look(lambda: deliver("b.jsonl", 3)) == before
    deliver("_SUCCESS")
    with pytest.raises(ConflictError, match="changed while they were read"):
        look(lambda: None, lambda: None, replace)
    assert look(delete) is None


def described(name: str, written: datetime) -> ObjectInfo:
    return ObjectInfo(uri=f"s3://raw/events/dt=2026-01-14/{name}", etag="e", size_bytes=1, modified_at=written)


@pytest.mark.parametrize(
    ("asked", "names", "is_complete"),
    [
        ({}, {"a.csv": 0}, True),
        ({"marker": "_SUCCESS"}, {}, True),  # nothing was delivered, or everything was deleted: that is not a part
        ({"marker": "_SUCCESS"}, {"a.csv": 0}, False),
        ({"marker": "_SUCCESS"}, {"a.csv": 5, "_SUCCESS": 4}, False),
        ({"marker": "_SUCCESS"}, {"a.csv": 5, "_SUCCESS": 5}, True),
        ({"quiet": "10m"}, {"a.csv": 0, "b.csv": 21}, False),
        ({"quiet": "10m"}, {"a.csv": 0, "b.csv": 20}, True),
        ({"quiet": "10m", "marker": "_SUCCESS"}, {"a.csv": 0}, False),
    ],
)
def test_a_day_is_complete_by_its_marker_and_its_quiet_period(asked: dict[str, str], names: dict[str, int], is_complete: bool) -> None:
    begin = datetime(2026, 1, 15, tzinfo=UTC)
    listed = [described(name, begin + timedelta(minutes=minute)) for name, minute in names.items()]
    why = incomplete(listed, CompleteWhen(**asked), now=begin + timedelta(minutes=30))
    assert (why is None) == is_complete


def test_a_look_costs_the_same_whatever_the_history(tmp_path: Path) -> None:
    def cost(home: Path, *, start: int) -> int:
        store = CountingObjectStore()
        home.mkdir()
        platform = opened(home, start=start, look_back_days=3, store=store)
        for back in range(start, 0, -1):
            put_events(platform, day(back))
        published(platform, 3, 2, 1)
        sensor = Sensor(platform)
        sensor.look()
        store.calls.clear()
        assert "Nothing changed" in sensor.look()[1]
        return len([uri for method, uri in store.calls if method == "scan" and "/raw_uri/" in uri])

    assert cost(tmp_path / "short", start=12) == cost(tmp_path / "long", start=40) == 3 + 7 - 1


def test_the_sensor_is_on_in_dev_and_prod_and_off_on_a_laptop(tmp_path: Path) -> None:
    found = {
        env: build_definitions(memory_platform(tmp_path, env=env))
        .get_repository_def()
        .get_sensor_def("raw_data_changed")
        .default_status.value
        for env in ("local", "dev", "prod")
    }
    assert found == {"local": "STOPPED", "dev": "RUNNING", "prod": "RUNNING"}
