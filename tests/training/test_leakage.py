"""Random histories against a naive oracle that replays the log for every label: no value that was not known then, and none missing."""

import os
import random
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.use_cases import training
from tests.faults.figures import record_figure
from tests.support.feature_set_samples import DAY, FEATURE_SET, open_store
from tests.support.platforms import memory_platform
from tests.support.training_sets import Published, labels

HISTORIES = 10_000 if os.environ.get("FAULTS") == "full" else 40
LETTERS = "abcdefghij"


def random_history(published: Published, rng: random.Random) -> None:
    """Publications, late days, corrections, versions that are only committed, rollbacks; clocks that are sometimes behind."""
    at = DAY
    for place in range(rng.randint(1, 8)):
        at += timedelta(hours=rng.choice([-3, 0, 1, 12, 24, 50]))
        known = list(published.store.history(FEATURE_SET).versions)
        if known and rng.random() < 0.25:
            published.rollback(rng.choice(known), at=at)
        else:
            published.publish(LETTERS[place], day=rng.randint(0, 4), at=at, promoted=rng.random() < 0.8)


def known_to_serving(published: Published, moment: datetime) -> str | None:
    """The head after every move that was made by then, moves taken in the log's order."""
    history, head = published.store.history(FEATURE_SET), None
    for record in history.records:
        if record.op in {"promote", "rollback"} and record.at <= moment and history.versions[record.version].as_of <= moment:
            head = record.version
    return head


def true_by_event_time(published: Published, moment: datetime) -> str | None:
    """The last commit of the newest as-of moment, without what a rollback went back from."""
    history = published.store.history(FEATURE_SET)
    wrong: set[str] = set()
    head = None
    for record in history.records:
        if record.op in {"promote", "rollback"}:
            if record.op == "rollback" and head is not None:
                orders = {name: (v.as_of, v.sequence) for name, v in history.versions.items() if v.sequence < record.seq}
                wrong |= {name for name, order in orders.items() if orders[record.version] < order <= orders[head]}
            wrong -= {record.version}
            head = record.version
    fitting = [v for name, v in history.versions.items() if name not in wrong and v.as_of <= moment]
    return max(fitting, key=lambda v: (v.as_of, v.sequence)).version if fitting else None


def values(published: Published, version: str | None, user: int) -> dict[str, object]:
    """What the version's file says of a user."""
    if version is None:
        return {"f_count": None, "f_name": None, "user_features__status": "nothing_known"}
    rows = {row["user_id"]: row for row in published.store.load(FEATURE_SET, version).to_pylist()}
    found = rows.get(user)
    status = "found" if found else "unknown_entity"
    return {"f_count": found and found["f_count"], "f_name": found and found["f_name"], "user_features__status": status}


def test_no_label_sees_what_was_not_known_and_none_misses_what_was(tmp_path: Path) -> None:
    first = int(os.environ.get("FAULTS_SEED", random.SystemRandom().randrange(2**32)))
    print(f"FAULTS_SEED={first}")
    compared = 0
    for number in range(HISTORIES):
        rng = random.Random(first + number)
        objects, clock = MemoryObjectStore(), [DAY]
        store = open_store(objects, "s3://memory/", clock=lambda now=clock: now[0])
        platform = memory_platform(tmp_path, store=objects, feature_base="s3://memory/features", feature_sets=store)
        published = Published(platform, store, clock)
        random_history(published, rng)
        asked = [(rng.randint(-2, 5), DAY + timedelta(hours=rng.randint(-10, 200), microseconds=rng.choice([0, 0, 1]))) for _ in range(12)]
        for known_at, oracle in (("publication", known_to_serving), ("event", true_by_event_time)):
            if known_at == "publication" and store.history(FEATURE_SET).head is None:
                continue
            table, made = published.make(labels(*asked), "user_features:f_count", "user_features:f_name", known_at=known_at)
            expected = [{**values(published, oracle(published, moment), user)} for user, moment in asked]
            versions = [oracle(published, moment) for _, moment in asked]
            assert table.column("user_features__version").to_pylist() == versions, f"FAULTS_SEED={first + number}"
            assert table.select(list(expected[0])).to_pylist() == expected, f"FAULTS_SEED={first + number}"
            assert made.data.rows == len(asked)
            compared += len(asked)
    assert compared
    record_figure("training rows against a replay of the log", tried=compared, violations=0)


@pytest.mark.parametrize("known_at", ["publication", "event"])
def test_later_publications_change_no_byte(published: Published, known_at: str) -> None:
    """Poison: every version that comes after the labels holds values that no earlier one has, and none may appear."""
    published.publish("a")
    asked = labels(*[(user, DAY + timedelta(hours=7)) for user in range(-1, 4)])
    before, made = published.make(asked, known_at=known_at)
    training.delete(published.platform, made.training_set)
    for day in range(1, 6):
        published.publish("z", day=day)
    after, again = published.make(asked, known_at=known_at)
    assert (again.training_set, again.data.sha256, after.equals(before)) == (made.training_set, made.data.sha256, True)
    assert f"={'z'}" not in pa.compute.unique(after.column("f_name")).to_pylist()
