"""SQL transforms: what an author's query may do, what it may not reach, and how its rows are held to the contract."""

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_platform.adapters.compute.duckdb import transform_process
from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine
from feature_platform.adapters.compute.duckdb.session import EngineLimits
from feature_platform.core.compute.tiles import InputFile, Window
from feature_platform.core.compute.transform_sql import transform_faults
from feature_platform.core.contract.feature_set import load_contract
from feature_platform.core.events.validated import DataFile
from feature_platform.core.layout import as_of
from feature_platform.errors import ContractError, FeaturePlatformError, InvalidDataError
from tests.support.raw_days import DAY, RAW_URI, WORK_URI, RawDay, source_contract

pytestmark = pytest.mark.slow

SOURCE = source_contract()
AS_OF = datetime(2026, 1, 15, tzinfo=UTC)


@pytest.fixture
def day(tmp_path: Path) -> RawDay:
    day = RawDay(tmp_path)
    day.put_csv("a.csv", "e1,1,2026-01-14T10:00:00Z,view,1.5", "e2,1,2026-01-14T11:00:00Z,buy,2", "e3,2,2026-01-14T12:00:00Z,view,")
    return day


def transform(day: RawDay, sql: str, *, engine: DuckDBEngine | None = None, **columns: str) -> pa.Table:
    """What a query makes of a day: in this process, or by an engine as it runs in production, in a process of its own.

    Such a process takes a second; it is for what is about that process, its limits and what it reaches.
    """
    named = columns or {"user_id": "int64", "f_events": "int64"}
    document = {
        "feature_set": "f",
        "version": "v1",
        "primary_keys": ["user_id"],
        "columns": [{"name": name, "type": kind} for name, kind in named.items()],
    }
    contract = load_contract(json.dumps(document), file="f.schema.json", sql=sql)
    with pytest.MonkeyPatch.context() as patch:
        if engine is None:
            patch.setattr(transform_process, "run_bounded", lambda function, request, limits: function(json.loads(json.dumps(request))))
        return (engine or day.engine).build(contract, [Window(SOURCE, [day.validate(SOURCE)])], as_of=as_of(DAY)).to_arrow()


def test_a_query_over_events_fills_the_contracts_columns_sorted_by_key(day: RawDay) -> None:
    found = transform(day, "SELECT count(*) AS f_events, user_id FROM events GROUP BY user_id ORDER BY user_id DESC;", engine=day.engine)
    assert found.to_pylist() == [
        {"user_id": 1, "f_events": 2, "event_timestamp": AS_OF},
        {"user_id": 2, "f_events": 1, "event_timestamp": AS_OF},
    ]


@pytest.mark.parametrize("end", ["; -- fertig für heute", ";;", " -- a\n;\n/* b; */ -- c\n", "; /* é */ ;"])
def test_a_query_may_end_in_semicolons_and_comments(day: RawDay, end: str) -> None:
    sql = f"SELECT user_id, count(*) FILTER (WHERE event_type <> 'ä;') AS f_events FROM events GROUP BY user_id{end}"
    assert transform(day, sql)["f_events"].to_pylist() == [2, 1]


