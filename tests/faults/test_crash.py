"""Publishers killed with SIGKILL before and after every S3 request that they make leave nothing torn and lose nothing.

``FAULTS=full`` (``make faults``) tries every kill point of every operation; otherwise every one of the rollback and a fifth of
the others.
"""

import os
from dataclasses import dataclass, field

import pytest

from feature_platform.errors import FeaturePlatformError
from tests.faults.figures import record_figure
from tests.faults.publishers import Publishers, Step
from tests.faults.survivors import check_heals, check_unaware_reader, check_versions_are_whole, contents, hash_of, is_torn
from tests.support.feature_set_samples import FEATURE_SET, open_store

pytestmark = pytest.mark.slow

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
        every=3,
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


@dataclass
class Tally:
    """What a campaign of kills came to."""

    torn_before: int = 0
    torn_after: int = 0
    lost: int = 0
    failures: list[str] = field(default_factory=list)


def kill(publishers, operation, root, tally, *, number, when):
    """Kill one publisher, look at what it left without helping, heal, run it again, and look once more."""
    outcome = publishers.run(root, operation.steps, setup=operation.setup, request=number, when=when)
    assert outcome.kind == "killed"
    store = open_store(publishers.objects, root)
    before = store.history(FEATURE_SET)
    tally.torn_before += is_torn(store)
    assert set(operation.versions[: len(operation.setup)]) <= set(contents(store))
    assert check_unaware_reader(store) is not None or not operation.setup
    check_versions_are_whole(store)
    if number % 2:  # the other half is healed by the next run alone
        store.heal(FEATURE_SET)
        tally.torn_after += is_torn(store)
        check_heals(store)
    again = publishers.run(root, operation.steps)
    tally.torn_after += is_torn(store)
    after = store.history(FEATURE_SET)
    tally.lost += len({version.version for version in before.live} - {version.version for version in after.live})
    assert (again.kind, again.error) == ("exited", None)
    check_heals(store)
    check_versions_are_whole(store)
    assert after.records[: len(before.records)] == before.records
    assert tuple(contents(store)) == operation.versions
    assert after.head_version.content_hash == operation.latest


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_kill_at_any_request_tears_nothing_and_loses_nothing(publishers, s3, operation):
    undisturbed = publishers.run(f"{s3.uri}undisturbed/", operation.steps, setup=operation.setup)
    assert (undisturbed.kind, undisturbed.error) == ("exited", None)
    points, tally = kill_points(len(undisturbed.requests), operation.every), Tally()
    for number, when in points:
        try:
            kill(publishers, operation, f"{s3.uri}{number}-{when}/", tally, number=number, when=when)
        except (AssertionError, FeaturePlatformError) as error:
            tally.failures.append(f"{when} request {number} ({undisturbed.requests[number - 1]}): {error!r}")
    print(
        f"{operation.name}: {len(undisturbed.requests)} requests, {len(points)} kills, {tally.torn_before} sets torn before a heal, "
        f"{tally.torn_after} after, {tally.lost} versions lost"
    )
    record_figure(f"kill points, {operation.name}", tried=len(points), violations=len(tally.failures))
    record_figure("sets torn after a heal", tried=len(points), violations=tally.torn_after)
    record_figure("versions lost", tried=len(points), violations=tally.lost)
    assert tally.failures == []
    assert (tally.torn_after, tally.lost) == (0, 0)
    assert tally.torn_before > 0, "no kill met a window in which latest is torn; the harness looks in the wrong place"
