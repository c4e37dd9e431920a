"""Records of text files: what is one, what is unreadable and why, and that none is lost on the way."""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_platform.adapters.events import csv_records
from feature_platform.adapters.events.csv_records import LONGEST_QUOTED_LINES
from feature_platform.adapters.events.raw_reading import open_records
from feature_platform.adapters.events.raw_records import Record, TypedBatch
from feature_platform.adapters.events.text_blocks import BLOCK_BYTES
from feature_platform.core.contract.source import SourceContract, load_source_contract
from feature_platform.core.events.raw import Format, RawObject, ReadLimits
from feature_platform.errors import InvalidDataError

NAMES = ["a", "b"]


def source(*kinds: str) -> SourceContract:
    columns = [{"name": name, "type": kind} for name, kind in zip(NAMES, kinds or ("string", "string"), strict=True)]
    document = {"source": "x", "event_time": "at", "columns": [*columns, {"name": "at", "type": "timestamp"}]}
    loaded = load_source_contract(json.dumps(document), file="x.source.json")
    return loaded.model_copy(update={"columns": loaded.columns[:2]})


def item(kind: Format, *, gzipped: bool = False) -> RawObject:
    uri = f"s3://raw/x.{kind}" + (".gz" if gzipped else "")
    return RawObject(uri=uri, etag="e", size_bytes=9, modified_at=datetime(2026, 1, 15, tzinfo=UTC), format=kind, gzipped=gzipped)


def opened(body: bytes | str, kind: Format = "csv", *, gzipped: bool = False, limits: ReadLimits = ReadLimits()) -> Any:  # noqa: B008
    data = body.encode() if isinstance(body, str) else body
    return open_records(io.BytesIO(data), item=item(kind, gzipped=gzipped), source=source(), limits=limits)


def read(body: bytes | str, kind: Format = "csv", **options: Any) -> list[Record]:
    """The records in the order of the file."""
    found = []
    for batch in opened(body, kind, **options).batches():
        text = batch.as_text(batch.rows["row"].to_numpy()) if isinstance(batch, TypedBatch) else batch
        for row in text.rows.to_pylist():
            unreadable = row["fault"] is not None
            found.append(Record(row["row"], row["original"].rstrip("\r\n"), () if unreadable else [row["c0"], row["c1"]], row["fault"]))
    return sorted(found)


def cells(found: Sequence[Record]) -> list[list[str | None]]:
    return [list(record.cells) for record in found if record.fault is None]


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6)


@given(rows=st.lists(st.tuples(texts, texts), max_size=8))
def test_whatever_a_csv_writer_wrote_is_read_back(rows: list[tuple[str, str]]) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([NAMES, *rows])
    expected = [[a or None, b or None] for a, b in rows]
    assert cells(read(file.getvalue())) == [[_line_ends(cell) for cell in row] for row in expected]


def _line_ends(cell: str | None) -> str | None:
    """A quoted cell's line break is ``\\n``, whichever the file uses."""
    return (
        cell
        if cell is None
        else "\n".join(line.rstrip("\r") for line in cell.split("\n")[:-1]) + ("\n" if "\n" in cell else "") + cell.split("\n")[-1]
    )


@given(rows=st.lists(st.dictionaries(st.sampled_from([*NAMES, "c"]), texts | st.none()), max_size=8))
def test_whatever_a_json_writer_wrote_is_read_back(rows: list[dict[str, str | None]]) -> None:
    body = "".join(json.dumps(row) + "\n" for row in rows)
    assert cells(read(body, "jsonl")) == [[row.get("a"), row.get("b")] for row in rows]


def test_columns_are_found_by_name_and_others_passed_over() -> None:
    assert cells(read("b,x,a\n1,2,3\n")) == [["3", "1"]]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_data() -> None:
    assert cells(read(b"\xef\xbb\xbfa,b\r\n1,2\r\n")) == [["1", "2"]]


def test_a_byte_order_mark_further_down_is_data_and_no_row_is_lost_for_it() -> None:
    """Files put one behind another: where a block of lines begins does not decide what is a row."""
    found = read("a,b\n1,2\n\ufeff")
    assert (cells(found[:1]), [record.line for record in found], found[1].fault is not None) == ([["1", "2"]], [2, 3], True)
    assert cells(read("a,b\n\ufeff1,2\n")) == [["\ufeff1", "2"]]


def test_a_line_number_is_that_of_the_file_and_blank_lines_are_no_records() -> None:
    found = read('a,b\n\n1,2\n"x\ny",3\n4,5')
    assert [(record.line, record.fault) for record in found] == [(3, None), (4, None), (6, None)]


