"""What retention may delete, decided from a history and a listing alone; and pins, step by step."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from feature_platform.adapters.feature_set_store.protocol_runner import ProtocolRunner
from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.layout import FeatureSetLayout, version_moment
from feature_platform.core.objects import ObjectInfo
from feature_platform.core.publishing import retention
from feature_platform.core.publishing.publication import Author
from feature_platform.core.publishing.retention import Policy
from feature_platform.core.versions.log import Record, fold
from feature_platform.errors import InvalidDataError, NotFoundError

LAYOUT = FeatureSetLayout("s3://b/features", "fs")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
A, B, C, D = "v_20260101T000000", "v_20260110T000000", "v_20260120T000000", "v_20260215T000000"


def history(*operations, published=None):
    """A history of (op, version); each version was published at its own moment, unless all were at a given one."""
    moment = {version: version_moment(version) for _, version in operations}
    return fold(
        Record(seq, op, version, moment[version], f"w{seq}", "test", published or moment[version], idempotency_key=f"k{seq}")
        for seq, (op, version) in enumerate(operations, start=1)
    )


COMMITTED = [("commit", A), ("commit", B), ("commit", C), ("commit", D), ("promote", D)]


def listing(*versions, age=timedelta(days=10)):
    return [
        ObjectInfo(LAYOUT.version_file(version, name), "e", 10, NOW - age)
        for version in versions
        for name in ("features.csv", "features.parquet")
    ]


def planned(state, objects, *, pins=None, protected=(), **policy):
    given = {"keep_newest": 0, "keep_days": 0, **policy}
    found = retention.plan(state, objects, layout=LAYOUT, pins=pins or {}, protected=protected, policy=Policy(**given), now=NOW)
    return [candidate.version for candidate in found]


def test_latest_is_never_planned_whatever_the_policy():
    assert planned(history(*COMMITTED), listing(A, B, C, D)) == [A, B, C]
    assert planned(history(*COMMITTED, ("rollback", A)), listing(A, B, C, D)) == [B, C, D]


def test_the_newest_are_kept_by_moment_and_not_by_when_they_were_committed():
    backfilled = history(("commit", D), ("promote", D), ("commit", A), ("commit", C), ("commit", B))
    assert planned(backfilled, listing(A, B, C, D), keep_newest=2) == [A, B]


def test_a_history_that_was_backfilled_a_minute_ago_is_not_old():
    backfilled = history(*COMMITTED, published=NOW - timedelta(minutes=1))
    assert planned(backfilled, listing(A, B, C, D), keep_days=1) == []
    assert planned(backfilled, listing(A, B, C, D), keep_days=0) == [A, B, C]


def test_days_are_counted_from_now_to_the_publication_exclusive():
    assert planned(history(*COMMITTED), listing(A, B, C, D), keep_days=40) == [A, B, C]
    assert planned(history(*COMMITTED), listing(A, B, C, D), keep_days=41) == [A, B]


def test_what_a_pin_or_the_online_marker_names_is_kept():
    assert planned(history(*COMMITTED), listing(A, B, C, D), pins={A: ("model",)}, protected=[C]) == [B]


def test_the_remains_of_an_expired_version_go_unless_a_pin_holds_them():
    state = history(*COMMITTED, ("expire", A))
    assert planned(state, listing(A, D), keep_newest=99) == [A]
    assert planned(state, listing(A, D), keep_newest=99, pins={A: ("model",)}) == []
    assert planned(state, listing(D), keep_newest=99) == []


def test_leftovers_go_once_their_newest_file_is_a_day_old():
    leftover = "v_20260228T000000"
    old, young = listing(leftover, age=timedelta(days=2)), listing(leftover, age=timedelta(hours=23))
    assert planned(history(*COMMITTED), [*listing(D), *old], keep_newest=99) == [leftover]
    assert planned(history(*COMMITTED), [*listing(D), old[0], young[1]], keep_newest=99) == []


def test_only_version_directories_are_ever_planned():
    strangers = [
        ObjectInfo(f"{LAYOUT.root}{key}", "e", 1, NOW - timedelta(days=99))
        for key in ("latest/features.csv", "_log/00000000000000000001.json", "_pins/x/y.json", "notes.txt", "v_1/x", "v_20260101T0000001/x")
    ]
    assert planned(history(), strangers) == []


def test_somebody_elses_objects_in_a_version_directory_are_neither_planned_nor_counted():
    """They are not deleted with the version; planned, they would come back in every collection."""
    strangers = [ObjectInfo(LAYOUT.version_file(A, name), "e", 10, NOW - timedelta(days=99)) for name in ("notes.txt", "x/metadata.json")]
    assert planned(history(*COMMITTED, ("expire", A)), strangers, keep_newest=99) == []
    found = retention.plan(
        history(*COMMITTED), [*listing(A), *strangers], layout=LAYOUT, pins={}, protected=(), policy=Policy(0, 0), now=NOW
    )
    assert [(len(candidate.objects), candidate.size_bytes) for candidate in found] == [(2, 20)]


def test_a_candidate_says_why_and_how_much():
    state = history(*COMMITTED)
    [first, *_] = retention.plan(
        state, listing(A, D), layout=LAYOUT, pins={}, protected=(), policy=Policy(keep_newest=1, keep_days=30), now=NOW
    )
    assert retention.describe(first) == {
        "version": A, "reason": "beyond the newest 1 and committed more than 30 days ago", "objects": 2, "bytes": 20,
    }  # fmt: skip


class Pins:
    """Pins over memory, beside a log that holds one version."""

    def __init__(self):
        self.objects = MemoryObjectStore()
        self.ids, self.numbers = 0, count()
        self.append("commit")

    def append(self, op, version=A):
        self.ids += 1
        record = Record(self.ids, op, version, version_moment(version), f"w{self.ids}", "test", NOW)
        self.objects.put(LAYOUT.log_record(self.ids), record.to_json(), write_id=record.write_id, sha256=None, condition=None)

    def expire_at_next_write(self):
        """Somebody expires the version just before the next object is written."""
        original = self.objects.put

        def put(uri, body, **options):
            self.objects.put = original
            self.append("expire")
            return original(uri, body, **options)

        self.objects.put = put

    def run(self, protocol):
        return ProtocolRunner(self.objects).run(protocol)

    def pin(self, name="model", *versions):
        author = Author("ann", "training", NOW, lambda: f"pin-{next(self.numbers)}")
        return self.run(retention.pin(LAYOUT, *(versions or (A,)), name=name, author=author))


@pytest.fixture
def pins():
    return Pins()


def test_a_pin_says_who_and_why(pins):
    assert pins.pin() is True
    assert pins.objects.get(LAYOUT.pin(A, "model")).body == (
        b'{"version": "v_20260101T000000", "pin": "model", "actor": "ann", "reason": "training", "at": "2026-03-01T00:00:00+00:00"}'
    )
    assert pins.run(retention.list_pins(LAYOUT)) == {A: ("model",)}


def test_pins_of_one_version_are_told_from_those_of_others(pins):
    pins.pin("a.json")
    pins.pin("b")
    assert pins.run(retention.list_pins(LAYOUT, version=A)) == {A: ("a.json", "b")}
    assert pins.run(retention.list_pins(LAYOUT, version=B)) == {}


def test_a_version_that_expires_while_it_is_pinned_is_not_pinned(pins):
    pins.expire_at_next_write()
    with pytest.raises(NotFoundError, match="expired while it was being pinned; its files may be gone"):
        pins.pin()
    assert pins.run(retention.list_pins(LAYOUT)) == {}


def test_of_several_versions_none_stays_pinned_where_one_expires_meanwhile(pins):
    pins.append("commit", B)
    pins.expire_at_next_write()
    with pytest.raises(NotFoundError, match=f"Version {A} expired while it was being pinned"):
        pins.pin("model", A, B)
    assert pins.run(retention.list_pins(LAYOUT)) == {}


def test_several_versions_are_pinned_by_two_readings_of_the_log(pins):
    pins.append("commit", B)
    readings = []
    read = retention.read_history
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "read_history", lambda layout: readings.append(layout) or read(layout))
        assert pins.pin("model", A, B) is True
        assert pins.pin("model", A, B) is False
    assert len(readings) == 4
    assert pins.run(retention.list_pins(LAYOUT)) == {A: ("model",), B: ("model",)}


def test_unpinning_what_is_not_pinned_names_what_is(pins):
    pins.pin("other")
    with pytest.raises(NotFoundError, match="has no pin 'model'; it has: other"):
        pins.run(retention.unpin(LAYOUT, A, name="model"))


def test_an_unsafe_name_is_refused_before_anything_is_read(pins):
    with pytest.raises(InvalidDataError, match=r"Pin name '\.\./x' is not allowed"):
        pins.pin("../x")
