"""Retention keeps what is named, on two hundred versions stated literally, and deletes nothing that a publisher or a trainer uses."""

import os
import random
import signal
import threading
from datetime import UTC, datetime, timedelta

import pytest

from feature_platform.adapters.feature_set_store.feature_sets import ObjectFeatureSetStore
from feature_platform.adapters.feature_set_store.protocol_runner import ProtocolRunner, digest
from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.layout import FILES, METADATA, PARQUET
from feature_platform.core.publishing import publication
from feature_platform.core.publishing.publication import Author, Build, Prepare, PreparedFile
from feature_platform.core.publishing.retention import Policy
from feature_platform.errors import NotFoundError
from feature_platform.use_cases.verify import verify_version
from tests.faults.figures import record_figure
from tests.faults.publishers import Publishers
from tests.faults.survivors import check_heals, check_unaware_reader, check_versions_are_whole
from tests.support.feature_set_samples import DAY, FEATURE_SET, open_store, publish, rows

IS_FULL = os.environ.get("FAULTS") == "full"
NOW = datetime(2026, 8, 2, 12, tzinfo=UTC)
GREEDY = Policy(keep_newest=1, keep_days=0, grace_s=0.0, leftover_age=timedelta(0))


def commit_bytes(store, day, content):
    """A version of four tiny files that hold no rows: retention does not look into them."""
    ids = iter(f"{day}-{content}-{number}" for number in range(100))
    # Committed when its day ended, as a daily run does: retention counts age from the commit.
    author = Author(actor="test", reason="", at=DAY + timedelta(days=day), new_id=lambda: next(ids))
    build = Build(DAY + timedelta(days=day), f"w-{day}-{content}", f"run-{day}-{content}", "schema", content)

    def prepare(request):
        bodies = {name: f"{name} {content} {request.version}".encode() for name in FILES}
        bodies[METADATA] = b'{"files": {}}'
        bodies[PARQUET] = b"PAR1" + bodies[PARQUET] + bytes(4) + b"PAR1"
        return {name: PreparedFile(body, digest(body)) for name, body in bodies.items()}

    runner = ProtocolRunner(store.objects)
    return runner.run(publication.commit(store.layout(FEATURE_SET), build, author=author), handlers={Prepare: prepare}).version.version


@pytest.fixture
def two_hundred():
    """195 daily versions from 2026-01-15 to 2026-07-28, five of them corrected once, and four more days of tests' interest pinned."""
    store = open_store(MemoryObjectStore(clock=lambda: NOW), "s3://bucket/", clock=lambda: NOW)
    for day in range(195):
        commit_bytes(store, day, "a")
    for day in (0, 45, 46, 47, 194):
        commit_bytes(store, day, "b")
    store.promote(FEATURE_SET, "v_20260728T000001", actor="test")
    store.pin(FEATURE_SET, "v_20260120T000000", name="model-1", actor="ann")
    store.pin(FEATURE_SET, "v_20260120T000000", name="model-2", actor="bob")
    store.pin(FEATURE_SET, "v_20260301T000001", name="audit.2026", actor="ann")
    store.rollback(FEATURE_SET, "v_20260210T000000", actor="ann", reason="bad upstream")
    return store


NAMED = [
    "v_20260120T000000",  # pinned twice
    "v_20260210T000000",  # latest, after the rollback
    "v_20260301T000001",  # pinned
    "v_20260315T000000",  # what is online
]
NEWEST_14 = [
    "v_20260716T000000", "v_20260717T000000", "v_20260718T000000", "v_20260719T000000", "v_20260720T000000", "v_20260721T000000",
    "v_20260722T000000", "v_20260723T000000", "v_20260724T000000", "v_20260725T000000", "v_20260726T000000", "v_20260727T000000",
    "v_20260728T000000", "v_20260728T000001",
]  # fmt: skip
OF_30_DAYS = [
    "v_20260704T000000", "v_20260705T000000", "v_20260706T000000", "v_20260707T000000", "v_20260708T000000", "v_20260709T000000",
    "v_20260710T000000", "v_20260711T000000", "v_20260712T000000", "v_20260713T000000", "v_20260714T000000", "v_20260715T000000",
    *NEWEST_14,
]  # fmt: skip