@pytest.mark.parametrize("moment", ["as_of", "as_of()", "getvariable('as_of')"])
def test_the_moment_is_known_to_the_query(day: RawDay, moment: str) -> None:
    sql = f"SELECT user_id, max(date_diff('hour', event_time, {moment})) AS f_events FROM events GROUP BY ALL"
    assert transform(day, sql)["f_events"].to_pylist() == [14, 12]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS user_id, size AS f_events FROM read_text('{file}')",
        "SELECT 1 AS user_id, 1 AS f_events FROM read_parquet('{file}')",
        "SELECT 1 AS user_id, 1 AS f_events FROM read_csv('{file}')",
        "SELECT 1 AS user_id, 1 AS f_events FROM glob('/*')",
        "SELECT 1 AS user_id, 1 AS f_events FROM '{file}'",
        "SELECT 1 AS user_id, 1 AS f_events FROM read_text('https://127.0.0.1:1/x')",
        "SELECT 1 AS user_id, 1 AS f_events FROM read_text('s3://raw-bucket/raw/events/dt=2026-01-14/a.csv')",
        "SELECT 1 AS user_id, 1 AS f_events FROM read_text('pinned://../../{file}')",
    ],
)
def test_a_query_reaches_no_file_and_no_network(day: RawDay, sql: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("hidden-content\n")
    with pytest.raises(FeaturePlatformError) as caught:
        transform(day, sql.format(file=secret), engine=day.engine)
    assert "hidden-content" not in str(caught.value)


@pytest.mark.parametrize(
    ("sql", "kinds"),
    [
        ("COPY (SELECT 1) TO '/tmp/out.csv'", "COPY"),
        ("SET threads = 64", "SET"),
        ("INSTALL httpfs", "LOAD"),
        ("ATTACH '/tmp/other.db'", "ATTACH"),
        ("DROP VIEW events", "DROP"),
        ("SELECT 1; SELECT 2", "SELECT, SELECT"),
        ("", "none"),
    ],
)
def test_only_one_select_is_run(day: RawDay, sql: str, kinds: str) -> None:
    with pytest.raises(ContractError, match=rf"f\.sql: expected one SELECT statement, found {kinds}\. Write it as one query"):
        transform(day, sql)


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT user_id, nothing AS f_events FROM events", '"nothing" not found'),
        ("SELECT * FROM elsewhere", "elsewhere does not exist"),
        ("SELECT user_id, 1 AS f_events FROM events) AS x, (SELECT 1", "syntax error"),
    ],
)
def test_a_query_that_cannot_run_names_its_file_and_what_was_found(day: RawDay, sql: str, found: str) -> None:
    with pytest.raises(ContractError) as caught:
        transform(day, sql)
    assert caught.value.subject.startswith("SQL transform f.sql")
    assert found in caught.value.faults[0]


def test_every_fault_of_the_rows_is_reported_together(day: RawDay) -> None:
    sql = """
        SELECT * FROM (VALUES (1, 1.5, 'x', 9), (1, 2, 'y', 9), (NULL, 3, 'z', 9)) AS rows (user_id, f_events, f_name, f_other)
    """
    with pytest.raises(InvalidDataError) as caught:
        transform(day, sql, user_id="int64", f_events="int64", f_name="int64", f_missing="string")
    assert caught.value.faults == (
        "column 'f_missing' is missing; expected user_id, f_events, f_name, f_missing, event_timestamp",
        "column 'f_other' is not in the contract; expected only its columns",
        "column 'f_name' has type VARCHAR; expected int64",
        "primary key (user_id) is null in 1 row(s); expected a value in every row",
        "primary key user_id=1 stands 2 times; expected once",
        "column 'f_events': 1 row(s) hold values such as 1.5; expected one that fits int64 exactly",
    )


@pytest.mark.parametrize(
    ("kind", "expression"),
    [
        ("int32", "3000000000"),
        ("int64", "1e300"),
        ("int64", "170141183460469231731687303715884105727::HUGEINT"),
        ("float64", "'nan'::DOUBLE"),
        ("float64", "9007199254740993::BIGINT"),
        ("float32", "1e300::DOUBLE"),
    ],
)
def test_a_cast_that_would_bend_a_value_is_refused(day: RawDay, kind: str, expression: str) -> None:
    with pytest.raises(InvalidDataError) as caught:
        transform(day, f"SELECT 1 AS user_id, {expression} AS f", user_id="int64", f=kind)
    assert caught.value.faults[0].startswith("column 'f': 1 row(s) hold values such as ")
    assert caught.value.faults[0].endswith(f"; expected one that fits {kind} exactly")


@pytest.mark.parametrize(
    ("kind", "expression"),
    [
        ("timestamp", "'infinity'::TIMESTAMPTZ"),
        ("timestamp", "max(event_time) + INTERVAL 20000 YEAR"),
        ("timestamp", "'-infinity'::TIMESTAMP"),
        ("date", "'infinity'::DATE"),
        ("date", "'0044-03-15 (BC)'::DATE"),
        ("list<timestamp>", "['infinity'::TIMESTAMPTZ, NULL]"),
        ("list<date>", "['9999-12-31'::DATE]"),
    ],
)
def test_a_moment_that_no_calendar_has_is_refused_by_its_column(day: RawDay, kind: str, expression: str) -> None:
    with pytest.raises(InvalidDataError) as caught:
        transform(day, f"SELECT user_id, {expression} AS f FROM events WHERE user_id = 1 GROUP BY user_id", user_id="int64", f=kind)
    [fault] = caught.value.faults
    assert fault.startswith("column 'f': 1 row(s) hold values such as ")
    assert fault.endswith("; expected one from 0001-01-01 to 9999-12-30")


