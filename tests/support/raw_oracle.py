"""The rules for raw rows, told again without an engine: slow, character by character, and obviously right.

Holds for sources of columns of types string, int64, float64, bool and timestamp without ``epoch_unit``.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from feature_platform.core.contract.source import SourceColumn, SourceContract
from feature_platform.core.events.raw import ReadLimits

DEEPEST = 500
"""So deep may the value of a line of JSON nest."""


class RefusedError(Exception):
    """The file as a whole must be refused."""


@dataclass
class Judged:
    """What must become of a file: values of good rows, and (row number, reason, text) of the others."""

    good: list[tuple[int, tuple[Any, ...]]] = field(default_factory=list)
    bad: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.good) + len(self.bad)


def judge_text(body: bytes, *, kind: str, gzipped: bool, source: SourceContract, day: datetime, limits: ReadLimits) -> Judged:
    """What must become of the rows of a text file.

    Raises:
        RefusedError: It must be refused.
    """
    lines = _lines(_unpacked(body, limits) if gzipped else body, limits)
    names = [column.name for column in source.columns]
    records = _csv(lines, names, limits) if kind == "csv" else _json(lines, names)
    judged = Judged()
    for number, text, cells in records:
        reason, values = ("unreadable_row", ()) if cells is None else judge(source, cells, day)
        if reason:
            judged.bad.append((number, reason, text))
        else:
            judged.good.append((number, values))
    return judged


def judge(source: SourceContract, cells: Sequence[Any], day: datetime) -> tuple[str | None, tuple[Any, ...]]:
    """The first reason to reject a row, or its values; cells are text, or values of the columns' own types."""
    columns = source.columns
    found = [_value(cell, column) if isinstance(cell, str) else (None, cell) for cell, column in zip(cells, columns, strict=True)]
    values = tuple(value for _, value in found)
    for fault in ("wrong_type", "null_value", "non_finite", "out_of_range"):
        for (wrong, value), cell, column in zip(found, cells, columns, strict=True):
            is_required = not column.nullable or column.name == source.event_time
            if fault == "null_value":
                if cell is None and is_required:
                    return fault, ()
            elif wrong == fault or (wrong is None and _number_fault(value, column) == fault):
                return fault, ()
    moment = values[[column.name for column in columns].index(source.event_time)]
    if moment < day:
        return "before_partition", ()
    return ("after_partition", ()) if moment >= day + timedelta(days=1) else (None, values)


def _number_fault(value: Any, column: SourceColumn) -> str | None:
    if isinstance(value, float):
        if value != value or value in {float("inf"), float("-inf")}:
            return "non_finite"
        return "out_of_range" if abs(value) * 10.0**column.decimals > 9.2e18 else None
    if isinstance(value, int) and not isinstance(value, bool):
        return None if -(2**63) <= value < 2**63 else "out_of_range"
    return None


def _value(text: str, column: SourceColumn) -> tuple[str | None, Any]:
    """Fault and value of one cell."""
    plain = text.strip(" \t\n\r\x0c")
    if column.type == "string":
        return None, text
    if column.type == "bool":
        is_known = plain.lower() in {"true", "false", "t", "f", "1", "0"}
        return (None, plain.lower() in {"true", "t", "1"}) if is_known else ("wrong_type", None)
    if column.type == "int64":
        if not re.fullmatch(r"[+-]?[0-9]+(\.0*)?", plain):
            return "wrong_type", None
        return None, int(plain.split(".")[0])
    if column.type == "float64":
        if re.fullmatch(r"(?i)[+-]?(nan|inf|infinity)", plain):
            return "non_finite", None
        if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", plain):
            return "wrong_type", None
        value = float(plain)
        return ("out_of_range", None) if value in {float("inf"), float("-inf")} else (None, value)
    assert column.type == "timestamp"
    return _moment(plain)


def _moment(text: str) -> tuple[str | None, datetime | None]:
    shape = re.fullmatch(
        r"([0-9]{4}-[0-9]{2}-[0-9]{2})([Tt ]([0-9]{2}):([0-9]{2})(:[0-9]{2}(\.[0-9]{1,9})?)?([Zz]| UTC|[+-][0-9]{2}(:?[0-9]{2})?)?)?", text
    )
    if shape is None:
        return "wrong_type", None
    if text.startswith("0000"):
        return "out_of_range", None
    date, _, hour, minute, second, fraction, zone, _ = shape.groups()
    offset = "+00:00" if zone in {None, "Z", "z", " UTC"} else zone if ":" in zone else f"{zone[:3]}:{zone[3:] or '00'}"
    is_midnight = hour == "24" and f"{minute}{second or ''}{fraction or ''}".strip("0:.") == ""  # the end of the day, in ISO 8601
    time = f"{'00' if is_midnight else hour or '00'}:{minute or '00'}{(second or ':00')[:3]}{((fraction or '.') + '000000')[:7]}"
    try:
        return None, datetime.fromisoformat(f"{date}T{time}{offset}").astimezone(UTC) + timedelta(days=is_midnight)
    except (ValueError, OverflowError):
        return "wrong_type", None


