"""Publishers killed with SIGKILL before and after every S3 request that they make leave nothing torn and lose nothing.

``FAULTS=full`` (``make faults``) tries every kill point of every operation; otherwise every one of the rollback and a fifth of
the others.
"""

import os
from dataclasses import dataclass

import pytest

from tests.faults.figures import record_figure
from tests.faults.publishers import Publishers, Step
from tests.faults.survivors import check_heals, check_unaware_reader, check_versions_are_whole, contents, hash_of, is_torn
from tests.support.feature_set_samples import FEATURE_SET, open_store

IS_FULL = os.environ.get("FAULTS") == "full"
A, B, B1 = hash_of("a", day=0), hash_of("b", day=0), hash_of("b", day=1)


@dataclass(frozen=True)
class Operation:
    """What a publisher does, what was there before, and what there is once it was done, however often it was begun."""

    name: str
    setup: tuple[Step, ...]
    steps: tuple[Step, ...]
    versions: tuple[tuple[str, str], ...]
    latest: str
    every: int


OPERATIONS = [
    Operation("first publish", (), (("publish", "a", 0, "run-1"),), (("2026-01-15", A),), A, every=5),
    Operation(
        "correction",
        (("publish", "a", 0, "run-1"),),
        (("publish", "b", 0, "run-2"),),
        (("2026-01-15", A), ("2026-01-15", B)),
        B,
        every=5,
    ),
    Operation(
        "rollback",
        (("publish", "a", 0, "run-1"), ("publish", "b", 1, "run-2")),
        (("rollback", "v_20260115T000000"),),
        (("2026-01-15", A), ("2026-01-16", B1)),
        A,
        every=1,
    ),
]


@pytest.fixture(scope="module")
def publishers(s3_endpoint):
    with Publishers(s3_endpoint) as running:
        yield running


def kill_points(requests, every):
    """Before and after each request, or each so-manieth of these, the last one always."""
    points = [(number, when) for number in range(1, requests + 1) for when in ("before", "after")]
    return points if IS_FULL else [*points[:-1:every], points[-1]]


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_kill_at_any_request_tears_nothing_and_loses_nothing(publishers, s3, operation):
    undisturbed = publishers.run(f"{s3.uri}undisturbed/", operation.steps, setup=operation.setup)
    assert (undisturbed.kind, undisturbed.error) == ("exited", None)
    points = kill_points(len(undisturbed.requests), operation.every)
    torn = 0
    for number, when in points:
        root = f"{s3.uri}{number}-{when}/"
        outcome = publishers.run(root, operation.steps, setup=operation.setup, request=number, when=when)
        assert outcome.kind == "killed"
        store = open_store(s3.store, root)
        history = check_versions_are_whole(store)
        assert set(operation.versions[: len(operation.setup)]) <= set(contents(store))
        shown = check_unaware_reader(store)
        assert shown is not None or not operation.setup
        torn += is_torn(store)
        if number % 2:
            check_heals(store)
        again = publishers.run(root, operation.steps)
        assert (again.kind, again.error) == ("exited", None)
        check_heals(store)
        assert check_versions_are_whole(store).records[: len(history.records)] == history.records
        assert tuple(contents(store)) == operation.versions
        assert store.history(FEATURE_SET).head_version.content_hash == operation.latest
    print(
        f"{operation.name}: {len(undisturbed.requests)} requests, {len(points)} kills, {torn} torn before a heal, 0 after, 0 versions lost"
    )
    record_figure(f"kill points, {operation.name}", tried=len(points), violations=0)
    record_figure("sets torn after a heal", tried=len(points), violations=0)
    record_figure("versions lost", tried=len(points), violations=0)
    assert torn > 0
