"""The disk that things are spooled on fills up, at every step of the main job and at every amount of room that is not enough."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine
from feature_platform.adapters.compute.duckdb.session import EngineLimits
from feature_platform.adapters.events.raw_files import RawFiles
from feature_platform.adapters.machine.spool import disk_errors, spool
from feature_platform.cli.environment import INSTANCE, prepare_instance, start_date
from feature_platform.core.compute.tiles import Window
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.core.layout import as_of
from feature_platform.core.versions.feature_table import FeatureTable
from feature_platform.core.versions.metadata import Provenance
from feature_platform.errors import ConfigurationError, FullDiskError, StorageError
from feature_platform.local.demo_events import SCHEMA
from feature_platform.use_cases.verify import verify_latest, verify_version
from feature_platform.wiring import Platform
from tests.support.platforms import UPSTREAM, MainJob, memory_platform, put_events, put_raw
from tests.support.small_disk import SmallDisk, small_disk

DAY, NEXT = "2026-01-14", "2026-01-15"
USERS = 20_000
ROOM = (0, 4_096, 16_384, 65_536, 262_144, 1 << 20, 4 << 20)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "home", megabytes=16) as mounted:
        yield mounted


@pytest.fixture
def platform(disk: SmallDisk) -> Platform:
    """A platform whose home is the disk, with one day of events."""
    platform = memory_platform(disk.path)
    put_raw(platform, DAY, {"part-0.parquet": many_events(DAY, users=USERS)})
    return platform


def many_events(day: str, *, users: int) -> bytes:
    """One event of each of many users, as Parquet."""
    noon = as_of(day).replace(hour=12).timestamp() - 86_400
    columns = {
        "event_id": pa.array([f"{day}-{user}" for user in range(users)]),
        "user_id": pa.array(range(users), pa.int64()),
        "event_time": pa.array([int(noon * 1e6)] * users, pa.timestamp("us", tz="UTC")),
        "event_type": pa.array(["view"] * users),
        "session_sec": pa.array([user / 7 for user in range(users)]),
        "country": pa.array([f"country {user * 7919 % 99_991}" for user in range(users)]),
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=SCHEMA), sink)
    return bytes(sink.getvalue())


@dataclass(frozen=True)
class Swept:
    """How a step fared with ever more room."""

    refused_at: list[int]
    result: object


def sweep(disk: SmallDisk, step: Callable[[], object]) -> Swept:
    """Run a step with ever more room until it succeeds; each failure is ours, names disk and remedy, and leaves no file behind."""
    refused = []
    for free_bytes in ROOM:
        disk.leave(free_bytes)
        kept = {path.name for path in (disk.path / "tmp").glob("*")}
        try:
            result = step()
        except FullDiskError as error:
            refused.append(free_bytes)
            told, left = str(error), {path.name for path in (disk.path / "tmp").glob("*")}
        else:
            disk.empty()
            return Swept(refused, result)
        assert re.match(
            rf"The disk of {disk.path}/tmp is full: .* Free some space or set the variable FEATURE_PLATFORM_HOME to a larger disk", told
        )
        assert left == kept
    raise AssertionError(f"no room was enough; refused at {refused}")


def test_every_step_that_spools_says_that_the_disk_is_full_and_succeeds_once_it_is_not(disk: SmallDisk, platform: Platform) -> None:
    contract, store = platform.catalog.contract("user_features"), platform.feature_sets
    source = platform.catalog.source_of(contract)

    def validate() -> ValidatedDay:
        return platform.engine.validate(source, RawFiles(platform.objects, platform.settings.raw_uri).discover(source, DAY))

    day = sweep(disk, validate)
    assert isinstance(day.result, ValidatedDay)
    assert day.result.kept == USERS
    days = [day.result]
    built = sweep(disk, lambda: platform.engine.build(contract, [Window(source, days)], as_of=as_of(DAY)))
    table = built.result
    assert isinstance(table, FeatureTable)

    def publish(moment: str) -> str:
        done = store.commit(
            table,
            contract=contract,
            template=platform.catalog.templates["user_features"],
            as_of=as_of(moment),
            provenance=Provenance((), [moment], run_id=moment),
            idempotency_key=moment,
            actor="test",
        )
        return done.version

    first, second = sweep(disk, lambda: publish(DAY)), publish(NEXT)
    version = str(first.result)
    swept = {
        "validate": day,
        "build": built,
        "encode": first,
        "promote": sweep(disk, lambda: store.promote("user_features", version, actor="test")),
        "verify": sweep(disk, lambda: verify_version(store, "user_features", version)),
        "latest": sweep(disk, lambda: verify_latest(store, "user_features")),
    }
    store.promote("user_features", second, actor="test")
    swept["rollback"] = sweep(disk, lambda: store.rollback("user_features", version, actor="test", reason="full"))
    assert {name: 0 in one.refused_at for name, one in swept.items()} == dict.fromkeys(swept, True)
    assert verify_version(store, "user_features", version) == []
    assert verify_latest(store, "user_features") == []


def test_a_computation_that_cannot_spill_says_that_the_disk_is_full(disk: SmallDisk, platform: Platform) -> None:
    """More rows than memory holds: DuckDB's temporary files need the room."""
    source = platform.catalog.sources["events"]
    put_raw(platform, DAY, {"part-0.parquet": many_events(DAY, users=300_000)})
    raw = RawFiles(platform.objects, platform.settings.raw_uri).discover(source, DAY)
    limits = EngineLimits(memory_bytes=48 << 20)
    engine = DuckDBEngine(platform.objects, work_uri=platform.settings.work_uri, workdir=platform.workdir, limits=limits)
    disk.leave(1 << 20)
    with pytest.raises(FullDiskError, match=rf"The disk of {disk.path}/tmp is full: .*failed to offload data block"):
        engine.validate(source, raw)
    assert list(platform.workdir.iterdir()) == []


