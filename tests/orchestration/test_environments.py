"""Two environments over one bucket: apart by their bases, and refused where they share one."""

from pathlib import Path

import dagster as dg
import pytest

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.errors import ConfigurationError
from feature_platform.wiring import Platform
from tests.support.platforms import UPSTREAM, MainJob, memory_platform, put_events

DAY = "2026-01-10"
BUILT = "v_20260111T000000"


def environment(env: str, home: Path, store: MemoryObjectStore, *, base: str) -> Platform:
    """An environment that reads the raw data of both and writes below a base of its own, or of the other."""
    uris = {"feature_base": f"s3://memory/{base}/features", "work_uri": f"s3://memory/{base}/work"}
    return memory_platform(home, store=store, env=env, **uris)


def test_an_environment_that_names_the_base_of_another_is_refused_before_it_writes(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    store = MemoryObjectStore()
    dev, prod = (MainJob(environment(env, tmp_path, store, base="dev"), instance=instance, only=UPSTREAM) for env in ("dev", "prod"))
    put_events(dev.platform, DAY)
    assert dev.run(DAY).success
    before = {info.uri: info.etag for info in store.scan("s3://memory/")}
    run = prod.run(DAY)
    assert not run.success
    assert "s3://memory/dev/work belongs to environment 'dev'" in run.failure
    assert "Give each environment a base of its own" in run.failure
    with pytest.raises(ConfigurationError, match="s3://memory/dev/features belongs to environment 'dev'"):
        prod.platform.feature_sets.pin("user_features", BUILT, name="x", actor="test")
    assert {info.uri: info.etag for info in store.scan("s3://memory/")} == before


def test_two_environments_with_bases_of_their_own_publish_the_same_from_the_same_contract(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    store = MemoryObjectStore()
    found = []
    for env in ("dev", "prod"):
        job = MainJob(environment(env, tmp_path, store, base=env), instance=instance, only=UPSTREAM)
        put_events(job.platform, DAY)
        assert job.run(DAY).success
        found.append(job.platform.feature_sets.readable("user_features", BUILT))
    assert found[0].content_hash == found[1].content_hash
    assert found[0].schema_hash == found[1].schema_hash


def test_data_that_is_older_than_marks_belongs_to_the_first_that_writes(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    store = MemoryObjectStore()
    job = MainJob(environment("dev", tmp_path, store, base="dev"), instance=instance, only=UPSTREAM)
    put_events(job.platform, DAY)
    assert job.run(DAY).success
    for base in ("features", "work"):
        store.delete(f"s3://memory/dev/{base}/_owner.json")
    again = MainJob(environment("dev", tmp_path, store, base="dev"), instance=instance, only=UPSTREAM)
    put_events(again.platform, "2026-01-11")
    assert again.run("2026-01-11").success
    mark = store.get("s3://memory/dev/features/_owner.json")
    assert mark is not None
    assert mark.body == b'{"format": 1, "environment": "dev"}'
