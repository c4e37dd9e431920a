"""What every compute engine must do with raw files that say one thing and hold another; each engine inherits the suite."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.validated import day_from
from feature_platform.errors import InvalidDataError
from tests.support.raw_days import RawDay, source_contract

NOON = datetime(2026, 1, 14, 12, tzinfo=UTC)
INNER_NAMES = [
    "row", "fault", "original", "file", "reason", "detail", "v0", "c1", "f2", "k0", "q0", "e0", "t0", "parsed", "raw_rows",
    "file_row_number", "filename", "file_index", "Row", "FAULT", "Original", "File_Row_Number",
]  # fmt: skip


def source(*names: str) -> SourceContract:
    """Columns of these names, of strings, behind the event time."""
    columns = [{"name": "at", "type": "timestamp", "nullable": False}, *({"name": name, "type": "string"} for name in names)]
    return source_contract(columns=columns, event_time="at", dedup_keys=[])


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return bytes(sink.getvalue())


def events(moment: datetime, rows: int = 3) -> pa.Table:
    """Rows of the default source contract."""
    return pa.table(
        {
            "event_id": [f"e{n}" for n in range(rows)],
            "user_id": pa.array(range(rows), type=pa.int64()),
            "event_time": pa.array([moment] * rows, type=pa.timestamp("us", tz="UTC")),
            "event_type": ["view"] * rows,
            "session_sec": [1.0] * rows,
        }
    )


class RawFilesContract:
    """Inherit it and provide ``day``: a raw day on a store, with an engine."""

    @pytest.fixture
    def day(self, tmp_path: Path) -> RawDay:
        raise NotImplementedError

    @pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
    @pytest.mark.parametrize("names", [INNER_NAMES[:18], INNER_NAMES[18:]], ids=["as the engine spells them", "in another case"])
    def test_a_column_called_like_an_inner_one_has_the_files_values(self, day: RawDay, kind: str, names: list[str]) -> None:
        rows = [{"at": "2026-01-14T12:00:00Z"} | {name: f"{name} of {n}" for name in names} for n in range(2)]
        rows.append({"at": "2026-01-15T12:00:00Z"} | {name: f"{name} too late" for name in names})
        if kind == "csv":
            day.put_csv("a.csv", *(",".join(row.values()) for row in rows), header=",".join(rows[0]))
        elif kind == "jsonl":
            day.put("a.jsonl", "\n".join(json.dumps(row) for row in rows))
        else:
            day.put_parquet("a.parquet", pa.Table.from_pylist(rows))
        validated = day.validate(source(*names))
        assert [row | {"at": "2026-01-14T12:00:00Z"} for row in day.rows(validated.files)] == rows[:2]
        [rejected] = day.rows(validated.quarantine)
        assert rejected["reason"] == "after_partition"
        expected = ",".join(rows[2].values()) if kind == "csv" else rows[2]
        assert (rejected["original"] if kind == "csv" else json.loads(rejected["original"])) == expected

    def test_rows_are_sorted_by_their_values_when_columns_are_called_like_inner_ones(self, day: RawDay) -> None:
        day.put_csv("a.csv", "2026-01-14T12:00:01Z,a,2", "2026-01-14T12:00:00Z,b,2", "2026-01-14T12:00:00Z,b,1", header="at,v0,row")
        rows = day.rows(day.validate(source("v0", "row")).files)
        assert [(row["at"].second, row["v0"], row["row"]) for row in rows] == [(0, "b", "1"), (0, "b", "2"), (1, "a", "2")]

    def test_names_differ_by_case(self, day: RawDay) -> None:
        wanted = source("name")
        day.put_csv("a.csv", "2026-01-14T12:00:00Z,upper,lower", header="at,NAME,name")
        day.put("b.jsonl", '{"at":"2026-01-14T12:00:01Z","NAME":"upper","name":"lower"}\n')
        day.put_parquet("c.parquet", pa.table({"at": [NOON.replace(minute=1)], "NAME": ["upper"], "name": ["lower"]}))
        assert [row["name"] for row in day.rows(day.validate(wanted).files)] == ["lower"] * 3
        day.put_parquet("d.parquet", pa.table({"at": [NOON], "NAME": ["upper"]}))
        with pytest.raises(InvalidDataError, match="column 'name' is missing"):
            day.validate(wanted)

    def test_a_column_that_no_row_of_json_lines_has_is_named_and_one_that_a_single_row_or_a_null_has_is_not(self, day: RawDay) -> None:
        wanted = source("none", "late", "null", "empty")
        day.put("a.jsonl", '{"at":"2026-01-14T12:00:00Z","null":null}\n{"at":"2026-01-14T12:00:01Z","late":"x"}\n')
        day.put("b.jsonl", '{"at":"2026-01-14T12:00:02Z"}\n')
        validated = day.validate(wanted)
        assert (validated.kept, validated.missing_columns) == (3, ("none", "empty"))
        assert day_from(validated.manifest(), file="manifest.json") == validated
        day.put_csv("c.csv", "2026-01-14T12:00:03Z,,,,", header="at,none,late,null,empty")
        assert day.validate(wanted).missing_columns == ()

    def test_a_day_that_is_refused_says_which_column_is_missing(self, day: RawDay) -> None:
        columns = [{"name": "at", "type": "timestamp"}, {"name": "user_id", "type": "int64", "nullable": False}]
        day.put("a.jsonl", '{"at":"2026-01-14T12:00:00Z","user":1}\n')
        with pytest.raises(InvalidDataError) as caught:
            day.validate(source_contract(columns=columns, event_time="at", dedup_keys=[], max_rejected_ratio=0))
        assert caught.value.faults == ("null_value: 1 row(s)", "column 'user_id' is missing from every row")

    def test_the_same_column_twice_is_refused_in_parquet_as_in_csv(self, day: RawDay) -> None:
        header = "event_id,user_id,event_time,event_type,session_sec,user_id"
        day.put_csv("a.csv", "e1,1,2026-01-14,view,1,2", header=header)
        day.put_parquet("b.parquet", pa.table([*events(NOON).columns, pa.array([7, 8, 9])], names=header.split(",")))
        with pytest.raises(InvalidDataError) as caught:
            day.validate(source_contract())
        assert str(caught.value).count("column 'user_id' stands more than once") == 2

    def test_a_column_that_nobody_reads_may_stand_twice(self, day: RawDay) -> None:
        names = [*events(NOON).column_names, "x", "X", "x"]
        day.put_parquet("a.parquet", pa.table([*events(NOON).columns, *[pa.array([7, 8, 9])] * 3], names=names))
        assert day.validate(source_contract()).kept == 3

    def test_rules_judge_values_and_not_a_footers_statistics(self, day: RawDay) -> None:
        options = {"compression": "none", "use_dictionary": False}
        honest, stray = parquet(events(NOON), **options), parquet(events(NOON.replace(year=2031)), **options)
        pages = len(honest) - 8 - int.from_bytes(honest[-8:-4], "little")
        assert len(honest) == len(stray)
        day.put("a.parquet", stray[:pages] + honest[pages:])
        validated = day.validate(source_contract())
        assert (validated.kept, dict(validated.rejected)) == (0, {"after_partition": 3})

    @pytest.mark.parametrize("compression", ["none", "snappy"])
    def test_a_flipped_byte_under_a_page_checksum_refuses_the_file(self, day: RawDay, compression: str) -> None:
        options = {"compression": compression, "use_dictionary": False, "write_page_checksum": True}
        table = events(NOON).set_column(0, "event_id", [["aaaa-1", "mmmm-2", "zzzz-3"]])
        whole = parquet(table, **options)
        place = whole.index(b"mmmm-2") + 3  # neither the least nor the greatest, which page headers repeat
        uri = day.put("a.parquet", whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(InvalidDataError, match=r"CRC checksum verification failed") as caught:
            day.validate(source_contract())
        assert uri in str(caught.value)
        assert day.work_uris() == []

    def test_text_of_parquet_that_is_no_utf8_refuses_the_file(self, day: RawDay) -> None:
        binary = pa.array([b"e1", b"\xff", b"e3"])
        broken = pa.StringArray.from_buffers(3, binary.buffers()[1], binary.buffers()[2])
        day.put_parquet("a.parquet", events(NOON).set_column(0, "event_id", broken))
        with pytest.raises(InvalidDataError, match=r"a\.parquet"):
            day.validate(source_contract())

    def test_binary_cells_of_parquet_are_their_text_or_of_the_wrong_type(self, day: RawDay) -> None:
        table = events(NOON, rows=4).set_column(3, "event_type", pa.array([b"k\xc3\xa4ufe", b'it\'s "q" \\ z', b"\xff", None]))
        table = table.append_column("tags", pa.array([[b"\xc3\xa4", None], [], [], [b"\xff"]]))
        day.put_parquet("a.parquet", table.append_column("number", pa.array([b"7", None, b"7", b"7"])))
        validated = day.validate(source_contract(types={"tags": "list<string>", "number": "int64"}))
        assert [(row["event_type"], row["tags"], row["number"]) for row in day.rows(validated.files)] == [
            ("käufe", ["ä", None], 7),
            ('it\'s "q" \\ z', [], None),
        ]
        assert [(row["row_number"], row["detail"]) for row in day.rows(validated.quarantine)] == [
            (3, "column 'event_type': found \\xFF, expected string"),
            (4, "column 'tags': found [\"\\\\xFF\"], expected list<string>"),
        ]

    def test_columns_of_types_that_no_contract_names_are_text_or_passed_over(self, day: RawDay) -> None:
        odd = {
            "half": pa.array([1.5] * 3, type=pa.float16()),
            "twins": pa.array([{"a": 1, "A": 2}] * 3),
            "map": pa.array([[("k", 1)]] * 3, type=pa.map_(pa.string(), pa.int64())),
            "nothing": pa.nulls(3),
        }
        table = events(NOON.replace(year=2031))
        for name, column in odd.items():
            table = table.append_column(name, column)
        day.put_parquet("a.parquet", table)
        [first, *_] = day.rows(day.validate(source_contract()).quarantine)
        assert json.loads(first["original"]) == {
            "event_id": "e0", "user_id": 0, "event_time": "2031-01-14 12:00:00+00", "event_type": "view", "session_sec": 1.0, "half": "1.5",
            "twins": {"a": 1, "A": 2}, "map": {"k": 1}, "nothing": None,
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("kind", "bad", "good"),
        [
            (
                "list<timestamp>",
                pa.array([[9 * 10**18, 0], [-(9 * 10**18)]], pa.list_(pa.timestamp("us", tz="UTC"))),
                [datetime(1970, 1, 1, tzinfo=UTC)],
            ),
            ("list<date>", pa.array([[2**31 - 1], [-(10**6)]], pa.list_(pa.date32())), [date(1970, 1, 1)]),
            ("list<timestamp>", pa.array([["9999-12-31T23:00:00-05:00"], ["0000-01-01T00:00:00Z"]]), ["1970-01-01T00:00:00Z"]),
        ],
    )
    def test_a_list_with_a_moment_that_no_calendar_has_is_out_of_range(
        self, day: RawDay, kind: str, bad: pa.Array, good: list[Any]
    ) -> None:
        moments = pa.concat_arrays([bad, pa.array([good], bad.type)])
        day.put_parquet("a.parquet", events(NOON).append_column("moments", moments))
        validated = day.validate(source_contract(types={"moments": kind}))
        assert day.rejected(validated) == [("a.parquet", 1, "out_of_range"), ("a.parquet", 2, "out_of_range")]
        assert validated.kept == 1

    def test_items_of_a_list_of_json_lines_are_taken_as_they_are_written(self, day: RawDay) -> None:
        row = '"event_id": "e1", "user_id": 1, "event_time": "2026-01-14T10:00:00Z"'
        day.put("a.jsonl", f'{{{row}, "tags": [1.50, true, null, "a", {{"b": 1.50}}], "numbers": [9007199254740993, "7"]}}\n')
        [kept] = day.rows(day.validate(source_contract(types={"tags": "list<string>", "numbers": "list<int64>"})).files)
        assert kept["tags"] == ["1.50", "true", None, "a", '{"b": 1.50}']
        assert kept["numbers"] == [9007199254740993, 7]

    def test_lists_of_another_width_keep_their_nulls(self, day: RawDay) -> None:
        wanted = source_contract(types={"numbers": "list<int64>"})
        day.put_parquet("a.parquet", events(NOON).append_column("numbers", pa.array([[1, None], [], None], type=pa.list_(pa.int32()))))
        assert [row["numbers"] for row in day.rows(day.validate(wanted).files)] == [[1, None], [], None]


class TestDuckDBEngine(RawFilesContract):
    @pytest.fixture
    def day(self, tmp_path: Path) -> RawDay:
        return RawDay(tmp_path)