def directories(store):
    layout = store.layout(FEATURE_SET)
    return sorted({layout.version_of(info.uri) for info in store.objects.scan(layout.root)} - {None})


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (Policy(keep_newest=14, keep_days=30), NAMED + OF_30_DAYS),
        (Policy(keep_newest=14, keep_days=0), NAMED + NEWEST_14),
        (Policy(keep_newest=1, keep_days=0), [*NAMED, "v_20260728T000001"]),
        (Policy(keep_newest=0, keep_days=0), NAMED),
    ],
    ids=["both", "newest", "one", "none"],
)
def test_of_two_hundred_versions_those_survive_that_a_rule_names(two_hundred, policy, kept):
    store = two_hundred
    assert len(store.history(FEATURE_SET).live) == len(directories(store)) == 200
    before = {info.uri: info.etag for info in store.objects.scan("s3://bucket/")}
    planned = [candidate.version for candidate in store.survey(FEATURE_SET, policy=policy, protected=["v_20260315T000000"])]
    assert {info.uri: info.etag for info in store.objects.scan("s3://bucket/")} == before, "a dry run wrote"
    sweep = store.collect(FEATURE_SET, policy=policy, actor="gc", protected=lambda: ["v_20260315T000000"])
    assert [candidate.version for candidate in sweep.deleted] == planned
    assert [version.version for version in store.history(FEATURE_SET).live] == directories(store) == kept
    assert store.collect(FEATURE_SET, policy=policy, actor="gc", protected=lambda: ["v_20260315T000000"]).deleted == ()
    record_figure("versions that retention kept or deleted as stated", tried=200, violations=0)


def test_leftovers_of_a_crashed_build_go_after_a_day_and_not_before():
    clock = [NOW]
    store = open_store(MemoryObjectStore(clock=lambda: clock[0]), "s3://bucket/", clock=lambda: clock[0])
    commit_bytes(store, 0, "a")
    store.objects.put(
        store.layout(FEATURE_SET).version_file("v_20260116T000000", FILES[0]), b"x", write_id="w", sha256=None, condition=None
    )
    clock[0] = NOW + timedelta(hours=23)
    assert store.survey(FEATURE_SET, policy=Policy(), protected=()) == []
    clock[0] = NOW + timedelta(hours=25)
    [leftover] = store.survey(FEATURE_SET, policy=Policy(), protected=())
    assert (leftover.version, leftover.reason, leftover.size_bytes) == ("v_20260116T000000", "left by a build that never committed", 1)
    store.collect(FEATURE_SET, policy=Policy(), actor="gc", protected=tuple)
    assert directories(store) == ["v_20260115T000000"]
    assert commit_bytes(store, 1, "a") == "v_20260116T000001"


def during_grace(store, root, act):
    """A store on the same objects whose grace is spent on ``act``."""
    return ObjectFeatureSetStore(store.objects, feature_base=f"{root}features", sleep=lambda _: act())


def test_who_pins_during_the_grace_is_told_that_it_is_too_late(two_hundred):
    store, policy = two_hundred, Policy(keep_newest=14, keep_days=0)
    refused = []

    def pin_too_late():
        with pytest.raises(NotFoundError, match="has expired"):
            store.pin(FEATURE_SET, "v_20260401T000000", name="late", actor="ann")
        refused.append("v_20260401T000000")

    during_grace(store, "s3://bucket/", pin_too_late).collect(FEATURE_SET, policy=policy, actor="gc", protected=tuple)
    assert refused == ["v_20260401T000000"]
    assert "v_20260401T000000" not in store.pins(FEATURE_SET)