def test_a_row_dated_before_the_calendar_is_refused(day: RawDay) -> None:
    with pytest.raises(
        InvalidDataError, match=r"column 'event_timestamp': 1 row\(s\) hold values such as -infinity; expected one at or before"
    ):
        transform(day, "SELECT 1 AS user_id, '-infinity'::TIMESTAMPTZ AS event_timestamp", user_id="int64", event_timestamp="timestamp")


def test_a_row_dated_after_as_of_is_refused(day: RawDay) -> None:
    sql = "SELECT 1 AS user_id, TIMESTAMPTZ '2030-01-01 00:00:00+00' AS event_timestamp"
    with pytest.raises(InvalidDataError) as caught:
        transform(day, sql, user_id="int64", event_timestamp="timestamp")
    assert caught.value.faults == (
        "column 'event_timestamp': 1 row(s) hold values such as 2030-01-01 00:00:00+00; "
        "expected one at or before 2026-01-15T00:00:00+00:00",
    )


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT (i + 1) % 9 FROM n) SELECT i AS user_id, sum(i) AS f_events FROM n GROUP BY i",
        "SELECT 1 AS user_id, count(*) AS f_events FROM range(100000000) AS a(i) JOIN range(100000000) AS b(i) ON a.i < b.i",
        "SELECT 1 AS user_id, count(*) AS f_events FROM events, range(1000000000000) AS r(i) WHERE hash(i) = 7",
    ],
)
def test_a_query_without_end_is_stopped(day: RawDay, sql: str) -> None:
    engine = DuckDBEngine(day.store, work_uri=WORK_URI, workdir=day.workdir, limits=EngineLimits(transform_timeout_s=2.0))
    with pytest.raises(InvalidDataError, match=r"SQL transform of 'f' did not end within 2 s"):
        transform(day, sql, engine=engine)
    assert [path for path in day.workdir.iterdir() if path.name.startswith("build-")] == []


@pytest.mark.parametrize(
    "value",
    [
        "length(repeat('x', 2000000000))",
        "length(list_aggregate(range(300000000), 'string_agg', ','))",
        "len(list_transform(range(300000000), lambda x: x || 'yyyyyyyyyyyyyyyyyyyy'))",
        "length(string_agg(repeat('x', 100000), ''))",
    ],
)
def test_a_query_that_explodes_stays_within_its_memory(day: RawDay, value: str) -> None:
    limits = EngineLimits(memory_bytes=64 << 20, spill_bytes=64 << 20, transform_timeout_s=60.0)
    engine = DuckDBEngine(day.store, work_uri=WORK_URI, workdir=day.workdir, limits=limits)
    with pytest.raises((InvalidDataError, ContractError), match=r"Out of Memory Error|needed more than its 448 MiB of memory"):
        transform(day, f"SELECT 1 AS user_id, {value} AS f_events FROM range(1000000)", engine=engine)


def test_what_answers_differently_on_every_run_is_refused_by_name(day: RawDay) -> None:
    said = ["random()", "now()", "uuid()", "current_date", "CURRENT_TIMESTAMP", "localtime", "today()", "ago(INTERVAL 1 DAY)"]
    said += ["age(event_time)", "current_setting('threads')", "(SELECT count(*) FROM events USING SAMPLE 50%)"]
    with pytest.raises(ContractError) as caught:
        transform(day, f"SELECT user_id, {', '.join(said)}, age(as_of, event_time) AS f_events FROM events")
    named = ["random()", "now()", "uuid()", "current_date", "current_timestamp", "localtime", "today()", "ago()"]
    named += ["age()", "current_setting()", "a sample without REPEATABLE"]
    assert caught.value.faults == tuple(
        f"{name} gives another result on every run, so no version could be reproduced; write as_of where you mean the as-of moment"
        for name in named
    )


def test_no_macro_of_the_engine_hides_what_answers_differently() -> None:
    """The engine declares nothing of its macros, so each that calls a refused function must be refused by its own name."""
    with duckdb.connect() as connection:
        declared = connection.execute("SELECT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'").fetchall()
        macros = connection.execute(
            "SELECT function_name, macro_definition FROM duckdb_functions() WHERE function_type LIKE '%macro%'"
        ).fetchall()
    inconstant = {name for (name,) in declared}

    def is_refused(name: str) -> bool:
        calls: list[dict[str, Any]] = [{"function_name": name}, {"type": "COLUMN_REF", "column_names": [name]}]
        return any(transform_faults(call, inconstant=inconstant, columns=()) for call in calls)

    hiding = {name for name, body in macros if any(map(is_refused, re.findall(r"\w+", body))) and not is_refused(name)}
    assert macros
    assert hiding == set()


