"""Records of text files: what is one, what is unreadable and why, and that none is lost on the way."""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_platform.adapters.events.raw_text import LONGEST_QUOTED_LINES, Record, records
from feature_platform.core.events.raw import Format, RawObject, ReadLimits
from feature_platform.errors import InvalidDataError

NAMES = ["a", "b"]


def item(kind: Format, *, gzipped: bool = False) -> RawObject:
    uri = f"s3://raw/x.{kind}" + (".gz" if gzipped else "")
    return RawObject(uri=uri, etag="e", size_bytes=9, modified_at=datetime(2026, 1, 15, tzinfo=UTC), format=kind, gzipped=gzipped, rows=0)


def read(body: bytes | str, kind: Format = "csv", *, gzipped: bool = False, limits: ReadLimits = ReadLimits()) -> list[Record]:  # noqa: B008
    data = body.encode() if isinstance(body, str) else body
    return list(records(io.BytesIO(data), item=item(kind, gzipped=gzipped), names=NAMES, limits=limits))


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
        ("[" * 100_000, "not JSON: maximum recursion depth exceeded while decoding a JSON array from a unicode string"),
    ],
)
def test_json_lines_that_are_no_objects_are_unreadable(line: str, fault: str) -> None:
    [bad, good] = read(f'{line}\n{{"a": 1.50, "b": true}}\n', "jsonl")
    assert bad.fault == fault
    assert list(good.cells) == ["1.50", "true"]


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