def _unpacked(body: bytes, limits: ReadLimits) -> bytes:
    try:
        whole = gzip.decompress(body)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RefusedError("no whole gzip") from error
    return whole


def _lines(data: bytes, limits: ReadLimits) -> list[tuple[int, bytes]]:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RefusedError("UTF-16")
    data = data.removeprefix(b"\xef\xbb\xbf")
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    if len(data) > limits.max_object_bytes or len(lines) > limits.max_lines or any(len(line) > limits.max_row_bytes for line in lines):
        raise RefusedError("beyond a limit")
    return [(place + 1, line.rstrip(b"\r")) for place, line in enumerate(lines)]


def _text(line: bytes) -> tuple[str, bool]:
    return line.decode(errors="backslashreplace"), line.decode(errors="replace").encode() == line or _is_utf8(line)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _json(lines: Sequence[tuple[int, bytes]], names: Sequence[str]) -> Iterator[tuple[int, str, list[Any] | None]]:
    if lines and b"}\r{" in lines[0][1]:
        raise RefusedError("bare carriage returns")
    for number, line in lines:
        if not line.strip():
            continue
        text, is_text = _text(line)
        try:
            is_read = is_text and _depth(text) <= DEEPEST
            document = json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=str) if is_read else None
        except ValueError:
            document = None
        if not isinstance(document, Mapping):
            yield number, text, None
            continue
        cells = [_cell(document.get(name)) for name in names]
        is_whole = all(cell is None or not re.search("[\ud800-\udfff]", cell) for cell in cells)
        yield number, text, cells if is_whole else None


def _depth(text: str) -> int:
    """How many brackets are open at most, outside of quotes."""
    depth = deepest = 0
    is_quoted = is_escaped = False
    for sign in text:
        if is_quoted:
            is_quoted, is_escaped = is_escaped or sign != '"', sign == "\\" and not is_escaped
        elif sign == '"':
            is_quoted, is_escaped = True, False
        else:
            depth += (sign in "[{") - (sign in "]}")
            deepest = max(deepest, depth)
    return deepest


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def _cell(value: Any) -> str | None:
    return None if value is None else str(value) if isinstance(value, str) else _json_text(value)


def _json_text(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        items = list(map(_json_text, value.values()))
        return "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {item}" for key, item in zip(value, items, strict=True)) + "}"
    return "[" + ", ".join(map(_json_text, value)) + "]" if isinstance(value, list) else json.dumps(value, ensure_ascii=False)


def _csv(lines: Sequence[tuple[int, bytes]], names: Sequence[str], limits: ReadLimits) -> Iterator[tuple[int, str, list[Any] | None]]:
    at = next((place for place, (_, line) in enumerate(lines) if line.strip()), None)
    if at is None:
        raise RefusedError("no header")
    text, is_text = _text(lines[at][1])
    header, state = _cells(text)
    if not is_text or state != "whole" or "\r" in text or any(header.count(name) != 1 for name in names):
        raise RefusedError("header")
    at += 1
    while at < len(lines):
        number, line = lines[at]
        if not line:
            at += 1
            continue
        text, cells, taken = _csv_record(lines, at, limits)
        yield number, text, [cells[header.index(name)] or None for name in names] if cells and len(cells) == len(header) else None
        at += taken


def _csv_record(lines: Sequence[tuple[int, bytes]], at: int, limits: ReadLimits) -> tuple[str, list[str] | None, int]:
    """Text, cells and number of lines of a record; one line without cells where it is none."""
    for last in range(at, min(len(lines), at + 1001)):
        whole = b"\n".join(line for _, line in lines[at : last + 1])
        if len(whole) > limits.max_row_bytes:
            break
        text, is_text = _text(whole)
        cells, state = _cells(text)
        if state == "whole":
            return text, cells if is_text else None, last - at + 1
        if state == "wrong":
            break
    return _text(lines[at][1])[0], None, 1


def _cells(text: str) -> tuple[list[str], str]:
    """Cells of one record and whether it is ``whole``, ``open`` (a quote is) or ``wrong`` (text stands behind a closing quote)."""
    cells, cell, state = [], "", "start"
    place = 0
    while place < len(text):
        char = text[place]
        if state == "quoted":
            if char == '"' and text[place + 1 : place + 2] == '"':
                cell += '"'
                place += 1
            elif char == '"':
                state = "closed"
            else:
                cell += char
        elif char == ",":
            cells.append(cell)
            cell, state = "", "start"
        elif state == "closed":
            return [], "wrong"
        elif state == "start" and char == '"':
            state = "quoted"
        else:
            cell, state = cell + char, "plain"
        place += 1
    return ([], "open") if state == "quoted" else ([*cells, cell], "whole")
