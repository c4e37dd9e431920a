"""Many publishers at once, publishers believed dead, and publishers frozen before a write: no torn set, no lost version, no step back."""

import os
import random
import signal
import threading
from itertools import pairwise

import pytest

from feature_platform.core.layout import METADATA, PARQUET
from tests.faults.figures import record_figure
from tests.faults.publishers import Publishers
from tests.faults.survivors import check_heals, check_unaware_reader, check_versions_are_whole, contents, hash_of
from tests.support.feature_set_samples import FEATURE_SET, open_store, publish

PROCESSES, PARTITIONS = 8, 30
POLL_S = 0.01
IS_FULL = os.environ.get("FAULTS") == "full"


@pytest.fixture(scope="module")
def publishers(s3_endpoint):
    with Publishers(s3_endpoint) as running:
        yield running


class Poller:
    """Reads ``latest/features.parquet`` and ``latest/metadata.json`` every ten milliseconds and keeps the log records they show."""

    def __init__(self, store):
        self._store, self._stop = store, threading.Event()
        self.shown = {PARQUET: [], METADATA: []}
        self._thread = threading.Thread(target=self._poll)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _poll(self):
        layout = self._store.layout(FEATURE_SET)
        while not self._stop.wait(POLL_S):
            for name, shown in self.shown.items():
                info = self._store.objects.head(layout.latest_file(name))
                shown.append(int(info.write_id.partition(":")[0]) if info else 0)

    @property
    def steps_back(self):
        return sum(later < earlier for shown in self.shown.values() for earlier, later in pairwise(shown))


def shares(rng):
    """Thirty partitions over eight processes: every fifth twice by the same run, every third also by a correcting one."""
    first = [("publish", "a", day, f"run-{day}") for day in range(PARTITIONS)]
    twice = [("publish", "a", day, f"run-{day}") for day in range(0, PARTITIONS, 5)]
    corrected = [("publish", "b", day, f"fix-{day}") for day in range(0, PARTITIONS, 3)]
    rng.shuffle(first)
    rng.shuffle(twice)
    rng.shuffle(corrected)
    return [[*first[number::PROCESSES], *twice[number::PROCESSES], *corrected[number::PROCESSES]] for number in range(PROCESSES)]


@pytest.mark.parametrize("seed", range(5 if IS_FULL else 1))
def test_eight_processes_publish_thirty_shuffled_partitions(publishers, s3, seed):
    root = f"{s3.uri}{seed}/"
    store = open_store(s3.store, root)
    with Poller(store) as poller:
        running = [publishers.start(root, steps) for steps in shares(random.Random(seed))]
        outcomes = [publishers.wait(pid) for pid in running]
    assert [(outcome.kind, outcome.error) for outcome in outcomes] == [("exited", None)] * PROCESSES
    history = check_versions_are_whole(store)
    committed = [record.version for record in history.records if record.op == "commit"]
    assert len(committed) == len(set(committed))
    versions: dict[str, set[str]] = {}
    for moment, content in contents(store):
        versions.setdefault(moment, set()).add(content)
    assert sorted(versions) == [f"2026-01-{day}" for day in range(15, 32)] + [f"2026-02-{day:02d}" for day in range(1, 14)]
    for number, moment in enumerate(sorted(versions)):
        assert versions[moment] == {hash_of(letter, day=number) for letter in ("a", "b")[: 1 + (number % 3 == 0)]}
    assert len(committed) == 40  # thirty, and ten corrections; what a run publishes again is the version it made
    assert history.head_version == max(history.live, key=lambda version: version.order)
    check_heals(store)
    assert store.heal(FEATURE_SET)[1] == 0
    record_figure("partitions published by eight processes at once", tried=PARTITIONS, violations=0)
    record_figure("looks at latest by a poller", tried=len(poller.shown[PARQUET]), violations=poller.steps_back)
    assert poller.steps_back == 0
    assert len(set(poller.shown[PARQUET])) > 1


def test_two_writers_of_one_run_make_one_version(publishers, s3):
    step = ("publish", "a", 0, "run-1")
    for race in range(10 if IS_FULL else 3):
        root = f"{s3.uri}{race}/"
        running = [publishers.start(root, [step]) for _ in range(4)]
        outcomes = [publishers.wait(pid) for pid in running]
        assert [(outcome.kind, outcome.error) for outcome in outcomes] == [("exited", None)] * 4
        store = open_store(s3.store, root)
        history = check_versions_are_whole(store)
        assert {version for outcome in outcomes for version in outcome.versions} == set(history.versions)
        assert len(history.versions) == 1
        check_heals(store)
    record_figure("races of four writers of one run", tried=race + 1, violations=0)


