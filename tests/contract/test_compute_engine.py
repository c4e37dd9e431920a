"""What every compute engine must do with raw days; each engine inherits the suite.

``FAULTS=full`` (``make faults``) tries more than twice as many examples.
"""

import json
import math
import os
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_platform.adapters.events.raw_files import RawFiles
from feature_platform.core.compute.tiles import Window, block_of, blocks_of
from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.core.contract.source import load_source_contract
from feature_platform.core.events.raw import ReadLimits
from feature_platform.core.events.validated import MANIFEST
from feature_platform.core.layout import as_of
from feature_platform.errors import ConflictError, InvalidDataError
from tests.support.feature_oracle import features_of
from tests.support.raw_days import DAY, HEADER, RAW_URI, WORK_URI, RawDay, source_contract
from tests.support.raw_oracle import judge_text

IS_FULL = os.environ.get("FAULTS") == "full"
SOURCE = source_contract()
START = datetime(2026, 1, 14, tzinfo=UTC)


def contract(**overrides: Any) -> Contract:
    document = {
        "feature_set": "user_features",
        "version": "v1",
        "primary_keys": ["user_id"],
        "columns": [
            {"name": "user_id", "type": "int64"},
            {"name": "event_timestamp", "type": "timestamp"},
            {"name": "f_events", "type": "int64", "aggregation": {"function": "count", "window": "2d"}},
            {"name": "f_mean", "type": "float64", "aggregation": {"function": "mean", "column": "session_sec", "window": "1d"}},
            {"name": "f_last", "type": "string", "aggregation": {"function": "last", "column": "event_type", "window": "2d"}},
            {"name": "f_kinds", "type": "int64", "aggregation": {"function": "approx_distinct", "column": "event_type", "window": "2d"}},
        ],
        **overrides,
    }
    return load_contract(json.dumps(document), file="user_features.schema.json")


cells = st.sampled_from(
    ["", "1", "7", "abc", "1.5", "nan", "1e300", "2026-01-14T10:00:00Z", "2026-01-15", '"', "x,y", "é", "-1", "\\ud800"]
)
lines = st.lists(st.lists(cells, min_size=4, max_size=6).map(",".join) | st.text(max_size=12), max_size=12)
good_rows = st.lists(
    st.tuples(
        st.sampled_from(["e1", "e2", "e3", "e4", "e5"]),
        st.integers(1, 3),
        st.integers(0, 86_399).map(lambda s: (START + timedelta(seconds=s)).strftime("%Y-%m-%dT%H:%M:%SZ")),
        st.sampled_from(["view", "buy"]),
        st.sampled_from(["", "1", "2.5", "0.125"]),
    ).map(lambda row: ",".join(map(str, row))),
    max_size=12,
)


