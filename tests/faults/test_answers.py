"""Answers that are lost, late, refused or cut short: a publisher knows its own writes, retries within bounds, and else says so by type.

Every request of a correction and of a rollback is failed in turn. ``FAULTS=full`` (``make faults``) tries each fault at each request,
once and for ever; otherwise each request meets one of them, in rotation, those with an even number once and the others for ever.
"""

import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from feature_platform.adapters.object_store.s3 import S3ObjectStore, S3Timeouts
from feature_platform.errors import FeaturePlatformError, StorageError
from tests.faults.figures import record_figure
from tests.faults.survivors import check_heals, check_unaware_reader, check_versions_are_whole, contents, hash_of
from tests.support.feature_set_samples import FEATURE_SET, open_store, publish

pytestmark = [pytest.mark.usefixtures("no_backoff"), pytest.mark.slow]

IS_FULL = os.environ.get("FAULTS") == "full"
FAULTS = ("drop_reply", "error_500", "slow_down", "late_reply", "late_request", "drop_request", "truncate")
TIMEOUTS = S3Timeouts(connect_s=2.0, read_s=1.5, attempts=3, deadline_s=20.0, body_attempts=3)
LATE_S = 2.5
AT_ONCE = 12
"""Publishers that wait for their retries side by side."""
A, B, B1 = hash_of("a", day=0), hash_of("b", day=0), hash_of("b", day=1)
FIRST = "v_20260115T000000"


@dataclass(frozen=True)
class Operation:
    """What is done over a faulty connection, after a setup over a good one."""

    setup: Callable[[Any], object]
    run: Callable[[Any], object]
    versions: list[tuple[str, str]]
    latest: str


OPERATIONS = {
    "correction": Operation(
        lambda store: publish(store, "a"), lambda store: publish(store, "b"), [("2026-01-15", A), ("2026-01-15", B)], B
    ),
    "rollback": Operation(
        lambda store: (publish(store, "a"), publish(store, "b", day=1)),
        lambda store: store.rollback(FEATURE_SET, FIRST, actor="test", reason="test"),
        [("2026-01-15", A), ("2026-01-16", B1)],
        A,
    ),
}


@dataclass(frozen=True)
class Case:
    """One request of one operation, by its place among those that look the same, and what becomes of it."""

    operation: str
    number: int
    method: str
    key: str
    nth: int
    fault: str


@dataclass
class Campaign:
    """The stores on both sides of the proxy."""

    direct: S3ObjectStore
    faulty: S3ObjectStore
    proxy: Any
    bucket: str

    def requests(self, operation: str) -> list[tuple[str, str, int]]:
        """The requests of an undisturbed run, in order: method, key with a place for the root, and how many alike came before."""
        root = f"undisturbed-{operation}"
        OPERATIONS[operation].setup(self.open(self.direct, root))
        OPERATIONS[operation].run(self.open(self.faulty, root))
        passed = [(request.method, request.key.replace(root, "ROOT")) for request in self.proxy.passed(key=root)]
        return [(*request, passed[:place].count(request) + 1) for place, request in enumerate(passed)]

    def open(self, objects: S3ObjectStore, root: str) -> Any:
        return open_store(objects, f"s3://{self.bucket}/{root}/")

    def prepare(self, case: Case, *, times: int | None) -> tuple[str, Any]:
        """A root in the state before the operation, with the fault waiting; and its store without faults."""
        root = f"{case.operation}-{case.number}-{case.fault}-{times}"
        store = self.open(self.direct, root)
        OPERATIONS[case.operation].setup(store)
        pattern = re.escape(case.key).replace("ROOT", root) + "$"
        self.proxy.inject(case.fault, method=case.method, key=pattern, nth=case.nth, times=times, delay_s=LATE_S)
        return root, store


@pytest.fixture
def campaign(s3, proxied_s3, fault_proxy):
    endpoint = proxied_s3.endpoint
    faulty = S3ObjectStore(
        endpoint_url=endpoint.endpoint_url,
        region=endpoint.region,
        access_key_id=endpoint.access_key_id,
        secret_access_key=endpoint.secret_access_key,
        timeouts=TIMEOUTS,
    )
    return Campaign(s3.store, faulty, fault_proxy, s3.bucket)


