"""Publishing, crashing, rolling back, pinning and collecting in any order, beside a plain model of what must then be there.

The model knows nothing of logs, ids or projections: moments, rows, and the words of the rules. It runs on memory and, with fewer
examples, on a real S3 server.
"""

import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.layout import version_moment
from feature_platform.core.publishing import decisions, log_access, publication, retention
from feature_platform.core.publishing.retention import Policy
from feature_platform.errors import FeaturePlatformError, NotFoundError
from tests.faults.figures import record_figure
from tests.faults.survivors import check_heals, check_unaware_reader, check_versions_are_whole, hash_of
from tests.support.feature_set_samples import DAY, FEATURE_SET, open_store, publish

pytestmark = pytest.mark.slow

IS_FULL = os.environ.get("FAULTS") == "full"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAYS, CONTENTS = 4, "abc"


class CrashError(BaseException):
    """The publisher is gone; nothing in the platform may catch this."""


class CrashingStore:
    """An object store whose process dies at a chosen request, before it is sent or after it was carried out."""

    def __init__(self, objects):
        self._objects = objects
        self.left: int | None = None
        self.dies_after = False

    def __getattr__(self, name):
        method = getattr(self._objects, name)

        def counted(*args, **kwargs):
            if self.left is None:
                return method(*args, **kwargs)
            self.left -= 1
            if self.left == 0 and not self.dies_after:
                raise CrashError
            answer = method(*args, **kwargs)
            if self.left == 0:
                raise CrashError
            return answer

        return counted


