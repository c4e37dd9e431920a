"""Raw files that must not pass, on a real S3 server: what the message says, and that nothing was lost or half written."""

import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine
from feature_platform.adapters.compute.duckdb.session import EngineLimits
from feature_platform.adapters.events.raw_files import RawFiles
from feature_platform.core.contract.documents import canonical_json
from feature_platform.core.events.raw import ReadLimits, manifest_from
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.errors import InvalidDataError, NotFoundError
from feature_platform.ports.object_store import ObjectStore
from tests.support.raw_days import DAY, HEADER, source_contract
from tests.support.resident_memory import forget_own_peak, own_peak_mib
from tests.support.services import S3Bucket

SOURCE = source_contract()
GOOD = "e1,1,2026-01-14T10:00:00Z,view,1"


class Day:
    """One day of a source in a bucket of its own."""

    def __init__(self, s3: S3Bucket, workdir: Path) -> None:
        self.store: ObjectStore = s3.store
        self.raw_uri, self.work_uri, self.workdir = f"s3://{s3.bucket}/raw", f"s3://{s3.bucket}/work", workdir
        self.prefix = f"{self.raw_uri}/events/dt={DAY}/"

    def put(self, name: str, body: bytes) -> str:
        self.store.put(self.prefix + name, body, write_id="upstream", sha256=None, condition=None)
        return self.prefix + name

    def put_csv(self, name: str, *lines: str, header: str = HEADER) -> str:
        return self.put(name, "\n".join([header, *lines, ""]).encode())

    def put_parquet(self, name: str, table: pa.Table, **options: object) -> str:
        body = io.BytesIO()
        pq.write_table(table, body, **options)
        return self.put(name, body.getvalue())

    def validate(self, *, limits: ReadLimits | None = None) -> ValidatedDay:
        limits = limits or ReadLimits()
        raw = RawFiles(self.store, self.raw_uri, limits=limits).discover(SOURCE, DAY)
        engine = DuckDBEngine(
            self.store, work_uri=self.work_uri, workdir=self.workdir, limits=EngineLimits(memory_bytes=256 << 20), read_limits=limits
        )
        return engine.validate(SOURCE, raw)

    def refusal(self, *, limits: ReadLimits | None = None) -> str:
        """The message of a refused day, which must have left nothing behind."""
        with pytest.raises(InvalidDataError) as caught:
            self.validate(limits=limits)
        assert list(self.store.scan(f"{self.work_uri}/")) == []
        return str(caught.value)


@pytest.fixture
def day(s3: S3Bucket, tmp_path: Path) -> Day:
    return Day(s3, tmp_path)


def events(rows: int, **columns: pa.Array) -> pa.Table:
    return pa.table(
        {
            "event_id": pa.array([f"e{n}" for n in range(rows)]),
            "user_id": pa.array(range(rows), type=pa.int64()),
            "event_time": pa.array([1_768_384_800_000_000] * rows, type=pa.timestamp("us", tz="UTC")),
            "event_type": pa.array(["view"] * rows),
            "session_sec": pa.array([1.0] * rows),
            **columns,
        }
    )


def test_a_missing_day_says_where_it_was_looked_for_and_what_to_do(day: Day) -> None:
    with pytest.raises(NotFoundError) as caught:
        day.validate()
    assert str(caught.value) == (
        f"No raw objects of source 'events' for 2026-01-14 below {day.prefix}: expected at least one .parquet, .csv[.gz], .jsonl[.gz], "
        ".ndjson[.gz] or .json[.gz] file. Wait for upstream to deliver the day, or check FEATURE_PLATFORM_RAW_URI."
    )


def test_a_day_of_markers_only_is_missing_and_names_them(day: Day) -> None:
    day.put("_SUCCESS", b"")
    day.put(".part-0.csv.crc", b"x")
    with pytest.raises(NotFoundError, match=r"found only \.part-0\.csv\.crc, _SUCCESS"):
        day.validate()


