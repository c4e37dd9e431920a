"""Servers that refuse, buckets that are not there, wrong credentials, days that never came: said clearly, and nothing published is lost."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from feature_platform.adapters.object_store.s3 import S3ObjectStore, S3Timeouts
from feature_platform.core.layout import as_of, partition_of, version_id
from feature_platform.settings import load_settings
from feature_platform.wiring import open_platform
from tests.support.platforms import MainJob, Run, put_events

pytestmark = pytest.mark.usefixtures("no_backoff")

TODAY = datetime.now(UTC).date()
DAY, NEXT, MISSING = ((TODAY - timedelta(days=back)).isoformat() for back in (3, 2, 1))
USERS = [{"user_id": user} for user in (1, 2, 3)]
CLOSED = "127.0.0.1:1"
Broken = Callable[..., MainJob]


@dataclass(frozen=True)
class World:
    """A published day that is served, and the same environment with something wrong in it."""

    job: MainJob
    broken: Broken

    def state(self) -> tuple[Any, ...]:
        """What is published and what is served."""
        platform = self.job.platform
        files = {info.uri: info.etag for info in platform.objects.scan(f"{platform.settings.feature_base}/")}
        served = platform.registry.read(platform.catalog.contract("user_features"), USERS)
        marker = platform.online.marker(project="feature_store_local", view="user_features")
        return files, served, marker


@pytest.fixture(scope="module")
def published(module_env: dict[str, str], module_instance: dg.DagsterInstance) -> MainJob:
    environment = {**module_env, "FEATURE_PLATFORM_START_DATE": DAY}
    job = MainJob(open_platform(load_settings(environment)), instance=module_instance)
    put_events(job.platform, DAY)
    run = job.run(DAY)
    assert run.success, run.failure
    return job


@pytest.fixture
def world(published: MainJob, module_env: dict[str, str], module_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> World:
    def broken(**changed: str) -> MainJob:
        environment = {**module_env, "FEATURE_PLATFORM_START_DATE": DAY, **changed}
        for name, value in changed.items():
            monkeypatch.setenv(name, value)
        impatient = open_platform(load_settings(environment), objects=S3ObjectStore(timeouts=S3Timeouts(attempts=2)))
        return MainJob(impatient, instance=module_instance)

    return World(published, broken)


def assert_failed(run: Run, *told: str, retries: int) -> None:
    assert (run.success, run.count("STEP_UP_FOR_RETRY")) == (False, retries)
    for text in told:
        assert text in run.failure


@pytest.mark.parametrize("step", ["raw_events", "user_features_latest"])
def test_an_s3_that_refuses_connections(world: World, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    before = world.state()
    run = world.broken(AWS_ENDPOINT_URL=f"http://{CLOSED}").run(DAY, only=[step])
    monkeypatch.undo()
    said = f"S3 at http://{CLOSED} could not be reached (EndpointConnectionError) after all retries"
    assert_failed(run, said, "Check that the endpoint is up and reachable, then run again.", retries=1)
    assert run.summary(step)["outcome"] == "failed"
    assert world.state() == before


def test_wrong_credentials(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = world.state()
    run = world.broken(AWS_SECRET_ACCESS_KEY="not-the-secret").run(DAY)
    monkeypatch.undo()
    assert_failed(run, "refused these credentials for bucket", "Correct the AWS credentials, or grant this identity", retries=0)
    assert "not-the-secret" not in run.failure
    assert world.state() == before


@pytest.mark.parametrize(
    ("variable", "step"), [("RAW_URI", "raw_events"), ("WORK_URI", "validated_events"), ("FEATURE_BASE", "user_features")]
)
def test_a_bucket_that_does_not_exist(world: World, variable: str, step: str) -> None:
    before = world.state()
    run = world.broken(**{f"FEATURE_PLATFORM_{variable}": "s3://no-such-bucket/prefix"}).run(DAY)
    assert_failed(run, "Bucket 'no-such-bucket' does not exist on S3 at http://127.0.0.1:", "Create it, or correct the URI", retries=0)
    assert run.summary(step)["outcome"] == "failed"
    assert world.state() == before


def test_a_redis_that_refuses_connections_keeps_the_new_version_and_serves_the_old(world: World) -> None:
    """What was published stays published; the next run of the online asset serves it."""
    _, served, marker = world.state()
    head = world.job.platform.feature_sets.history("user_features").head_version
    assert head is not None
    day = partition_of(head.as_of)
    put_events(world.job.platform, day, event_type="purchase")
    run = world.broken(FEATURE_PLATFORM_REDIS=f"{CLOSED},db=0,socket_connect_timeout=0.2,retry=null").run(day)
    assert_failed(run, CLOSED, "Redis", retries=1)
    assert run.summary("user_features_latest")["outcome"] == "succeeded"
    assert run.summary("user_features_online")["outcome"] == "failed"
    newest = version_id(head.as_of + timedelta(seconds=1))
    assert (world.job.version_of(day), world.job.latest()) == (newest, newest)
    assert world.state()[1:] == (served, marker)

    again = world.job.run(day, only=["user_features_online"])
    assert again.success, again.failure
    assert [row["f_purchases_1d"] for row in served] == [0, 0, 0]
    assert [row["f_purchases_1d"] for row in world.state()[1]] == [1, 1, 1]


def test_a_missing_day_is_skipped_by_its_run_refused_by_hand_and_recovered_by_a_later_delivery(world: World) -> None:
    before = world.state()
    run = world.job.run(MISSING)
    assert run.success, run.failure
    assert (run.summary("raw_events")["outcome"], run.summary("user_features"), world.state()) == ("skipped", {}, before)
    run = world.job.run(MISSING, only=["validated_events"])
    assert_failed(run, f"No raw objects of source 'events' for {MISSING}", "Wait for upstream to deliver the day", retries=0)
    assert world.state() == before

    put_events(world.job.platform, NEXT, users=(1, 2, 3, 4))
    put_events(world.job.platform, MISSING, users=(1, 2, 3, 5))
    recovered = world.job.run(NEXT, until=MISSING)
    assert recovered.success, recovered.failure
    assert world.job.latest() == version_id(as_of(MISSING))
    assert [row["f_total_events_7d"] for row in world.state()[1]] == [3, 3, 3]