@pytest.mark.parametrize(
    "sql",
    [
        "WITH t AS (SELECT user_id, 2 AS as_of FROM events) SELECT user_id, max(as_of) AS f_events FROM t GROUP BY user_id",
        "SELECT user_id, max(as_of) AS f_events FROM (SELECT user_id, 2 FROM events) AS t (user_id, as_of) GROUP BY user_id",
    ],
)
def test_a_name_that_the_query_gives_to_something_else_is_not_the_moment(day: RawDay, sql: str) -> None:
    assert transform(day, sql)["f_events"].to_pylist() == [2, 2]


def test_a_query_that_misses_the_moment_is_told_how_it_is_written(day: RawDay) -> None:
    with pytest.raises(ContractError, match=r"The moment is written as_of, or as_of\(\) where something else is called so"):
        transform(day, "SELECT user_id, 1 AS as_of, events.as_of AS f_events FROM events")


def test_a_query_beyond_its_memory_and_disk_fails_cleanly(day: RawDay) -> None:
    limits = EngineLimits(memory_bytes=64 << 20, spill_bytes=16 << 20)
    engine = DuckDBEngine(day.store, work_uri=WORK_URI, workdir=day.workdir, limits=limits)
    with pytest.raises(FeaturePlatformError) as caught:
        transform(
            day, "SELECT i AS user_id, repeat('x', 1000) || i AS f FROM range(200000) AS r(i)", engine=engine, user_id="int64", f="string"
        )
    assert "cannot be computed: Out of Memory Error" in str(caught.value)
    assert [path for path in day.workdir.iterdir() if path.name.startswith("build-")] == []


def test_a_set_that_has_the_name_of_the_source_is_a_view_of_its_own(day: RawDay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transform_process, "run_bounded", lambda function, request, limits: function(json.loads(json.dumps(request))))
    orders = source_contract(source="orders")
    line = {"event_id": "e1", "user_id": 1, "event_time": "2026-01-14T10:00:00Z"}
    day.store.put(f"{RAW_URI}/orders/dt={DAY}/a.jsonl", json.dumps(line).encode(), write_id="upstream", sha256=None, condition=None)
    body = pa.BufferOutputStream()
    pq.write_table(pa.table({"user_id": [1, 2]}), body)
    uri, data = f"{WORK_URI}/orders.parquet", bytes(body.getvalue())
    etag = day.store.put(uri, data, write_id="w", sha256=None, condition=None)
    read = InputFile("orders", {"user_id": "int64"}, DataFile(uri, etag, hashlib.sha256(data).hexdigest(), len(data), 2))
    document = {
        "feature_set": "f", "version": "v1", "primary_keys": ["user_id"], "source": "orders", "feature_sets": ["orders"],
        "columns": [{"name": "user_id", "type": "int64"}, {"name": "f_events", "type": "int64"}],
    }  # fmt: skip
    sql = "SELECT user_id, count(event_id) AS f_events FROM orders LEFT JOIN events USING (user_id) GROUP BY user_id"
    contract = load_contract(json.dumps(document), file="f.schema.json", sql=sql)
    found = day.engine.build(contract, [Window(orders, [day.validate(orders)])], as_of=as_of(DAY), inputs=[read])
    assert found.to_arrow().drop(["event_timestamp"]).to_pylist() == [{"user_id": 1, "f_events": 1}, {"user_id": 2, "f_events": 0}]


def test_floating_sums_of_a_query_are_the_same_on_every_run(tmp_path: Path) -> None:
    day = RawDay(tmp_path)
    rows = 200_000
    table: dict[str, Any] = {
        "event_id": [f"e{n}" for n in range(rows)],
        "user_id": [n % 3 for n in range(rows)],
        "event_time": pa.array([1_768_384_800_000_000] * rows, type=pa.timestamp("us", tz="UTC")),
        "event_type": ["view"] * rows,
        "session_sec": [n / 7 for n in range(rows)],
    }
    day.put_parquet("a.parquet", pa.table(table), row_group_size=10_000)
    sql = "SELECT user_id, sum(session_sec) AS f FROM events GROUP BY user_id"
    found = [transform(day, sql, engine=day.engine, user_id="int64", f="float64") for _ in range(3)]
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])
