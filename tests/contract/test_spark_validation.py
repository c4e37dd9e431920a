"""Raw days validated on a Spark Connect server: the same files, bytes and counts as in this process, and what happens where it fails.

The server is Sail, which needs no Java. `make test-spark` runs more of it, against Spark itself.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pytest

from feature_platform.adapters.compute.duckdb.session import EngineLimits
from feature_platform.adapters.compute.spark import session, validation
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.core.objects import Condition, Content
from feature_platform.errors import ConfigurationError, FeaturePlatformError, StorageError
from tests.contract.test_compute_engine_raw import RawFilesContract
from tests.support.directory_store import DirectoryStore
from tests.support.raw_damage import LIMITS, raw_case
from tests.support.raw_days import WORK_URI, RawDay, source_contract
from tests.support.spark_connect import running, spark_engine

EXAMPLES = int(os.environ.get("SPARK_EXAMPLES", "10"))
TOLD_APART = (62, 69)
"""A column called v0 beside zeros with a sign; a key of one number."""

IS_SPARK = "SPARK_HOME" in os.environ
NOON = datetime(2026, 1, 14, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def remote() -> Iterator[str]:
    with running() as address:
        yield address


def spark_day(directory: Path, remote: str, *, store: DirectoryStore | None = None, **given: Any) -> RawDay:
    store = store or DirectoryStore(directory / "objects")
    day = RawDay(directory, store=store, limits=given.get("read_limits"))
    day.engine = spark_engine(store, remote=remote, work_uri=WORK_URI, workdir=directory, **given)
    return day


def outcome(day: RawDay, source: SourceContract) -> ValidatedDay | str:
    """The day with the hashes of its files, or the error; nothing of it is left."""
    try:
        found: ValidatedDay | str = day.validate(source)
    except FeaturePlatformError as error:
        found = f"{type(error).__name__}: {error}".replace("/b-", "/a-")  # of two damaged objects, threads decide which is named
    uris = day.work_uris()
    assert not [uri for uri in uris if "/staging/" in uri]
    for uri in uris:
        day.store.delete(uri)
    return found


def test_random_and_damaged_files_of_every_format_give_the_same_bytes_and_the_same_refusals(tmp_path: Path, remote: str) -> None:
    kept = 0
    for seed in {*range(EXAMPLES), *TOLD_APART}:
        case = raw_case(seed)
        here = RawDay(tmp_path, limits=LIMITS, store=DirectoryStore(tmp_path / f"{seed}"))
        for name in (f"a-{case.name}", f"b-{case.name}"):  # so that there are duplicates, and two tasks
            here.put(name, case.body)
        there = spark_day(tmp_path, remote, store=here.store, read_limits=LIMITS)
        expected = outcome(here, case.source)
        assert outcome(there, case.source) == expected, f"seed {seed}"
        kept += expected.kept if isinstance(expected, ValidatedDay) else 0
    assert kept


def test_values_of_every_type_and_their_order_are_the_same(tmp_path: Path, remote: str) -> None:
    """Also what engines compare differently: zeros with a sign, lists with nulls, days before the calendar's reform, empty text."""
    wanted = source_contract(
        types={"day": "date", "code": "bytes", "seen": "timestamp", "small": "float32", "flag": "bool", "lots": "list<float64>"},
        dedup_keys=["event_type", "lots"],
    )
    lots = [None, [], [None, 1.0], [1.0, None], [1.0, -0.0], [1.0, 0.0], [1.0]]
    rows = [
        {
            "event_id": f"e{place}", "user_id": place % 3 - 2**62, "event_time": NOON, "event_type": ["", "é", "Z", None][place % 4],
            "session_sec": [0.0, -0.0, None][place % 3], "day": [date(1, 1, 1), date(1582, 10, 10), None][place % 3],
            "code": b"\xff\x00" * (place % 3), "seen": [datetime(1500, 2, 28, tzinfo=UTC), NOON][place % 2], "small": place / 3,
            "flag": place % 2 == 0, "lots": lots[place % 7],
        }
        for place in range(84)
    ]  # fmt: skip
    here = RawDay(tmp_path, store=DirectoryStore(tmp_path / "objects"))
    kinds = {"day": pa.date32(), "code": pa.binary(), "small": pa.float32(), "lots": pa.list_(pa.float64()), "event_type": pa.string()}
    for name, part in (("a.parquet", rows[40:]), ("b.parquet", rows[:40])):
        table = pa.Table.from_pylist(part)
        here.put_parquet(name, table.cast(pa.schema([field.with_type(kinds.get(field.name, field.type)) for field in table.schema])))
    expected = outcome(here, wanted)
    assert isinstance(expected, ValidatedDay)
    assert (expected.kept, dict(expected.rejected)) == (24, {"duplicate": 60})
    assert outcome(spark_day(tmp_path, remote, store=here.store), wanted) == expected


