"""Windows from tiles: the same rows as from events, whatever happened to the days and the tiles; and which blocks make up a window."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_platform.core.compute.tiles import Block, Tile, Window, WindowPlan, blocks_of, plan_window
from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.core.events.raw import RawManifest
from feature_platform.core.events.validated import DataFile, ValidatedDay
from feature_platform.core.layout import window_partitions
from feature_platform.errors import InvalidDataError
from feature_platform.use_cases.build import build
from feature_platform.wiring import Platform
from tests.support.platforms import event, json_lines, memory_platform, put_raw

FIRST = date(2026, 1, 1)
LAST = "2026-01-26"
LONG, SHORT = 21, 3


def validated(day: date, *, rows: int = 10) -> ValidatedDay:
    file = DataFile(f"s3://work/{day}", "etag", f"sha of {day}", 100, rows)
    raw = RawManifest(source="events", partition=day.isoformat(), objects=())
    return ValidatedDay("events", day.isoformat(), "hash", raw, kept=rows, rejected={}, files=(file,), quarantine=())


def contract(*windows: int) -> Contract:
    features = [
        {"name": f"f_{function}_{days}", "type": kind, "aggregation": {"function": function, "window": f"{days}d", **taken}}
        for days in windows
        for function, kind, taken in (
            ("count", "int64", {}),
            ("mean", "float64", {"column": "session_sec"}),
            ("stddev", "float64", {"column": "session_sec"}),
            ("last", "string", {"column": "country"}),
            ("approx_distinct", "int64", {"column": "country"}),
        )
    ]
    keys = [{"name": "user_id", "type": "int64"}, {"name": "event_timestamp", "type": "timestamp"}]
    document = {"feature_set": "user_features", "version": "v1", "primary_keys": ["user_id"], "columns": [*keys, *features]}
    return load_contract(json.dumps(document), file="user_features.schema.json")


@given(end=st.dates(date(2020, 1, 1), date(2030, 1, 1)), windows=st.sets(st.integers(1, 200), min_size=1, max_size=4))
@settings(max_examples=100)
def test_blocks_hold_each_day_once_and_none_reaches_over_the_start_of_a_window(end: date, windows: set[int]) -> None:
    longest = max(windows)
    days = [validated(end - timedelta(days=back)) for back in range(1, longest + 1) if back % 5]
    blocks = blocks_of(contract(*windows), days, end=end)
    assert [day.partition for block in blocks for day in block.days] == [day.partition for day in reversed(days)]
    for block in blocks:
        assert block.first.toordinal() % block.length == 0
        for window in windows:
            start = end - timedelta(days=window)
            assert block.first >= start or block.first + timedelta(days=block.length) <= start
    # Of each segment between two windows: at each end at most 7 days and 7 blocks of 8, and what lies between in blocks of 64.
    assert len(blocks) <= len(windows) * 28 + longest // 64


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    platform = memory_platform(tmp_path, start=FIRST)
    for place in range(26):
        deliver(platform, FIRST + timedelta(days=place))
    return platform


def deliver(platform: Platform, day: date, *, session: float = 1.5) -> None:
    """Six events of each of some users, of which every day has others."""
    events = [
        event(user, f"{day}T{hour:02}:00:00Z", session_sec=session * hour, country="PL" if (user + hour) % 3 else "DE")
        for user in range(day.day % 4, 12, 2)
        for hour in range(6)
    ]
    put_raw(platform, day.isoformat(), {"part-0.jsonl": json_lines(events)})


def built(platform: Platform, wanted: Contract, *, versions: int) -> tuple[pa.Table, WindowPlan]:
    done = build(platform, wanted, LAST, run_id="test", on_validated=lambda _: None, versions=versions)
    return done.table.to_arrow(), done.window


def from_events(platform: Platform, wanted: Contract) -> pa.Table:
    source = platform.catalog.source_of(wanted)
    moment = datetime.fromisoformat(LAST).replace(tzinfo=UTC) + timedelta(days=1)
    days = [day for key in window_partitions(moment, days=LONG) if (day := platform.engine.read_day(source, key))]
    return platform.engine.build(wanted, [Window(source, days)], as_of=moment).to_arrow()


def tile_files(platform: Platform) -> dict[str, str]:
    return {info.uri: info.etag for info in platform.objects.scan(f"{platform.settings.work_uri}/tiles/")}


def test_one_version_from_cold_reads_events_and_a_run_of_several_makes_tiles_that_the_next_one_finds(platform: Platform) -> None:
    wanted = contract(LONG, SHORT)
    cold, plan = built(platform, wanted, versions=1)
    assert plan.told == "events: 0 of 21 days have tiles: making the others costs more than reading events once"
    assert tile_files(platform) == {}
    warm, plan = built(platform, wanted, versions=2)
    assert plan.told == "tiles: 0 of 21 days had tiles, and the run builds 2 versions"
    kept = tile_files(platform)
    assert len([uri for uri in kept if "/days=1/" in uri and uri.endswith(".parquet")]) == LONG
    assert [uri.split("/dt=")[1][:10] for uri in kept if "/days=8/" in uri and uri.endswith(".parquet")] == ["2026-01-08", "2026-01-16"]
    again, plan = built(platform, wanted, versions=1)
    assert plan.told == "tiles: 21 of 21 days had tiles"
    assert tile_files(platform) == kept
    assert cold.equals(warm)
    assert cold.equals(again)


def test_a_corrected_day_is_aggregated_anew_and_merged_with_the_days_that_stand(platform: Platform) -> None:
    wanted = contract(LONG, SHORT)
    built(platform, wanted, versions=2)
    before = tile_files(platform)
    deliver(platform, date(2026, 1, 14), session=9.5)
    corrected, plan = built(platform, wanted, versions=1)
    assert plan.from_tiles
    assert corrected.equals(from_events(platform, wanted))
    changed = {uri for uri, etag in tile_files(platform).items() if before.get(uri) != etag}
    assert {uri.split("/days=")[1].split("/")[1] for uri in changed} == {"dt=2026-01-14", "dt=2026-01-08"}


@pytest.mark.parametrize("lost", ["gone", "other bytes"])
def test_a_lost_or_damaged_tile_costs_time_and_changes_nothing(platform: Platform, lost: str) -> None:
    wanted = contract(LONG, SHORT)
    expected, _ = built(platform, wanted, versions=2)
    victim = next(uri for uri in tile_files(platform) if "/days=8/" in uri and uri.endswith(".parquet"))
    if lost == "gone":
        platform.objects.delete(victim)
    else:
        platform.objects.put(victim, b"PAR1", write_id="other", sha256=None, condition=None)
    found, plan = built(platform, wanted, versions=1)
    assert plan.told.startswith("events: its tiles cannot be used: ")
    assert found.equals(expected)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"format": 1}', b'{"format": 1, "rows": {}}'])
def test_a_damaged_manifest_of_a_tile_or_a_day_is_made_anew(platform: Platform, body: bytes) -> None:
    wanted = contract(LONG, SHORT)
    expected, _ = built(platform, wanted, versions=2)
    for kind in ("tiles", "validated"):
        for info in list(platform.objects.scan(f"{platform.settings.work_uri}/{kind}/")):
            if info.uri.endswith("manifest.json"):
                platform.objects.put(info.uri, body, write_id="other", sha256=None, condition=None)
    with pytest.raises(InvalidDataError, match=r"manifest.json (is damaged|has format) .*Validate the day again"):
        platform.engine.read_day(platform.catalog.source_of(wanted), LAST)
    found, plan = built(platform, wanted, versions=2)
    assert plan.told == "tiles: 0 of 21 days had tiles, and the run builds 2 versions"
    assert found.equals(expected)


def test_tiles_with_nearly_as_many_rows_as_their_events_are_not_read() -> None:
    days = [validated(FIRST + timedelta(days=place), rows=10) for place in range(4)]
    blocks = [Block(FIRST + timedelta(days=place), 1, (day,)) for place, day in enumerate(days)]
    many = {block: Tile("", (DataFile("s3://work/t", "etag", "sha", 100, 6),)) for block in blocks}
    assert plan_window(days, many, versions=30).told == "events: tiles have 60% of the rows of their events, so merging them costs as much"