class ComputeEngineContract:
    """Inherit it and provide ``day``: a raw day on a store, with an engine."""

    @pytest.fixture
    def day(self, tmp_path: Path) -> RawDay:
        raise NotImplementedError

    def test_good_rows_of_every_format_are_kept_with_their_values(self, day: RawDay) -> None:
        day.put_csv("a.csv", "e1,1,2026-01-14T10:00:00Z,view,1.5")
        day.put("b.jsonl", '{"event_id":"e2","user_id":2,"event_time":"2026-01-14 11:00","event_type":"buy"}\n')
        table = pa.table(
            {
                "event_id": ["e3"],
                "user_id": [3],
                "event_time": pa.array([1_768_392_000_000_000], type=pa.timestamp("us")),
                "event_type": [None],
                "session_sec": [2.0],
            }
        )
        day.put_parquet("c.parquet", table)
        validated = day.validate(SOURCE)
        assert (validated.kept, dict(validated.rejected)) == (3, {})
        assert [tuple(row.values()) for row in day.rows(validated.files)] == [
            ("e1", 1, START + timedelta(hours=10), "view", 1.5),
            ("e2", 2, START + timedelta(hours=11), "buy", None),
            ("e3", 3, START + timedelta(hours=12), None, 2.0),
        ]

    def test_each_bad_row_goes_to_quarantine_with_place_reason_detail_and_text(self, day: RawDay) -> None:
        day.put_csv(
            "a.csv",
            "e0,1,2026-01-14T00:00:00Z,view,1",
            "e1,one,2026-01-14T10:00:00Z,view,1",
            "e2,,2026-01-14T10:00:00Z,view,1",
            "e3,1,2026-01-14T10:00:00Z,view,nan",
            "e4,1,2026-01-14T10:00:00Z,view,-inf",
            "e5,1,2026-01-14T10:00:00Z,view,1e17",
            "e6,99999999999999999999,2026-01-14T10:00:00Z,view,1",
            "e7,1,2026-01-13T23:59:59.999999Z,view,1",
            "e8,1,2026-01-15T00:00:00Z,view,1",
            "e9,1,2031-01-01T00:00:00Z,view,1",
            "e0,1,2026-01-14T00:00:00Z,view,1",
            "short,1",
        )
        validated = day.validate(SOURCE)
        assert (validated.rows_in, validated.kept, validated.quarantined) == (12, 1, 11)
        assert dict(validated.rejected) == {
            "unreadable_row": 1, "wrong_type": 1, "null_value": 1, "non_finite": 2, "out_of_range": 2,
            "before_partition": 1, "after_partition": 2, "duplicate": 1,
        }  # fmt: skip
        quarantined = {row["row_number"]: row for row in day.rows(validated.quarantine)}
        assert quarantined[3] == {
            "file": f"{RAW_URI}/events/dt={DAY}/a.csv",
            "row_number": 3,
            "reason": "wrong_type",
            "detail": "column 'user_id': found one, expected int64",
            "original": "e1,one,2026-01-14T10:00:00Z,view,1",
        }
        assert quarantined[4]["detail"] == "column 'user_id': found no value, expected one"
        assert quarantined[7]["detail"].startswith("column 'session_sec': found 1e17, expected at most ±9.2e18 multiples of 1e-3")
        assert quarantined[8]["detail"] == "column 'user_id': found 99999999999999999999, expected a value that fits int64"
        assert quarantined[11]["detail"] == "2031-01-01T00:00:00.000000Z lies after 2026-01-14"
        assert quarantined[12]["detail"] == "another row of the day has equal event_id"
        assert quarantined[13] == {
            **quarantined[13],
            "reason": "unreadable_row",
            "detail": "found 2 cells, expected 5 as in the header",
            "original": "short,1",
        }

    def test_timestamps_of_mixed_zones_are_the_moments_they_name(self, day: RawDay) -> None:
        written = [
            "2026-01-14T10:00:00Z",
            "2026-01-14T10:00:00+05:30",
            "2026-01-14 10:00:00-0800",
            "2026-01-14T10:00:00",
            "2026-01-14",
            "2026-01-14T10:00:00.1234567+01",
            "2026-01-14t10:00:00z",
        ]
        day.put_csv("a.csv", *(f"e{n},1,{text},view,1" for n, text in enumerate(written)))
        found = {row["event_id"]: row["event_time"] for row in day.rows(day.validate(SOURCE).files)}
        at = datetime(2026, 1, 14, 10, tzinfo=UTC)
        assert found == {
            "e0": at, "e1": at - timedelta(hours=5, minutes=30), "e2": at + timedelta(hours=8), "e3": at, "e4": START,
            "e5": at - timedelta(hours=1) + timedelta(microseconds=123_456), "e6": at,
        }  # fmt: skip

    def test_a_number_is_a_timestamp_only_where_the_contract_names_its_unit(self, day: RawDay) -> None:
        moment = int(datetime(2026, 1, 14, 10, tzinfo=UTC).timestamp())
        day.put_csv("a.csv", f"e1,1,{moment},view,1", f"e2,1,{moment}000,view,1")
        assert dict(day.validate(SOURCE).rejected) == {"wrong_type": 2}
        in_seconds = source_contract(extras={"event_time": {"epoch_unit": "s"}})
        validated = day.validate(in_seconds)
        assert [row["event_time"] for row in day.rows(validated.files)] == [datetime(2026, 1, 14, 10, tzinfo=UTC)]
        assert day.rejected(validated) == [("a.csv", 3, "out_of_range")]

    @pytest.mark.parametrize(("names", "kept"), [(("a.csv", "b.csv"), 1.0), (("b.csv", "a.csv"), 1.0)])
    def test_which_duplicate_is_kept_follows_from_the_rows_and_not_from_file_names(
        self, day: RawDay, names: tuple[str, str], kept: float
    ) -> None:
        day.put_csv(names[0], "e1,1,2026-01-14T10:00:00Z,view,1")
        day.put_csv(names[1], "e1,1,2026-01-14T10:00:00Z,view,2", "e1,1,2026-01-14T11:00:00Z,view,0")
        validated = day.validate(SOURCE)
        assert [row["session_sec"] for row in day.rows(validated.files)] == [kept]
        assert dict(validated.rejected) == {"duplicate": 2}

    def test_validating_again_writes_the_same_bytes_and_nothing_else(self, day: RawDay) -> None:
        day.put_csv("a.csv", *(f"e{n},{n % 7},2026-01-14T10:00:00Z,view,{n}" for n in range(500)), "bad")
        first = day.validate(SOURCE)
        before = {uri: day.store.get(uri) for uri in day.work_uris()}
        assert day.validate(SOURCE) == first
        after = {uri: day.store.get(uri) for uri in day.work_uris()}
        assert {uri: stored.body for uri, stored in before.items() if stored} == {
            uri: stored.body for uri, stored in after.items() if stored
        }

    def test_a_corrected_day_is_read_by_its_new_manifest_alone(self, day: RawDay) -> None:
        day.put_csv("a.csv", "e1,1,2026-01-14T10:00:00Z,view,1", "e2,2,2026-01-14T10:00:00Z,view,1")
        first = day.validate(SOURCE)
        day.put_csv("a.csv", "e1,1,2026-01-14T10:00:00Z,view,9")
        second = day.validate(SOURCE)
        assert day.engine.read_day(SOURCE, DAY) == second
        assert {file.uri for file in first.files}.isdisjoint(file.uri for file in second.files)
        table = day.engine.build(contract(), [Window(SOURCE, [second])], as_of=as_of(DAY)).to_arrow()
        assert table.select(["user_id", "f_mean"]).to_pylist() == [{"user_id": 1, "f_mean": 9.0}]

    def test_a_day_never_validated_is_none(self, day: RawDay) -> None:
        assert day.engine.read_day(SOURCE, DAY) is None

    def test_too_many_rejects_publish_nothing_but_the_quarantine(self, day: RawDay) -> None:
        strict = source_contract(max_rejected_ratio=0.25)
        day.put_csv("a.csv", "e1,1,2026-01-14T10:00:00Z,view,1")
        accepted = day.validate(strict)
        day.put_csv("b.csv", "e2,x,2026-01-14T10:00:00Z,view,1", "e3,,2026-01-14T10:00:00Z,view,1")
        with pytest.raises(InvalidDataError) as caught:
            day.validate(strict)
        assert "2 of 3 rows were rejected (66.7%); expected at most 25.0% (max_rejected_ratio)" in str(caught.value)
        assert caught.value.faults == ("wrong_type: 1 row(s)", "null_value: 1 row(s)")
        assert day.engine.read_day(strict, DAY) == accepted
        manifest = day.store.get(f"{WORK_URI}/quarantine/events/dt={DAY}/{MANIFEST}")
        assert manifest is not None
        assert json.loads(manifest.body)["rejected"] == {"wrong_type": 1, "null_value": 1}

    def test_a_raw_object_that_changed_since_discovery_is_a_conflict(self, day: RawDay) -> None:
        day.put_csv("a.csv", "e1,1,2026-01-14T10:00:00Z,view,1")
        raw = RawFiles(day.store, RAW_URI).discover(SOURCE, DAY)
        day.put_csv("a.csv", "e1,1,2026-01-14T10:00:00Z,view,2")
        with pytest.raises(ConflictError):
            day.engine.validate(SOURCE, raw)
        assert day.work_uris() == []

    def test_a_validated_file_that_changed_is_a_conflict(self, day: RawDay) -> None:
        day.put_csv("a.csv", "e1,1,2026-01-14T10:00:00Z,view,1")
        validated = day.validate(SOURCE)
        day.store.put(validated.files[0].uri, b"other", write_id="intruder", sha256=None, condition=None)
        with pytest.raises(ConflictError):
            day.engine.build(contract(), [Window(SOURCE, [validated])], as_of=as_of(DAY))

    @given(files=st.lists(st.tuples(good_rows, lines), min_size=1, max_size=3))
    @settings(max_examples=40 if IS_FULL else 15, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_no_row_is_ever_lost_whatever_the_files_hold(self, day: RawDay, files: list[tuple[list[str], list[str]]]) -> None:
        fresh = type(day)(day.workdir)
        for place, (good, junk) in enumerate(files):
            fresh.put(f"{place}.csv", "\n".join([HEADER, *good, *junk]).encode(errors="surrogatepass"))
        limits, bodies = ReadLimits(), [fresh.store.get(item.uri) for item in fresh.store.scan(RAW_URI)]
        judged = [judge_text(body.body, kind="csv", gzipped=False, source=SOURCE, day=START, limits=limits) for body in bodies if body]
        if not (rows := sum(one.rows for one in judged)):
            return
        validated = fresh.engine.validate(SOURCE, RawFiles(fresh.store, RAW_URI).discover(SOURCE, DAY))
        kept, rejected = fresh.rows(validated.files), fresh.rows(validated.quarantine)
        assert rows == len(kept) + len(rejected) == validated.kept + validated.quarantined == validated.raw.rows
        assert dict(validated.rejected) == Counter(row["reason"] for row in rejected)
        assert len({row["event_id"] for row in kept}) == len(kept)
        assert all(START <= row["event_time"] < START + timedelta(days=1) for row in kept)
        assert len({(row["file"], row["row_number"]) for row in rejected}) == len(rejected)

    @given(good=good_rows.filter(bool), earlier=good_rows)
    @settings(max_examples=15 if IS_FULL else 6, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_features_of_raw_files_equal_the_naive_oracle(self, day: RawDay, good: list[str], earlier: list[str]) -> None:
        fresh = type(day)(day.workdir)
        fresh.put("a.csv", "\n".join([HEADER, *good]))
        fresh.put(
            "a.csv",
            "\n".join([HEADER, *(line.replace("2026-01-14", "2026-01-13") for line in [*earlier, "z,1,2026-01-14,view,"])]),
            day="2026-01-13",
        )
        days = [fresh.validate(SOURCE, day=DAY), fresh.validate(SOURCE, day="2026-01-13")]
        events = [row for validated in days for row in fresh.rows(validated.files)]
        table = fresh.engine.build(contract(), [Window(SOURCE, days)], as_of=as_of(DAY))
        assert table.to_arrow().to_pylist() == features_of(contract(), SOURCE, as_of=as_of(DAY), events=events)
        blocks = blocks_of(contract(), days, end=as_of(DAY).date())
        tiles = [fresh.engine.make_tile(contract(), SOURCE, block) for block in blocks]
        by_tiles = fresh.engine.build(contract(), [Window(SOURCE, days, tiles)], as_of=as_of(DAY))
        assert by_tiles.to_arrow().equals(table.to_arrow())
        assert [fresh.engine.find_tile(contract(), SOURCE, block) for block in blocks] == tiles

    def test_a_set_of_two_sources_has_a_row_for_each_key_that_either_has(self, day: RawDay) -> None:
        day.put_csv("a.csv", "e1,1,2026-01-14T10:00:00Z,view,1", "e2,2,2026-01-14T10:00:00Z,view,1")
        paid = load_source_contract(json.dumps({**SOURCE.document, "source": "payments"}), file="payments.source.json")
        lines = [HEADER, "e1,2,2026-01-14T11:00:00Z,paid,2.5", "e2,3,2026-01-14T11:00:00Z,paid,4"]
        day.store.put(f"{RAW_URI}/payments/dt={DAY}/a.csv", "\n".join(lines).encode(), write_id="upstream", sha256=None, condition=None)
        summed = {"source": "payments", "function": "sum", "column": "session_sec", "window": "1d"}
        columns = [
            {"name": "user_id", "type": "int64"},
            {"name": "f_events", "type": "int64", "aggregation": {"source": "events", "function": "count", "window": "2d"}},
            {"name": "f_paid", "type": "float64", "aggregation": summed},
        ]
        both = contract(sources=["events", "payments"], columns=columns)
        seen = Window(SOURCE, [day.validate(SOURCE)])
        days = [day.validate(paid)]
        found = day.engine.build(both, [seen, Window(paid, days)], as_of=as_of(DAY)).to_arrow()
        rows = [tuple(row[name] for name in ("user_id", "f_events", "f_paid")) for row in found.to_pylist()]
        assert rows == [(1, 1, None), (2, 1, 2.5), (3, 0, 4.0)]
        tiles = [day.engine.make_tile(both.parts[1], paid, block) for block in blocks_of(both.parts[1], days, end=as_of(DAY).date())]
        assert day.engine.build(both, [seen, Window(paid, days, tiles)], as_of=as_of(DAY)).to_arrow().equals(found)

    def test_a_corrected_day_has_another_tile(self, day: RawDay) -> None:
        day.put_csv("a.csv", "e1,1,2026-01-14T10:00:00Z,view,1")
        first = block_of(START.date(), 1, [day.validate(SOURCE)])
        tile = day.engine.make_tile(contract(), SOURCE, first)
        assert (tile.rows, day.engine.find_tile(contract(), SOURCE, first)) == (1, tile)
        day.put_csv("b.csv", "e2,2,2026-01-14T11:00:00Z,view,2")
        corrected = block_of(START.date(), 1, [day.validate(SOURCE)])
        assert day.engine.find_tile(contract(), SOURCE, corrected) is None
        assert day.engine.make_tile(contract(), SOURCE, corrected).rows == 2

    def test_feature_sets_and_windows_that_keep_the_same_of_a_day_share_its_tile(self, day: RawDay) -> None:
        day.put_csv("a.csv", "e1,1,2026-01-14T10:00:00Z,view,1")
        block = block_of(START.date(), 1, [day.validate(SOURCE)])
        document = json.loads(json.dumps(dict(contract().document)).replace('"2d"', '"90d"'))
        document |= {"feature_set": "other", "columns": document["columns"][::-1]}
        other = load_contract(json.dumps(document), file="other.schema.json")
        assert day.engine.find_tile(other, SOURCE, block) is None
        tile = day.engine.make_tile(contract(), SOURCE, block)
        assert day.engine.find_tile(other, SOURCE, block) == tile

    def test_a_table_can_be_read_twice_and_leaves_nothing_behind(self, day: RawDay) -> None:
        day.put_csv("a.csv", "e1,1,2026-01-14T10:00:00Z,view,1")
        table = day.engine.build(contract(), [Window(SOURCE, [day.validate(SOURCE)])], as_of=as_of(DAY))
        assert table.to_arrow().equals(table.to_arrow())
        assert table.schema == contract().arrow_schema
        del table
        assert list(day.workdir.iterdir()) == []

    def test_days_outside_the_window_twice_or_of_another_source_are_refused_together(self, day: RawDay) -> None:
        day.put_csv("a.csv", "e1,1,2026-01-14T10:00:00Z,view,1")
        validated = day.validate(SOURCE)
        with pytest.raises(InvalidDataError) as caught:
            day.engine.build(contract(), [Window(SOURCE, [validated, validated])], as_of=as_of("2026-01-20"))
        assert caught.value.faults == ("day 2026-01-14 stands more than once", "day 2026-01-14 is outside the window")

    def test_no_rows_are_refused_with_what_was_read(self, day: RawDay) -> None:
        with pytest.raises(InvalidDataError) as caught:
            day.engine.build(contract(), [Window(SOURCE, [])], as_of=as_of(DAY))
        assert "has 0 rows; expected at least 1 (checks.min_rows). The window has 0 validated events in no day." in str(caught.value)

    def test_no_rows_are_a_table_where_the_contract_allows_it(self, day: RawDay) -> None:
        table = day.engine.build(contract(checks={"min_rows": 0}), [Window(SOURCE, [])], as_of=as_of(DAY))
        assert table.to_arrow().num_rows == 0

    def test_days_validated_under_other_column_types_are_refused(self, day: RawDay) -> None:
        day.put_csv("a.csv", "e1,1,2026-01-14T10:00:00Z,view,1")
        validated = day.validate(SOURCE)
        other = source_contract(types={"event_type": "string", "session_sec": "int64"})
        with pytest.raises(InvalidDataError, match="validate the days again"):
            day.engine.build(contract(), [Window(other, [validated])], as_of=as_of(DAY))

    @pytest.mark.parametrize(
        ("kind", "good", "bad", "value"),
        [
            ("int32", "12.0", "2.5", 12),
            ("bool", "TRUE", "yes", True),
            ("date", "2026-01-02", "2026-02-30", date(2026, 1, 2)),
            ("bytes", "AP8=", "?", b"\x00\xff"),
            ("timestamp", "2026-01-02T03:04:05+01:00", "tomorrow", datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)),
            ("list<int64>", '"[1, null, 3]"', '"[1, 2.5]"', [1, None, 3]),
            ("list<string>", '"[""a"", """"]"', '"{""a"": 1}"', ["a", ""]),
            ("float32", "0.5", "1_000", 0.5),
        ],
    )
    def test_cells_of_every_type_are_cast_exactly_or_rejected(self, day: RawDay, kind: str, good: str, bad: str, value: Any) -> None:
        source = source_contract(types={"extra": kind})
        day.put_csv(
            "a.csv", f"e1,1,2026-01-14,view,,{good}", f"e2,1,2026-01-14,view,,{bad}", "e3,1,2026-01-14,view,,", header=f"{HEADER},extra"
        )
        validated = day.validate(source)
        assert [row["extra"] for row in day.rows(validated.files)] == [value, None]
        assert day.rejected(validated) == [("a.csv", 3, "wrong_type")]

    def test_typed_cells_of_parquet_are_taken_as_they_are_or_cast_exactly(self, day: RawDay) -> None:
        table = pa.table(
            {
                "event_id": ["e1", "e2", "e3"],
                "user_id": pa.array([1, 2**63, 3], type=pa.uint64()),
                "event_time": pa.array([START, START, START], type=pa.timestamp("ns", tz="Europe/Berlin")),
                "event_type": pa.array(["view"] * 3).dictionary_encode(),
                "session_sec": pa.array([0.1, 0.2, math.nan], type=pa.float32()),
            }
        )
        day.put_parquet("a.parquet", table)
        validated = day.validate(SOURCE)
        assert day.rejected(validated) == [("a.parquet", 2, "out_of_range"), ("a.parquet", 3, "non_finite")]
        assert day.rows(validated.files)[0]["event_time"] == START


class TestDuckDBEngine(ComputeEngineContract):
    @pytest.fixture
    def day(self, tmp_path: Path) -> RawDay:
        return RawDay(tmp_path)


def test_validated_files_carry_page_checksums_and_the_contracts_schema(tmp_path: Path) -> None:
    day = RawDay(tmp_path)
    day.put_csv("a.csv", "e1,1,2026-01-14T10:00:00Z,view,1")
    [file] = day.validate(SOURCE).files
    stored = day.store.get(file.uri)
    assert stored is not None
    schema = pq.read_schema(pa.BufferReader(stored.body))
    assert schema.field("event_time").type == pa.timestamp("us", tz="UTC")
    assert not schema.field("user_id").nullable