def test_a_pin_that_was_valid_when_its_version_expired_keeps_it_readable():
    """The pinner looked at the log just before the expire record; the collector sees the pin after its grace."""
    objects = MemoryObjectStore(clock=lambda: NOW)
    store = open_store(objects, "s3://bucket/", clock=lambda: NOW)
    publish(store, "a")
    publish(store, "b", day=1)
    layout = store.layout(FEATURE_SET)

    def appear():
        objects.put(layout.pin("v_20260115T000000", "model"), b"{}", write_id="pin", sha256=None, condition=None)

    sweep = during_grace(store, "s3://bucket/", appear).collect(FEATURE_SET, policy=GREEDY, actor="gc", protected=tuple)
    assert (sweep.deleted, sweep.spared) == ((), {"v_20260115T000000": "pinned meanwhile (model)"})
    assert store.load(FEATURE_SET, "v_20260115T000000").equals(rows("a").to_arrow())
    assert verify_version(store, FEATURE_SET, "v_20260115T000000") == []
    with pytest.raises(NotFoundError, match="has expired"):
        store.rollback(FEATURE_SET, "v_20260115T000000", actor="ann", reason="test")
    store.unpin(FEATURE_SET, "v_20260115T000000", name="model")
    assert [candidate.reason for candidate in store.collect(FEATURE_SET, policy=GREEDY, actor="gc", protected=tuple).deleted] == [
        "expired earlier, not deleted yet"
    ]
    with pytest.raises(NotFoundError, match="has expired"):
        store.load(FEATURE_SET, "v_20260115T000000")


def test_a_publisher_whose_files_were_swept_while_it_was_frozen_commits_whole_files(s3_endpoint, s3):
    with Publishers(s3_endpoint) as publishers:
        steps = [("publish", "a", 1, "run-1")]
        publish(open_store(s3.store, f"{s3.uri}undisturbed/"), "b", day=0)
        undisturbed = publishers.run(f"{s3.uri}undisturbed/", steps).requests
        points = [number for number, request in enumerate(undisturbed, start=1) if request.startswith("PUT")][1:5]
        for number in points:
            root = f"{s3.uri}{number}/"
            store = open_store(s3.store, root)
            publish(store, "b", day=0)
            pid = publishers.start(root, steps, request=number, sign=signal.SIGSTOP)
            assert publishers.wait(pid).kind == "stopped"
            collector = open_store(s3.store, root, clock=lambda: datetime.now(UTC) + timedelta(minutes=1))
            sweep = collector.collect(FEATURE_SET, policy=GREEDY, actor="gc", protected=tuple)
            assert [candidate.version for candidate in sweep.deleted] == ["v_20260116T000000"]
            os.kill(pid, signal.SIGCONT)
            outcome = publishers.wait(pid)
            assert (outcome.kind, outcome.error) == ("exited", None)
            check_versions_are_whole(store)
            assert check_unaware_reader(store) == outcome.versions[0] == "v_20260116T000001"
            check_heals(store)
    record_figure("publishers whose files were swept while they were frozen", tried=len(points), violations=0)


def test_collecting_beside_publishers_and_trainers_deletes_nothing_in_use(s3):
    """One thread publishes, one collects as greedily as it can, four train: a version under a valid pin stays whole."""
    clock = [DAY + timedelta(days=400)]
    store = open_store(s3.store, s3.uri, clock=lambda: clock[0])
    publish(store, "a")
    done, trained, failures = threading.Event(), [], []

    def guarded(work):
        def run():
            try:
                work()
            except BaseException as error:  # noqa: BLE001  a thread's failure is the test's
                failures.append(error)
                done.set()

        return threading.Thread(target=run)

    def collect():
        while not done.is_set():
            store.collect(FEATURE_SET, policy=GREEDY, actor="gc", protected=tuple)

    def train(name):
        rng = random.Random(name)
        while not done.is_set():
            version = rng.choice(store.history(FEATURE_SET).live[-3:]).version
            try:
                store.pin(FEATURE_SET, version, name=name, actor=name)
            except NotFoundError:
                continue
            assert verify_version(store, FEATURE_SET, version) == []
            trained.append(version)
            store.unpin(FEATURE_SET, version, name=name)

    threads = [guarded(collect), *(guarded(lambda name=f"trainer-{number}": train(name)) for number in range(4))]
    for thread in threads:
        thread.start()
    for day in range(1, 60 if IS_FULL else 15):
        publish(store, "a", day=day)
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    check_versions_are_whole(store)
    check_heals(store)
    record_figure("versions read under a pin beside a collector", tried=len(trained), violations=0)
    assert trained