def test_wrong_cell_counts_are_unreadable_and_say_what_was_expected() -> None:
    [short, long, good] = read("a,b\n1\n1,2,3\n1,2\n")
    assert short.fault == "found 1 cells, expected 2 as in the header"
    assert long.fault == "found 3 cells, expected 2 as in the header"
    assert (short.text, long.text, good.fault) == ("1", "1,2,3", None)


def test_a_quote_that_never_closes_costs_its_own_line_only() -> None:
    rest = [f"{n},x" for n in range(LONGEST_QUOTED_LINES + 10)]
    found = read("\n".join(["a,b", '"1,2', *rest]))
    assert found[0] == Record(2, '"1,2', fault="not CSV: a quoted cell is not closed")
    assert cells(found) == [[str(n), "x"] for n in range(LONGEST_QUOTED_LINES + 10)]


def test_bytes_that_are_no_utf8_are_unreadable_and_spelled_out() -> None:
    [record, good] = read(b"a,b\n1,\xff\n1,2\n")
    assert (record.fault, record.text, good.fault) == ("byte 3 is 0xff, which is no UTF-8", "1,\\xff", None)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"a": 1', "not JSON: Expecting ',' delimiter: line 1 column 8 (char 7)"),
        ("[1]", "found a JSON list, expected an object"),
        ("[" * 100_000, "nests deeper than 500 brackets"),
    ],
)
def test_json_lines_that_are_no_objects_are_unreadable(line: str, fault: str) -> None:
    [bad, good] = read(f'{line}\n{{"a": 1.50, "b": true}}\n', "jsonl")
    assert bad.fault == fault
    assert list(good.cells) == ["1.50", "true"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('{"id":7,"xs":[1.50,true,null,-0,1E+05]}', '{"id": 7, "xs": [1.50, true, null, -0, 1E+05]}'),
        ('["7", 7, "\\u00e4", {"7": 1e400}]', '["7", 7, "ä", {"7": 1e400}]'),
        ("[" * 249 + '{"a":' * 250 + "1.0" + "}" * 250 + "]" * 249, "[" * 249 + '{"a": ' * 250 + "1.0" + "}" * 250 + "]" * 249),
        ("[NaN]", '["NaN"]'),
    ],
)
def test_numbers_within_a_json_value_stay_numbers_as_they_are_written(value: str, text: str) -> None:
    [record] = read(f'{{"a": {value}, "b": 1.50}}\n', "jsonl")
    assert list(record.cells) == [text, "1.50"]


def test_a_text_that_begins_like_the_mark_of_a_number_stays_unreadable() -> None:
    [bad, good] = read('{"a": ["\\udfff7"], "b": "x"}\n{"a": [7], "b": "y", "c": "\\udfff7"}\n', "jsonl")
    assert bad.fault is not None
    assert list(good.cells) == ["[7]", "y"]


def test_a_missing_column_names_itself_the_file_and_what_was_found() -> None:
    with pytest.raises(InvalidDataError) as caught:
        read("a;b\n1;2\n")
    assert caught.value.faults == ("column 'a' is missing", "column 'b' is missing")
    assert "s3://raw/x.csv: its header does not fit the source contract; expected columns a, b; found a;b." in str(caught.value)


def test_utf16_is_refused_by_name() -> None:
    with pytest.raises(InvalidDataError, match=r"s3://raw/x\.csv is UTF-16 text; expected UTF-8"):
        read("a,b\n".encode("utf-16"))