def frozen_points(requests):
    """The writes of a run, each to be frozen before; and the read of the log that decides what is projected."""
    return [number for number, request in enumerate(requests, start=1) if request.startswith("PUT")]


@pytest.mark.parametrize("ends", ["thawed", "killed while it thaws"])
def test_a_writer_frozen_before_a_write_changes_nothing_once_a_newer_run_has_finished(publishers, s3, ends):
    steps, newer = [("publish", "a", 0, "run-1")], ("publish", "b", 1, "run-2")
    points = frozen_points(publishers.run(f"{s3.uri}undisturbed/", steps).requests)
    assert len(points) == 10  # four files, the commit, the promotion, four files of latest
    for number in points:
        root = f"{s3.uri}{number}/"
        store = open_store(s3.store, root)
        pid = publishers.start(root, steps, request=number, sign=signal.SIGSTOP)
        assert publishers.wait(pid).kind == "stopped"
        assert publishers.run(root, [newer]).error is None
        before = {info.uri: info.etag for info in store.objects.scan(store.layout(FEATURE_SET).latest)}
        if ends == "thawed":
            os.kill(pid, signal.SIGCONT)
            outcome = publishers.wait(pid)
            assert (outcome.kind, outcome.error) == ("exited", None)
        else:
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGKILL)
            assert publishers.wait(pid).kind in {"killed", "exited"}
        assert check_unaware_reader(store) == "v_20260116T000000"
        history = check_versions_are_whole(store)
        assert history.head.version == "v_20260116T000000"
        check_heals(store)
        assert {info.uri: info.etag for info in store.objects.scan(store.layout(FEATURE_SET).latest)} == before
    record_figure(f"writers frozen before a write, then {ends}", tried=len(points), violations=0)


def test_a_run_believed_dead_that_thaws_after_its_own_retry_changes_nothing(publishers, s3):
    steps = [("publish", "a", 0, "run-1")]
    points = frozen_points(publishers.run(f"{s3.uri}undisturbed/", steps).requests)
    for number in points:
        root = f"{s3.uri}{number}/"
        store = open_store(s3.store, root)
        pid = publishers.start(root, steps, request=number, sign=signal.SIGSTOP)
        assert publishers.wait(pid).kind == "stopped"
        retried = publish(store, "a", day=0, key="run-1")
        records, live = store.history(FEATURE_SET).records, contents(store)
        os.kill(pid, signal.SIGCONT)
        outcome = publishers.wait(pid)
        assert (outcome.kind, outcome.error) == ("exited", None)
        assert outcome.versions == [retried.version]
        assert (store.history(FEATURE_SET).records, contents(store)) == (records, live)
        check_versions_are_whole(store)
        check_heals(store)
    record_figure("runs believed dead, thawed after their retry", tried=len(points), violations=0)


def test_a_writer_frozen_within_a_rollback_does_not_bring_its_bytes_back(publishers, s3):
    """A → B → A: the frozen writer saw ETags that could be there again, were it not for the padding."""
    setup = [("publish", "a", 0, "run-1")]
    steps = [("publish", "b", 1, "run-2")]
    points = frozen_points(publishers.run(f"{s3.uri}undisturbed/", steps, setup=setup).requests)
    for number in points[-5:]:
        root = f"{s3.uri}{number}/"
        store = open_store(s3.store, root)
        pid = publishers.start(root, steps, setup=setup, request=number, sign=signal.SIGSTOP)
        assert publishers.wait(pid).kind == "stopped"
        publish(store, "b", day=1, key="run-2")
        store.rollback(FEATURE_SET, "v_20260115T000000", actor="ann", reason="bad day")
        os.kill(pid, signal.SIGCONT)
        outcome = publishers.wait(pid)
        assert (outcome.kind, outcome.error) == ("exited", None)
        assert check_unaware_reader(store) == "v_20260115T000000"
        assert store.history(FEATURE_SET).head.version == "v_20260115T000000"
        check_heals(store)
    record_figure("writers frozen over a rollback", tried=5, violations=0)
