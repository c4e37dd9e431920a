"""What docs/changes.md says of raw data that changes after it was published, line by line, by the pass of ``refresh``; in memory."""

from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from feature_platform.adapters.feast.memory import MemoryFeatureRegistry
from feature_platform.adapters.online_store.memory import MemoryOnlineStore
from feature_platform.core.online.load import LoadReport
from feature_platform.errors import StorageError
from feature_platform.use_cases.build import build
from feature_platform.use_cases.commit import commit
from feature_platform.use_cases.currency import look
from feature_platform.use_cases.refresh import Refreshed, refresh
from feature_platform.use_cases.serve import serve
from feature_platform.wiring import Platform
from tests.support.platforms import event, json_lines, memory_platform, put_events, put_raw

FIRST, LAST, TODAY = "2026-01-10", "2026-01-11", date(2026, 1, 12)
OF_FIRST, OF_LAST = "v_20260111T000000", "v_20260112T000000"


class UnreliableOnlineStore(MemoryOnlineStore):
    """An online store that may be away when it is to be loaded."""

    is_away = False

    def load(self, *given: Any, **named: Any) -> LoadReport:
        if self.is_away:
            raise StorageError("Redis is away.")
        return super().load(*given, **named)


@pytest.fixture
def online() -> UnreliableOnlineStore:
    return UnreliableOnlineStore()


@pytest.fixture
def platform(tmp_path: Path, online: UnreliableOnlineStore) -> Platform:
    """Two days, published and online."""
    project = memory_platform(tmp_path).project
    platform = memory_platform(tmp_path, online=online, registry=MemoryFeatureRegistry(online, project=project))
    for day in (FIRST, LAST):
        put_events(platform, day, users=(1, 2))
        refreshed(platform)
    serve(platform, "user_features")
    return platform


def refreshed(platform: Platform) -> Refreshed:
    contract = platform.catalog.contract("user_features")
    found = look(platform, contract, today=TODAY, days=14)
    return refresh(platform, contract, found, run_id=uuid4().hex, actor="test", log=lambda _: None)


def served(platform: Platform) -> str:
    marker = platform.online.marker(project=platform.project, view="user_features")
    assert marker is not None
    return marker.target.version


def test_the_same_rows_in_another_file_become_a_version_of_the_same_content(platform: Platform) -> None:
    put_raw(platform, LAST, {"part-0.jsonl": json_lines([event(user, f"{LAST}T12:00:00Z") for user in (2, 1)])})
    (rebuilt,) = refreshed(platform).rebuilt
    assert rebuilt.version == "v_20260112T000001" == served(platform)
    contents = {platform.feature_sets.readable("user_features", version).content_hash for version in (OF_LAST, rebuilt.version)}
    assert len(contents) == 1


def test_a_file_that_returns_to_its_earlier_bytes_is_rebuilt_once_and_then_current(platform: Platform) -> None:
    first = platform.objects.get(f"{platform.settings.raw_uri}/events/dt={LAST}/part-0.jsonl")
    assert first is not None
    put_raw(platform, LAST, {"part-0.jsonl": first.body + b"\n"})
    assert [one.version for one in refreshed(platform).rebuilt] == ["v_20260112T000001"]
    put_raw(platform, LAST, {"part-0.jsonl": first.body})
    assert [one.version for one in refreshed(platform).rebuilt] == ["v_20260112T000002"]
    assert (refreshed(platform).rebuilt, served(platform)) == ((), "v_20260112T000002")


@pytest.mark.parametrize("body", [None, b"#"])
def test_an_earlier_version_whose_metadata_is_gone_or_damaged_keeps_no_later_day_back(platform: Platform, body: bytes | None) -> None:
    uri = platform.feature_sets.layout("user_features").version_file(OF_FIRST, "metadata.json")
    found = platform.objects.head(uri)
    platform.objects.delete(uri)
    if body and found:
        platform.objects.put(uri, body * found.size_bytes, write_id="somebody", sha256=None, condition=None)
    put_events(platform, LAST, users=(1, 2, 3))
    done = refreshed(platform)
    assert (done.latest, served(platform)) == ("v_20260112T000001", "v_20260112T000001")
    contract = platform.catalog.contract("user_features")
    again = build(platform, contract, FIRST, run_id="again", on_validated=lambda _: None)
    assert commit(platform, "user_features", FIRST, again).version == "v_20260111T000001"


def test_a_correction_with_too_many_bad_rows_builds_nothing_that_rests_on_it_and_says_so(platform: Platform) -> None:
    put_raw(platform, FIRST, {"part-0.jsonl": json_lines([event(None, f"{FIRST}T12:00:00Z"), event(1, f"{FIRST}T13:00:00Z")])})
    done = refreshed(platform)
    assert [one.version for one in done.rebuilt] == [None, None]
    assert ["max_rejected_ratio" in fault for fault in done.faults] == [True, True]
    assert (done.latest, served(platform)) == (None, OF_LAST)


def test_redis_away_during_a_refresh_leaves_online_behind_until_it_is_run_again(platform: Platform, online: UnreliableOnlineStore) -> None:
    put_events(platform, LAST, users=(1, 2, 3))
    online.is_away = True
    with pytest.raises(StorageError, match="Redis is away"):
        refreshed(platform)
    assert served(platform) == OF_LAST
    online.is_away = False
    again = refreshed(platform)
    assert (again.rebuilt, again.online, served(platform)) == ((), "v_20260112T000001", "v_20260112T000001")


def test_a_correction_of_the_day_that_latest_was_rolled_back_from_does_not_become_latest(platform: Platform) -> None:
    platform.feature_sets.rollback("user_features", OF_FIRST, actor="test", reason="wrong")
    serve(platform, "user_features")
    put_events(platform, LAST, users=(1,))
    done = refreshed(platform)
    assert [one.version for one in done.rebuilt] == ["v_20260112T000001"]
    assert (done.latest, served(platform)) == (None, OF_FIRST)