def lines(day: RawDay) -> None:
    day.put_csv("a.csv", *(f"e{place},{place},2026-01-14T10:00:00Z,view,1" for place in range(9)), "bad,row,x,,")


class Hooked(DirectoryStore):
    """Calls a function before the manifest of the quarantine is written."""

    def __init__(self, root: Path, call: Callable[[], object]) -> None:
        super().__init__(root)
        self.call = call

    def __reduce__(self) -> Any:
        return DirectoryStore, (self._root,)

    def put(self, uri: str, body: Content, *, write_id: str, sha256: str | None, condition: Condition) -> str:
        if "/quarantine/" in uri and uri.endswith(".json"):
            self.call()
        return super().put(uri, body, write_id=write_id, sha256=sha256, condition=condition)


@pytest.mark.filterwarnings(r"ignore:\[RETRIES_EXCEEDED\]")
def test_a_server_lost_midway_is_an_error_to_retry_and_the_day_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_RETRIES", 1)
    with ExitStack() as stack:
        address = stack.enter_context(running())
        day = spark_day(tmp_path, address, store=Hooked(tmp_path / "objects", stack.close))
        lines(day)
        with pytest.raises(StorageError, match="did not answer with the rows"):
            day.validate(source_contract())
    assert {uri.removeprefix(f"{WORK_URI}/").split("/")[0] for uri in day.work_uris()} == {"quarantine"}
    assert day.engine.read_day(source_contract(), "2026-01-14") is None
    assert [path.name for path in tmp_path.iterdir()] == ["objects"]


class Lost(DirectoryStore):
    """Executors cannot read it."""

    def open(self, uri: str, *, etag: str) -> BinaryIO:
        raise StorageError(f"{uri} cannot be read here")


class Deadly(DirectoryStore):
    """An executor that reads it dies."""

    def open(self, uri: str, *, etag: str) -> BinaryIO:
        os._exit(1)


def test_an_executor_that_cannot_read_the_store_is_an_error_to_retry_and_nothing_is_written(tmp_path: Path, remote: str) -> None:
    _require_nothing_written(tmp_path, remote, Lost(tmp_path / "objects"), said="cannot be read here")


@pytest.mark.skipif(not IS_SPARK, reason="Sail's executors are threads of this process; `make test-spark` kills Spark's")
def test_a_dead_executor_is_an_error_to_retry_and_nothing_is_written(tmp_path: Path, remote: str) -> None:
    _require_nothing_written(tmp_path, remote, Deadly(tmp_path / "objects"), said="Python worker exited unexpectedly")


def test_a_day_that_takes_too_long_is_ended_and_nothing_is_written(tmp_path: Path, remote: str) -> None:
    limits = EngineLimits(transform_timeout_s=0.0)
    _require_nothing_written(tmp_path, remote, DirectoryStore(tmp_path / "objects"), said="Spark took longer than 0 s", limits=limits)


def _require_nothing_written(directory: Path, remote: str, store: DirectoryStore, *, said: str, **given: Any) -> None:
    day = spark_day(directory, remote, **given)
    day.engine = spark_engine(store, remote=remote, work_uri=WORK_URI, workdir=directory, **given)
    lines(day)
    with pytest.raises(StorageError, match=said):
        day.validate(source_contract())
    assert day.work_uris() == []
    assert [path.name for path in directory.iterdir()] == ["objects"]


def test_executors_of_another_release_are_refused_with_the_remedy(tmp_path: Path, remote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "version", lambda _: "99.0")
    day = spark_day(tmp_path, remote)
    lines(day)
    with pytest.raises(ConfigurationError, match=r"Executors run feature-platform [\d.]+, and this is 99\.0; install the same release"):
        day.validate(source_contract())
    assert day.work_uris() == []


@pytest.mark.skipif(not IS_SPARK, reason="the random files above do for Sail; `make test-spark` runs this suite too")
class TestSparkEngineRaw(RawFilesContract):
    @pytest.fixture
    def day(self, tmp_path: Path, remote: str) -> RawDay:
        return spark_day(tmp_path, remote)