def test_markers_beside_data_are_passed_over_and_listed(day: Day) -> None:
    day.put_csv("a.csv", GOOD)
    marker = day.put("_SUCCESS", b"")
    validated = day.validate()
    assert (validated.kept, validated.raw.ignored) == (1, (marker,))


def test_every_empty_file_is_named(day: Day) -> None:
    names = [day.put("a.csv", b""), day.put("b.parquet", b"")]
    day.put_csv("c.csv", GOOD)
    message = day.refusal()
    assert "2 raw object(s) of source 'events' for 2026-01-14 are empty; have upstream deliver them again or remove them:" in message
    assert all(f"{name}: expected data, found 0 bytes" in message for name in names)


def test_a_day_with_a_header_and_no_rows_is_refused(day: Day) -> None:
    day.put_csv("a.csv")
    with pytest.raises(InvalidDataError, match=r"for 2026-01-14 hold no rows; expected at least one"):
        day.validate()


def test_all_unreadable_files_of_a_day_are_reported_together(day: Day) -> None:
    whole = io.BytesIO()
    pq.write_table(events(1000), whole)
    parquet = day.put("a.parquet", whole.getvalue()[: len(whole.getvalue()) // 2])
    squeezed = gzip.compress("\n".join([HEADER, *[GOOD] * 1000]).encode())
    text = day.put("b.csv.gz", squeezed[: len(squeezed) // 2])
    header = day.put_csv("c.csv", GOOD, header="id,user,time")
    message = day.refusal()
    assert "Raw objects of source 'events' for 2026-01-14 cannot be read; nothing was written:" in message
    assert f"{parquet} ({len(whole.getvalue()) // 2} bytes) is not a whole Parquet file" in message
    assert f"{text} is not a whole gzip file" in message
    assert (
        f"{header}: its header does not fit the source contract; expected columns {HEADER.replace(',', ', ')}; found id,user,time"
        in message
    )
    assert "column 'event_id' is missing" in message


def test_a_parquet_file_damaged_in_the_middle_is_refused_by_name(day: Day) -> None:
    whole = io.BytesIO()
    pq.write_table(events(5000), whole, compression="zstd")
    body = bytearray(whole.getvalue())
    body[200:1200] = b"\xff" * 1000
    uri = day.put("a.parquet", bytes(body))
    message = day.refusal()
    assert uri in message
    assert "Nothing of 2026-01-14 was written" in message


def test_a_parquet_file_without_a_column_is_refused_by_column(day: Day) -> None:
    uri = day.put_parquet("a.parquet", events(3).drop_columns(["user_id"]))
    message = day.refusal()
    assert f"{uri}: its columns do not fit the source contract" in message
    assert "column 'user_id' is missing" in message


def test_columns_that_the_contract_does_not_name_are_reported_and_not_read(day: Day) -> None:
    csv = day.put_csv("a.csv", f"{GOOD},x", header=f"{HEADER},extra")
    parquet = day.put_parquet("b.parquet", events(1, more=pa.array([1])))
    lines = day.put("c.jsonl", b'{"event_id": "e9", "' + rb"\udc80" + b'": 1, "also": {}}\n')
    raw = RawFiles(day.store, day.raw_uri).discover(SOURCE, DAY)
    assert {item.uri: item.unknown_columns for item in raw.objects} == {csv: ("extra",), parquet: ("more",), lines: (r"\udc80", "also")}
    assert raw.unknown_columns == [r"\udc80", "also", "extra", "more"]
    assert manifest_from(json.loads(canonical_json(raw.document()))) == raw


def test_a_small_parquet_that_decodes_to_gigabytes_is_refused_in_little_memory(day: Day) -> None:
    """8,000 rows that all point at one string of a megabyte: some kilobytes on disk, 8 GB in cells."""
    wide = pa.DictionaryArray.from_arrays(pa.array([0] * 8000, type=pa.int32()), pa.array(["x" * 1_000_000]))
    uri = day.put_parquet("bomb.parquet", events(8000, event_type=wide), compression="zstd", store_schema=False)
    info = day.store.head(uri)
    assert info is not None
    assert info.size_bytes < 1_000_000
    message = day.refusal(limits=ReadLimits(max_object_bytes=1 << 30))
    assert f"{uri} ({info.size_bytes} bytes) decodes to 8000" in message
    assert "expected at most 1073741824 (max_object_bytes) and 1048576 (max_row_bytes)" in message


def test_a_small_parquet_of_shared_prefixes_is_refused_in_little_memory(day: Day) -> None:
    """A thousand equal strings of a megabyte, each written as "the same as the one before": half a kilobyte on disk."""
    wide = pa.array(["x" * 1_000_000] * 1000)
    options = {"use_dictionary": False, "column_encoding": {"more": "DELTA_BYTE_ARRAY"}, "data_page_size": 1 << 30, "compression": "zstd"}
    uri = day.put_parquet("bomb.parquet", events(1000, more=wide), **options)
    del wide
    forget_own_peak()
    before_mib = own_peak_mib()
    assert f"{uri} " in day.refusal()
    assert own_peak_mib() - before_mib < 450


def test_text_hidden_in_a_struct_of_a_column_that_nobody_reads_is_measured_too(day: Day) -> None:
    nested = pa.array([{"a": ["y" * 2_000_000]}], type=pa.struct([("a", pa.list_(pa.string()))]))
    day.put_parquet("a.parquet", events(1, more=nested))
    assert "its widest row to 2000" in day.refusal()


def test_wide_rows_below_the_limits_are_read_within_the_memory_of_a_few(day: Day) -> None:
    """600 rows of a megabyte each that a page holds once: Arrow, which expands them, is given some at a time."""
    wide = pa.DictionaryArray.from_arrays(pa.array([0] * 600, type=pa.int32()), pa.array(["x" * 1_000_000]))
    day.put_parquet("a.parquet", events(600, more=wide), compression="zstd", store_schema=False)
    forget_own_peak()
    before_mib = own_peak_mib()
    assert day.validate().raw.rows == 600
    assert own_peak_mib() - before_mib < 450


def test_one_row_wider_than_the_limit_is_refused(day: Day) -> None:
    day.put_parquet("a.parquet", events(3, event_type=pa.array(["x", "y" * 2_000_000, "z"])))
    assert "its widest row to 2000" in day.refusal()


def test_more_rows_than_the_limit_are_refused_before_they_are_read(day: Day) -> None:
    day.put_parquet("a.parquet", events(100))
    assert f"{day.prefix} holds 100 rows or more; expected at most 99 (max_rows)" in day.refusal(limits=ReadLimits(max_rows=99))


def test_more_rows_of_text_than_the_limit_are_refused_as_they_are_counted(day: Day) -> None:
    day.put_csv("a.csv", *[GOOD] * 100)
    assert "The day 2026-01-14 holds 100 rows or more; expected at most 99 (max_rows)" in day.refusal(limits=ReadLimits(max_rows=99))


def test_all_unreadable_files_of_a_day_are_told_together(day: Day) -> None:
    """Those with a wrong header and, where every header fits, those that turn out to be cut short while they are read."""
    whole = gzip.compress("\n".join([HEADER, *[GOOD] * 50_000, ""]).encode())
    cut = [day.put(f"{name}.csv.gz", whole[:-9]) for name in "bc"]
    day.put_csv("a.csv", GOOD)
    message = day.refusal()
    assert all(f"{uri} is not a whole gzip file" in message for uri in cut)


def test_a_bad_delivery_leaves_the_previous_validated_day_in_place(day: Day) -> None:
    day.put_csv("a.csv", GOOD)
    validated = day.validate()
    day.put("b.parquet", b"PAR1 not really")
    with pytest.raises(InvalidDataError):
        day.validate()
    engine = DuckDBEngine(day.store, work_uri=day.work_uri, workdir=day.workdir)
    assert engine.read_day(SOURCE, DAY) == validated
