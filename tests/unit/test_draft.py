"""Contracts guessed from a sample: what is read as what, and what cannot be guessed."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest

from feature_platform.adapters.events.sample import read_sample
from feature_platform.core.contract.draft import draft
from feature_platform.core.contract.feature_set import load_contract
from feature_platform.core.contract.source import cross_faults, load_source_contract
from feature_platform.errors import InvalidDataError

CLICKS = """event_id,user_id,event_time,price,is_app,day,comment
a,1,2026-01-10T08:00:00Z,1.5,true,2026-01-10,
b,1,2026-01-10T09:00:00Z,,false,2026-01-10,
c,2,2026-01-10T10:00:00Z,2,true,2026-01-11,
"""


def test_columns_of_a_csv_file_get_types_and_roles(tmp_path: Path) -> None:
    (tmp_path / "clicks.csv").write_text(CLICKS)
    found = draft(read_sample(tmp_path / "clicks.csv"), source="clicks")
    kinds = {column["name"]: column["type"] for column in found.source["columns"]}
    assert kinds == {
        "event_id": "string",
        "user_id": "int64",
        "event_time": "timestamp",
        "price": "float64",
        "is_app": "bool",
        "day": "date",
        "comment": "string",
    }
    assert (found.source["event_time"], found.source["dedup_keys"]) == ("event_time", ["event_id"])
    assert {c["name"] for c in found.source["columns"] if c.get("nullable") is False} == {"event_id", "user_id", "event_time"}
    assert (found.feature_set["feature_set"], found.feature_set["primary_keys"]) == ("user_features", ["user_id"])
    assert [c["name"] for c in found.feature_set["columns"]] == ["user_id", "f_events_7d", "f_last_event_age_sec", "f_avg_price_7d"]
    assert "column 'comment' is empty in the sample; its type is a guess" in found.to_check
    contract = load_contract(json.dumps(found.feature_set), file="a")
    assert cross_faults(contract, load_source_contract(json.dumps(found.source), file="b")) == []


def test_numbers_that_say_moments_keep_their_unit_and_what_fits_no_contract_is_left_out(tmp_path: Path) -> None:
    rows = [{"ts": 1768032000000 + n, "visitor": f"v{n % 2}", "place": {"x": 1}, "tags": ["a"], "bad name": 1} for n in range(4)]
    with gzip.open(tmp_path / "visits.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    found = draft(read_sample(tmp_path / "visits.jsonl.gz"), source="visits")
    columns = {column["name"]: column for column in found.source["columns"]}
    assert columns["ts"] == {"name": "ts", "type": "timestamp", "nullable": False, "epoch_unit": "ms"}
    assert {name: column["type"] for name, column in columns.items()} == {"ts": "timestamp", "visitor": "string", "tags": "list<string>"}
    assert found.feature_set["primary_keys"] == ["visitor"]
    said = [line.split(" is left out")[0] for line in found.to_check if "left out" in line]
    assert said == ["column 'place' (struct<x: int64>)", "column 'bad name' (int64)"]


def test_a_parquet_file_brings_its_types_and_choices_may_be_given(tmp_path: Path) -> None:
    moments = pa.array([0, 1], pa.timestamp("us", "UTC"))
    table = pa.table({"made": moments, "seen": moments, "shop": [7, 8], "paid": pa.array([Decimal("1.50"), None])})
    pq.write_table(table, tmp_path / "x.parquet")
    found = draft(read_sample(tmp_path / "x.parquet"), source="orders", event_time="seen", key="shop")
    assert (found.source["event_time"], found.feature_set["entity"]) == ("seen", "shop")
    assert [column["type"] for column in found.source["columns"]] == ["timestamp", "timestamp", "int64", "float64"]


@pytest.mark.parametrize(("key", "entity"), [("_user", "user"), ("_id", "entity"), ("_1", "entity")])
def test_a_draft_passes_a_check_whatever_the_sample_is_called_and_holds(key: str, entity: str) -> None:
    table = pa.table(
        {
            key: [1, 1],
            "ts": ["2026-01-14T00:00:00Z"] * 2,
            "A": [1, 2],
            "a": [1, 2],
            "week": ["2026-W03-1T00:00:00"] * 2,
            "w": ["2026-W03-1"] * 2,
        }
    )
    found = draft(table, source="clicks", key=key)
    contract, source = load_contract(json.dumps(found.feature_set), file="a"), load_source_contract(json.dumps(found.source), file="b")
    assert cross_faults(contract, source) == []
    assert (contract.feature_set, contract.entity) == (f"{entity}_features", entity)
    assert {column.name: column.type for column in source.columns} == {
        key: "int64",
        "ts": "timestamp",
        "A": "int64",
        "week": "string",
        "w": "string",
    }
    assert "column 'a' is left out: its name differs from 'A' in case alone" in found.to_check


@pytest.mark.parametrize(
    ("body", "chosen", "said"),
    [
        ("a,b\n1,2\n", {}, "no column can be the event time"),
        (CLICKS, {"event_time": "price"}, "'price' cannot be the event time"),
        (CLICKS, {"key": "price"}, "'price' cannot be the key. Name another by --key"),
        ("a,b\n", {}, "holds no rows"),
        ("", {}, "cannot be read as a sample"),
    ],
)
def test_what_cannot_be_guessed_is_said_with_what_there_is(tmp_path: Path, body: str, chosen: dict[str, str], said: str) -> None:
    (tmp_path / "clicks.csv").write_text(body)
    with pytest.raises(InvalidDataError, match=said):
        draft(read_sample(tmp_path / "clicks.csv"), source="clicks", **chosen)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InvalidDataError, match="notes"):
        read_sample(tmp_path / "notes.txt")


@pytest.mark.parametrize(("reader", "name"), [(pyarrow.csv, "read_csv"), (pyarrow.json, "read_json")])
def test_text_is_read_without_threads(reader: ModuleType, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With threads, Arrow aborted the process at an empty file now and then: "terminate called without an active exception"."""
    threads = []

    def read(_: object, *, read_options: Any) -> pa.Table:
        threads.append(read_options.use_threads)
        return pa.table({"a": [1]})

    monkeypatch.setattr(reader, name, read)
    (tmp_path / ("x.csv" if name == "read_csv" else "x.jsonl")).write_text("")
    read_sample(next(tmp_path.iterdir()))
    assert threads == [False]