def test_a_truncated_gzip_is_refused_by_name() -> None:
    whole = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    with pytest.raises(InvalidDataError, match=r"s3://raw/x\.csv\.gz is not a whole gzip file"):
        read(whole[: len(whole) // 2], gzipped=True)


def test_a_line_without_end_is_refused_before_it_fills_memory() -> None:
    bomb = gzip.compress(b"a,b\n" + b"0" * 50_000_000)
    with pytest.raises(InvalidDataError, match=r"line 2 has more than 1048576 bytes; expected at most that many \(max_row_bytes\)"):
        read(bomb, gzipped=True)


def test_a_gzip_that_decodes_beyond_the_limit_is_refused() -> None:
    bomb = gzip.compress(b"a,b\n" + b"1,2\n" * 1_000_000)
    with pytest.raises(InvalidDataError, match=r"decodes to more than 100000 bytes; expected at most that many \(max_object_bytes\)"):
        read(bomb, gzipped=True, limits=ReadLimits(max_object_bytes=100_000))


oddities = st.sampled_from(["1", "x", "", " ", '"', '""', ",", "\n", "\r\n", "\r", "é", "\x00", '"q"', '"q,r"', '"q\n"', "#", "\xa0"])


@given(text=st.lists(oddities, max_size=30).map("".join), damage=st.sampled_from([b"", b"\xff", b"\xc3"]))
@settings(max_examples=300)
def test_blocks_cut_by_arrow_hold_the_same_records_as_those_read_one_by_one(text: str, damage: bytes) -> None:
    body = b"a,b\n" + text.encode() + damage
    found = read(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_records, "is_plain", lambda block: False)
        assert read(body) == found


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_quoted_cell_goes_on_across_blocks_whatever_their_size(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body = end.join(["a,b", *(f'{n},"x{end}""y{end}z,"' if n % 3 else f"{n},w" for n in range(40))])
    expected = cells(read(body))
    assert expected[1] == ["1", 'x\n"y\nz,']
    for size in (1, 7, 64):
        monkeypatch.setattr("feature_platform.adapters.events.text_blocks.BLOCK_BYTES", size)
        assert cells(read(body)) == expected


def test_a_literal_quote_within_a_cell_swallows_no_line() -> None:
    assert cells(read('a,b\n5" disk,1\n3" disk,2\n')) == [['5" disk', "1"], ['3" disk', "2"]]
    assert cells(read('a,b\n"x\ny",5" disk\n3,4\n')) == [["x\ny", '5" disk'], ["3", "4"]]


def test_broken_bytes_in_a_quoted_cell_are_not_kept_as_text() -> None:
    [record] = read(b'a,b\n"x\n\xff",2\n')
    assert record == Record(2, '"x\n\\xff",2', fault="byte 4 is 0xff, which is no UTF-8")


def test_a_header_cell_longer_than_any_limit_of_a_library_is_a_column() -> None:
    assert cells(read(f"a,{'x' * 200_000},b\n1,2,3\n")) == [["1", "3"]]
    assert cells(read(f'a,b\n"{"x" * 200_000}",2\n')) == [["x" * 200_000, "2"]]


@pytest.mark.parametrize(("kind", "body"), [("csv", b"a,b\r1,2\r3,4\r"), ("jsonl", b'{"a":1}\r{"a":2}\r')])
def test_bare_carriage_returns_as_line_ends_are_refused_by_name(kind: Format, body: bytes) -> None:
    with pytest.raises(InvalidDataError, match=r"its lines end in bare carriage returns; expected \\n or \\r\\n"):
        read(body, kind)


def test_more_lines_than_the_limit_are_refused_although_they_are_blank() -> None:
    bomb = gzip.compress(b"a,b\n" + b"\n" * 5_000_000)
    with pytest.raises(InvalidDataError, match=r"has more than 1000000 lines, blank ones included; .* \(max_lines\)"):
        read(bomb, gzipped=True, limits=ReadLimits(max_lines=1_000_000))


def test_blank_lines_before_a_header_and_between_records_are_passed_over() -> None:
    body = b"\n" * BLOCK_BYTES + b"a,b\n" + b"\n" * BLOCK_BYTES + b"1,2\n"
    assert [(record.line, list(record.cells)) for record in read(body)] == [(2 * BLOCK_BYTES + 2, ["1", "2"])]


def test_every_line_of_a_day_may_be_bad_without_one_being_looked_at_twice() -> None:
    """Each opens a quote that is never closed: looking ahead from each for its end must not read the rest again and again."""
    found = read("a,b\n" + '"x,1\n' * 20_000)
    assert len(found) == 20_000
    assert {record.fault for record in found} == {"not CSV: text stands behind a closing quote", "not CSV: a quoted cell is not closed"}


@pytest.mark.parametrize("pad", ["", " "])
@pytest.mark.parametrize(
    ("number", "is_fast"), [("1", True), ('"info, aN"', True), ("NaN", True), ("-Infinity", True), ("-NaN", False), ("Inf", False)]
)
def test_numbers_that_only_arrow_reads_are_left_to_the_exact_reader(number: str, is_fast: bool, pad: str) -> None:
    """In a column that nobody asks for, at an even and at an odd place of the text."""
    [batch] = opened(f'{{"a":"1","z":{pad}{number},"b":"2"}}\n', "jsonl").batches()
    assert isinstance(batch, TypedBatch) == is_fast
    assert batch.rows.num_rows == 1