def test_a_home_without_room_for_its_memory_or_dagsters_databases_is_not_left_half_made(disk: SmallDisk) -> None:
    """Not by an empty `dagster.yaml` either, which would be taken for settings."""
    disk.leave(0)
    for prepare in (lambda: start_date(disk.path, chosen=date(2026, 1, 10)), lambda: prepare_instance(disk.path)):
        with pytest.raises(FullDiskError, match=f"The disk of {disk.path} is full"):
            prepare()
    assert not (disk.path / "start_date").exists()
    disk.leave(16_384)
    with pytest.raises(StorageError, match=r"Dagster's databases below .* could not be created .*disk is full"):
        prepare_instance(disk.path)
    disk.empty()
    home = prepare_instance(disk.path)
    assert (home / "dagster.yaml").read_text() == INSTANCE
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_runs_count() == 0


def test_the_job_fails_with_the_remedy_and_publishes_once_there_is_room(disk: SmallDisk) -> None:
    platform = memory_platform(disk.path)
    put_events(platform, DAY)
    with dg.DagsterInstance.ephemeral() as instance:
        job = MainJob(platform, instance=instance, only=UPSTREAM)
        platform.workdir.mkdir(exist_ok=True)
        disk.leave(0)
        failed = job.run(DAY)
        assert not failed.success
        assert f"The disk of {disk.path}/tmp is full: No space left on device" in failed.failure
        assert job.latest() is None
        disk.empty()
        assert job.run(DAY).success
        assert job.latest() == "v_20260115T000000"


def test_an_error_about_a_file_elsewhere_is_not_one_of_this_directory(tmp_path: Path) -> None:
    """A reader's missing credentials, for example, while something is spooled."""
    with pytest.raises(FileNotFoundError, match="credentials"), spool("test-", parent=tmp_path):
        (tmp_path.parent / "credentials").read_bytes()
    with pytest.raises(ConfigurationError, match=f"{tmp_path} cannot hold the platform's files"), spool("test-", parent=tmp_path) as made:
        (made / "absent" / "file").write_bytes(b"")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot hold"), disk_errors(tmp_path / "file" / "home"):
        (tmp_path / "file" / "home" / "tmp").mkdir(parents=True)