@dataclass
class Model:
    """What there must be, in the words of the rules."""

    versions: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Version → day and rows, in the order of commit."""
    expired: set[str] = field(default_factory=set)
    pins: set[tuple[str, str]] = field(default_factory=set)
    latest: str | None = None
    furthest: tuple[int, int] | None = None
    is_held: bool = False
    keys: dict[str, str] = field(default_factory=dict)

    def order(self, version):
        return (self.versions[version][0], list(self.versions).index(version))

    @property
    def live(self):
        return sorted((version for version in self.versions if version not in self.expired), key=self.order)

    def newest_of(self, day):
        return next((v for v in reversed(list(self.versions)) if v not in self.expired and self.versions[v][0] == day), None)

    def promote(self, version):
        if self.latest is None or (
            self.order(version)[0] > self.furthest[0] if self.is_held else self.order(version) >= self.order(self.latest)
        ):
            self.latest, self.furthest, self.is_held = version, self.order(version), False

    def roll_back(self, version):
        if version != self.latest:
            self.is_held = self.furthest is not None and self.order(version) < self.furthest
            self.furthest = self.furthest if self.is_held else self.order(version)
            self.latest = version

    def survivors(self, policy):
        """Literally: the newest N, those published in the last days (all were, at this very moment), latest, and whatever is pinned."""
        newest = self.live[max(0, len(self.live) - policy.keep_newest) :]
        recent = self.live if policy.keep_days else []
        return {*newest, *recent, *(version for version, _ in self.pins), self.latest}


class Publishing(RuleBasedStateMachine):
    """One feature set, its model, and whatever hypothesis thinks of doing to both."""

    objects_of = staticmethod(lambda: (MemoryObjectStore(clock=lambda: NOW), "s3://bucket/"))
    runs = 0

    @initialize()
    def begin(self):
        objects, root = self.objects_of()
        type(self).runs += 1
        self.crashing = CrashingStore(objects)
        self.store = open_store(objects, root, clock=lambda: NOW)
        self.publisher = open_store(self.crashing, root, clock=lambda: NOW)
        self.model = Model()

    @rule(day=st.integers(0, DAYS), content=st.sampled_from(CONTENTS), key=st.integers(0, 3))
    def publish(self, day, content, key):
        self.published(publish(self.publisher, content, day=day, key=f"run-{day}-{key}"), day=day, content=content, key=f"run-{day}-{key}")

    @rule(day=st.integers(0, DAYS), content=st.sampled_from(CONTENTS), key=st.integers(0, 3), left=st.integers(1, 34), after=st.booleans())
    def publish_and_crash(self, day, content, key, left, after):
        """The publisher dies at a request, and the run is tried again: exactly one version comes of it."""
        self.crashing.left, self.crashing.dies_after = left, after
        try:
            done = publish(self.publisher, content, day=day, key=f"run-{day}-{key}")
        except CrashError:
            self.crashing.left = None
            check_versions_are_whole(self.store)
            check_unaware_reader(self.store)
            done = publish(self.store, content, day=day, key=f"run-{day}-{key}")
            done = replace(done, is_new=done.version not in self.model.versions)
        self.crashing.left = None
        self.published(done, day=day, content=content, key=f"run-{day}-{key}")

    def published(self, done, *, day, content, key):
        model = self.model
        same_run = model.keys.get(key) if model.keys.get(key) not in model.expired else None
        newest = model.newest_of(day)
        known = same_run or (newest if newest and model.versions[newest][1] == content else None)
        assert (done.version == known) if known else (done.version not in model.versions)
        assert done.is_new == (known is None)
        if known is None:
            moment = DAY + timedelta(days=day)
            assert moment <= version_moment(done.version) < moment + timedelta(hours=1)
            model.versions[done.version] = (day, content)
            model.keys[key] = done.version
        model.promote(done.version)

    @precondition(lambda self: self.model.versions)
    @rule(data=st.data())
    def roll_back(self, data):
        version = data.draw(st.sampled_from(list(self.model.versions)))
        if version in self.model.expired:
            with pytest.raises(NotFoundError, match="has expired"):
                self.store.rollback(FEATURE_SET, version, actor="ann", reason="test")
            return
        assert self.store.rollback(FEATURE_SET, version, actor="ann", reason="test").head.version == version
        self.model.roll_back(version)

    @precondition(lambda self: self.model.latest)
    @rule(data=st.data(), left=st.integers(1, 24), after=st.booleans())
    def roll_back_and_crash(self, data, left, after):
        version = data.draw(st.sampled_from(self.model.live))
        self.crashing.left, self.crashing.dies_after = left, after
        try:
            self.publisher.rollback(FEATURE_SET, version, actor="ann", reason="test")
        except CrashError:
            self.crashing.left = None
            check_unaware_reader(self.store)
            self.store.rollback(FEATURE_SET, version, actor="ann", reason="test")
        self.crashing.left = None
        self.model.roll_back(version)

    @precondition(lambda self: self.model.live)
    @rule(data=st.data(), name=st.sampled_from(["model-1", "model-2"]))
    def pin(self, data, name):
        version = data.draw(st.sampled_from(self.model.live))
        is_new = self.store.pin(FEATURE_SET, version, name=name, actor="ann")
        assert is_new == ((version, name) not in self.model.pins)
        self.model.pins.add((version, name))

    @precondition(lambda self: self.model.pins)
    @rule(data=st.data())
    def unpin(self, data):
        version, name = data.draw(st.sampled_from(sorted(self.model.pins)))
        self.store.unpin(FEATURE_SET, version, name=name)
        self.model.pins.remove((version, name))

    @rule(keep=st.integers(0, 3), days=st.sampled_from([0, 44]))
    def collect(self, keep, days):
        policy = Policy(keep_newest=keep, keep_days=days, grace_s=0.0, leftover_age=timedelta(0))
        survivors = self.model.survivors(policy)
        gone = {version for version in self.model.live if version not in survivors}
        sweep = self.store.collect(FEATURE_SET, policy=policy, actor="gc", protected=tuple)
        assert {candidate.version for candidate in sweep.deleted if not candidate.reason.startswith("left by")} == gone
        assert sweep.spared == {}
        self.model.expired |= gone

    @invariant()
    def agrees_with_the_model(self):
        if not hasattr(self, "model"):
            return
        history = self.store.history(FEATURE_SET)
        assert [version.version for version in history.live] == self.model.live
        assert (history.head.version if history.head else None) == self.model.latest
        found = {(version, name) for version, names in self.store.pins(FEATURE_SET).items() for name in names}
        assert found == self.model.pins
        if self.model.latest:
            day, content = self.model.versions[self.model.latest]
            assert history.head_version.content_hash == hash_of(content, day=day)
            assert check_unaware_reader(self.store) == self.model.latest

    def teardown(self):
        if hasattr(self, "model"):
            check_versions_are_whole(self.store)
            check_heals(self.store)


def run(machine, *, examples, steps, **options):
    chosen = settings(max_examples=examples, stateful_step_count=steps, database=None, suppress_health_check=list(HealthCheck), **options)
    run_state_machine_as_test(machine, settings=chosen)
    record_figure(f"random histories beside a model, {machine.__name__}", tried=machine.runs, violations=0)


@pytest.mark.timeout(3_600)
def test_any_order_of_operations_agrees_with_the_model_in_memory():
    class InMemory(Publishing):
        runs = 0

    run(InMemory, examples=500 if IS_FULL else 40, steps=30)


@pytest.mark.timeout(3_600)
def test_any_order_of_operations_agrees_with_the_model_on_a_real_server(s3):
    class OnSeaweedFS(Publishing):
        runs = 0
        objects_of = staticmethod(lambda: (s3.store, f"{s3.uri}{OnSeaweedFS.runs}/"))

    run(OnSeaweedFS, examples=40 if IS_FULL else 4, steps=15)


def _returned(layout, *, new_id):
    return (yield from log_access.read_history(layout)), 0


def _no_pins(layout, *, version=None):
    yield from log_access.read_history(layout)
    return {}


def _plan_without_head(history, objects, **options):
    return _plan(replace(history, head=None), objects, **options)


_plan = retention.plan


@pytest.mark.parametrize(
    ("module", "rule_removed", "mutant"),
    [
        (decisions, "refusal_to_promote", lambda history, version: None),
        (decisions, "existing_version", lambda history, **_: None),
        (decisions, "check_expirable", lambda history, version: None),
        (publication, "project", _returned),
        (retention, "list_pins", _no_pins),
    ],
    ids=["backfill promotes", "no reuse", "latest may expire", "latest is not projected", "pins are not seen"],
)
def test_the_model_notices_a_missing_rule(monkeypatch, module, rule_removed, mutant):
    class Mutant(Publishing):
        runs = 0

    if rule_removed == "check_expirable":
        monkeypatch.setattr(retention, "plan", _plan_without_head)
    monkeypatch.setattr(module, rule_removed, mutant)
    with pytest.raises((AssertionError, FeaturePlatformError, KeyError, IndexError)):
        run(Mutant, examples=100, steps=30, phases=[Phase.generate], derandomize=True, report_multiple_bugs=False)