def cases(campaign, operation, *, first):
    """Every second request from ``first`` on, with one of the faults that can befall it; in full every request with all of them."""
    found = []
    for number, (method, key, nth) in enumerate(campaign.requests(operation)):
        possible = [fault for fault in FAULTS if (method == "GET") >= (fault == "truncate")]
        if IS_FULL:
            found += [Case(operation, number, method, key, nth, fault) for fault in possible]
        elif number % 2 == first:
            found.append(Case(operation, number, method, key, nth, possible[number // 2 % len(possible)]))
    return found


def survey(campaign, try_one, tried):
    """Run cases side by side; the failures, each with its case."""

    def attempt(case):
        try:
            try_one(campaign, case)
        except (AssertionError, FeaturePlatformError) as error:
            return f"{case}: {error!r}"
        return None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [failure for failure in pool.map(attempt, tried) if failure]


def once(campaign, case):
    """A fault that passes is not noticed by the caller: nothing is written twice, nothing is left to heal."""
    root, store = campaign.prepare(case, times=1)
    OPERATIONS[case.operation].run(campaign.open(campaign.faulty, root))
    wait_for_fault(campaign, case, root)
    check_done(case, store)
    layout = store.layout(FEATURE_SET)
    directories = {layout.version_of(info.uri) for info in store.objects.scan(layout.root)} - {None}
    assert directories == set(store.history(FEATURE_SET).versions), "a build took its own write for somebody else's"


def wait_for_fault(campaign, case, root):
    """Wait until the faulty request has had its effect, which a late one has long after its sender has gone on."""
    deadline_s = time.monotonic() + 60
    while case.fault not in {request.fault for request in campaign.proxy.passed(key=root)}:
        assert time.monotonic() < deadline_s, "the fault never happened"
        time.sleep(0.05)


def for_ever(campaign, case):
    """A fault that stays ends in a typed error or does not matter; the previous state stays readable, and a later run gets there."""
    root, store = campaign.prepare(case, times=None)
    with suppress(StorageError):
        OPERATIONS[case.operation].run(campaign.open(campaign.faulty, root))
    history = check_versions_are_whole(store)
    assert set(OPERATIONS[case.operation].versions[: 1 if case.operation == "correction" else 2]) <= set(contents(store))
    assert check_unaware_reader(store) in history.versions
    OPERATIONS[case.operation].run(store)
    check_done(case, store)


def check_done(case, store):
    check_versions_are_whole(store)
    assert contents(store) == OPERATIONS[case.operation].versions
    assert store.history(FEATURE_SET).head_version.content_hash == OPERATIONS[case.operation].latest
    check_heals(store)


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_passing_fault_of_any_request_is_survived_and_own_writes_are_known(campaign, operation):
    tried = cases(campaign, operation, first=0)
    failures = survey(campaign, once, tried)
    record_figure(f"answers lost or refused once, {operation}", tried=len(tried), violations=len(failures))
    assert failures == []


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_lasting_fault_of_any_request_ends_in_a_typed_error_and_leaves_the_previous_state(campaign, operation):
    tried = cases(campaign, operation, first=1)
    failures = survey(campaign, for_ever, tried)
    record_figure(f"answers lost or refused for ever, {operation}", tried=len(tried), violations=len(failures))
    assert failures == []


def test_a_lasting_fault_is_retried_within_bounds(campaign):
    store = campaign.open(campaign.direct, "bounded")
    publish(store, "a")
    campaign.proxy.inject("slow_down", key=r"bounded/.*_log/0+3\.json$", times=None)
    with pytest.raises(StorageError, match=r"_log/00000000000000000003.json was written .*run the same operation again"):
        publish(campaign.open(campaign.faulty, "bounded"), "b")
    attempts = campaign.proxy.passed(method="PUT", key=r"bounded/.*_log/0+3\.json$")
    assert len(attempts) == 3 * TIMEOUTS.attempts  # SETTLE_ATTEMPTS of the protocol, each with the client's own
    assert store.latest_metadata(FEATURE_SET).version == FIRST
