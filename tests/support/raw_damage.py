"""Raw files as they come and as they should not: generated from a seed, damaged in many ways, with what must become of each."""

import gzip
import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import ReadLimits
from tests.support.raw_days import source_contract
from tests.support.raw_oracle import Judged, RefusedError, judge, judge_text

START = datetime(2026, 1, 14, tzinfo=UTC)
LIMITS = ReadLimits(max_rows=50_000, max_row_bytes=4096, max_object_bytes=1 << 20, max_lines=50_000, max_columns=60)
ODD_NAMES = (
    *("row", "fault", "original", "file", "reason", "detail", "file_row_number", "filename", "file_index", "Row", "FAULT", "Original", "p"),
    *("FileName", "v0", "c0", "f0", "k0", "q1", "t2", "e3", "parsed", "losers", "doubles", "raw_rows", "d", "l", "select", "user_id", "x"),
    *("X", "id", "event_time"),
)
ODD_VALUES = ["1", "[[1]]", "Inf", "NaN", "1e999", '"\\ud800"', "{}"]
INSERTED = [
    *(b'"', b'""', b",", b"\n", b"\r", b"\r\n", b"\xff", b"\xed\xa0\x80", b"\x00", b"{", b"}\n{", b"}{", b"[", b"\\", b"\xff\xfe"),
    *(b'"\n' * 300, b"\n" * 3000, b'x"y', b"[1]\n", b"garbage\n" * 50, b"{}\n", b" \n", b'"a\nb",', b",,,\n" * 20, b"null\n"),
    *(b"\xef\xbb\xbf", b"1" * 5000),
]
CELLS = {
    "timestamp": [
        *("2026-01-14T10:00:00Z", "2026-01-14 23:59:59.999999", "2026-01-14", "2026-01-14T10:00:00.1234567+05:30", "2026-01-14T10Z"),
        *("2026-01-13T23:59:59Z", "2031-01-01T00:00:00Z", "", "1768384800", "2026-02-30", "2026-01-14T24:00:00Z", "tomorrow", "20260114"),
        *("2026-01-14T10:00:00-0800", " 2026-01-14T10:00 ", "2026-01-14T10:00:00UTC", "2026-01-14T10:00:00 z", "0000-01-01"),
        *("2026-01-14T101112Z", "2026-01-14T10:00:60Z"),
    ],
    "int64": [
        *("1", "-7", "007", "+3", "12.0", "1.5", "", "x", "99999999999999999999", "9223372036854775807", "-0", "1e3", "1_000", " 4 "),
        *("\u0663", "0x1", "5."),
    ],
    "float64": [
        *("1.5", "-0.0", "1e300", "1e400", "nan", "-inf", "Infinity", "", "x", ".5", "5.", "1_0", "9.3e15", "1e-400", "0.1", " 2 ", "1e"),
        *("+1", "1,5"),
    ],
    "bool": ["true", "FALSE", "t", "0", "1", "", "yes", " true", "2", "True"],
    "string": [
        *("", "view", "a,b", 'say "x"', "two\nlines", "é", "\x00", " ", "'", "=1+1", "NULL", "null", "\\N", "x" * 300, "\u2028"),
        *("a\rb", '"', "\ufeff"),
    ],
}


@dataclass(frozen=True)
class RawCase:
    """One raw file, the source that reads it, and what must become of it: rows, a refusal (None), or only no other error (``is_open``)."""

    name: str
    body: bytes
    source: SourceContract
    expected: Judged | None
    is_open: bool = False


def raw_case(seed: int) -> RawCase:
    """The file of a seed."""
    rng = random.Random(seed)
    source = _source(rng)
    kind = rng.choice(["csv", "csv", "csv.gz", "jsonl", "jsonl", "jsonl.gz", "parquet", "parquet"])
    return _parquet_case(rng, source) if kind == "parquet" else _text_case(rng, source, kind)


def _source(rng: random.Random) -> SourceContract:
    names: dict[str, str] = {}
    for name in rng.sample(ODD_NAMES, 6):
        names.setdefault(name.casefold(), name)
    kinds = ["timestamp", *(rng.choice(["int64", "float64", "bool", "string", "string"]) for _ in range(len(names) - 1))]
    columns = [
        {"name": name, "type": kind, "nullable": rng.random() < 0.7, **({"decimals": 3} if kind == "float64" else {})}
        for name, kind in zip(names.values(), kinds, strict=True)
    ]
    rng.shuffle(columns)
    time = next(column["name"] for column in columns if column["type"] == "timestamp")
    keys = [rng.choice(columns)["name"]] if rng.random() < 0.3 else []
    return source_contract(columns=columns, event_time=time, dedup_keys=keys)


def _cell(rng: random.Random, kind: str, *, mess: float) -> str:
    return rng.choice(CELLS[kind]) if rng.random() < mess else CELLS[kind][0] if kind != "string" else f"s{rng.randrange(5)}"


def _text_case(rng: random.Random, source: SourceContract, kind: str) -> RawCase:
    mess = rng.choice([0.0, 0.02, 0.4])
    rows = [{c.name: _cell(rng, c.type, mess=mess) for c in source.columns} for _ in range(rng.choice([0, 1, 3, 40, 300]))]
    body = _csv(rng, source, rows) if kind.startswith("csv") else _jsonl(rng, source, rows)
    for _ in range(rng.choice([0, 0, 1, 3])):
        body = rng.choice(DAMAGES)(rng, body)
    if kind.endswith(".gz"):
        body = gzip.compress(body[: len(body) // 2], mtime=0) + gzip.compress(body[len(body) // 2 :], mtime=0)
        for _ in range(rng.choice([0, 0, 1])):
            body = rng.choice([_cut, _flip, _flip, lambda _, data: data + b"tail", lambda _, data: data + b"\0" * 100])(rng, body)
    try:
        expected: Judged | None = judge_text(
            body, kind=kind.split(".", maxsplit=1)[0], gzipped=kind.endswith(".gz"), source=source, day=START, limits=LIMITS
        )
    except RefusedError:
        expected = None
    return RawCase(f"a.{kind}", body, source, expected)


def _extras(rng: random.Random, source: SourceContract) -> list[str]:
    names = [column.name for column in source.columns]
    odd = [*rng.sample(ODD_NAMES, 2), rng.choice(names).swapcase(), rng.choice(names).upper()]
    return [name for name in rng.sample(odd, rng.choice([0, 0, 1, 3])) if name not in names]


def _csv(rng: random.Random, source: SourceContract, rows: Sequence[dict[str, str]]) -> bytes:
    header = [*(column.name for column in source.columns), *_extras(rng, source)]
    rng.shuffle(header)
    if rng.random() < 0.03:
        header.append(rng.choice(header))
    if rng.random() < 0.03:
        header.append("h" * rng.choice([1000, 200_000]))
    end = rng.choices(["\n", "\r\n", "\r"], [10, 4, 0.5])[0]
    quoting = rng.choice(["minimal", "minimal", "all", "none"])

    def spelled(cell: str) -> str:
        needs = quoting == "all" or (quoting == "minimal" and any(char in cell for char in ',"\n\r'))
        return '"' + cell.replace('"', '""') + '"' if needs else cell

    lines = [",".join(map(spelled, header)), *(",".join(spelled(row.get(name, "extra")) for name in header) for row in rows)]
    return rng.choice([b"", b"", b"\xef\xbb\xbf"]) + (end.join(lines) + rng.choice(["", end, end * 3])).encode()


def _jsonl(rng: random.Random, source: SourceContract, rows: Sequence[dict[str, str]]) -> bytes:
    kinds = {column.name: column.type for column in source.columns}
    extras = _extras(rng, source)

    def spelled(name: str, cell: str) -> str:
        kind = kinds[name]
        is_bare = (kind in {"int64", "float64"} and rng.random() < 0.9) or (kind == "bool" and cell in {"true", "1", "0"})
        if cell == "" and rng.random() < 0.7:
            return "null"
        return cell.strip() or "null" if is_bare and cell != "1,5" else json.dumps(cell, ensure_ascii=rng.random() < 0.5)

    def line(row: dict[str, str]) -> str:
        pairs = [f"{json.dumps(name)}:{spelled(name, cell)}" for name, cell in row.items() if rng.random() < 0.99]
        pairs += [f'"{name}":{rng.choice(ODD_VALUES)}' for name in extras]
        if rng.random() < 0.02:
            pairs += [rng.choice([pairs[0] if pairs else "", f'"deep":{"[" * 3000}{"]" * 3000}'])]
        return "{" + rng.choice([",", ", "]).join(pair for pair in pairs if pair) + "}"

    end = rng.choices(["\n", "\r\n", "\r"], [10, 4, 0.5])[0]
    return rng.choice([b"", b"", b"\xef\xbb\xbf"]) + (end.join(map(line, rows)) + rng.choice(["", end, end * 3])).encode(
        errors="surrogatepass"
    )


def _flip(rng: random.Random, body: bytes) -> bytes:
    if not body:
        return body
    place = rng.randrange(len(body))
    return body[:place] + bytes([body[place] ^ 1 << rng.randrange(8)]) + body[place + 1 :]


def _cut(rng: random.Random, body: bytes) -> bytes:
    return body[: rng.randrange(len(body) + 1)]


def _drop(rng: random.Random, body: bytes) -> bytes:
    start = rng.randrange(len(body) + 1)
    return body[:start] + body[start + rng.randrange(40) :]


def _insert(rng: random.Random, body: bytes) -> bytes:
    place = rng.choice([rng.randrange(len(body) + 1), body.find(b"\n", rng.randrange(len(body) + 1)) + 1])
    return body[:place] + rng.choice(INSERTED) + body[place:]


def _bomb(rng: random.Random, body: bytes) -> bytes:
    return body + rng.choice([b"\n" * 60_000, b"\r\n" * 20_000, b"x" * 2_000_000, b"bad\n" * 1_000, b'"\n' * 1_000])


DAMAGES: Sequence[Callable[[random.Random, bytes], bytes]] = [_flip, _cut, _drop, _insert, _insert, _insert, _bomb]


def _parquet_case(rng: random.Random, source: SourceContract) -> RawCase:
    rows = rng.choice([0, 1, 5, 300])
    columns = {column.name: _parquet_column(rng, column.type, rows) for column in source.columns}
    shown = [
        *columns.items(),
        *((name, pa.array(range(rows), type=rng.choice([pa.int64(), pa.float16()]))) for name in _extras(rng, source)),
    ]
    rng.shuffle(shown)
    is_twice = rng.random() < 0.05
    if is_twice:
        shown.append(shown[rng.randrange(len(shown))])
    table = pa.table([column for _, column in shown], names=[name for name, _ in shown])
    options = {
        "compression": rng.choice(["none", "snappy", "zstd"]),
        "use_dictionary": rng.random() < 0.5,
        "write_page_checksum": True,
        "row_group_size": rng.choice([2, 50, 1000]),
        "data_page_version": rng.choice(["1.0", "2.0"]),
        "write_statistics": rng.random() < 0.8,
    }
    body = _written(table, **options)
    expected: Judged | None = _judged(source, columns)
    if is_twice and any(name in columns for name, _ in shown[-1:]):
        expected = None
    damage = rng.choice(["none", "none", "flip", "cut", "statistics"])
    if damage == "statistics":
        return RawCase("a.parquet", _false_statistics(table, source, options) or body, source, expected)
    if damage == "cut" and rows:
        return RawCase("a.parquet", body[: rng.randrange(1, len(body))], source, None)
    if damage == "flip":
        return RawCase("a.parquet", _flip(rng, body), source, expected, is_open=True)
    return RawCase("a.parquet", body, source, expected)


def _written(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def _false_statistics(table: pa.Table, source: SourceContract, options: dict[str, Any]) -> bytes | None:
    """The file under the footer of another one, whose moments all lie in the day; None where the pages do not lie at the same places."""
    place = table.column_names.index(source.event_time)
    moments = table.column(place)
    calm = pa.array([None if moment is None else START for moment in moments.to_pylist()], type=moments.type)
    plain = {**options, "compression": "none", "use_dictionary": False}
    true, false = _written(table, **plain), _written(table.set_column(place, source.event_time, calm), **plain)
    if _places(true) != _places(false):
        return None
    footers = [len(body) - 8 - int.from_bytes(body[-8:-4], "little") for body in (true, false)]
    return true[: footers[0]] + false[footers[1] :]


def _places(body: bytes) -> list[tuple[int, int]]:
    """Where each column chunk lies: its first page, and how many bytes it has."""
    footer = pq.read_metadata(io.BytesIO(body))
    chunks = [footer.row_group(group).column(place) for group in range(footer.num_row_groups) for place in range(footer.num_columns)]
    return [(chunk.data_page_offset, chunk.total_compressed_size) for chunk in chunks]


def _parquet_column(rng: random.Random, kind: str, rows: int) -> pa.Array:
    def some(values: Callable[[], Any]) -> list[Any]:
        return [None if rng.random() < 0.1 else values() for _ in range(rows)]

    if kind == "timestamp":
        odd = [START - timedelta(days=1), START + timedelta(days=1), datetime(2031, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)]
        moments = some(lambda: rng.choice(odd) if rng.random() < 0.1 else START + timedelta(seconds=rng.randrange(86_400)))
        return pa.array(moments, type=pa.timestamp(rng.choice(["us", "ms"]), tz=rng.choice(["UTC", "Europe/Berlin"])))
    if kind == "int64":
        return pa.array(
            some(lambda: rng.randrange(-5, 100)), type=rng.choice([pa.int64(), pa.int32(), pa.uint16() if rows == 0 else pa.int16()])
        )
    if kind == "float64":
        return pa.array(some(lambda: rng.choice([0.5, -2.0, float("nan"), float("inf"), 1e17])), type=pa.float64())
    if kind == "bool":
        return pa.array(some(lambda: rng.random() < 0.5), type=pa.bool_())
    text = pa.array(some(lambda: rng.choice(CELLS["string"])), type=rng.choice([pa.string(), pa.large_string()]))
    return text.dictionary_encode() if rng.random() < 0.3 else text


def _judged(source: SourceContract, columns: dict[str, pa.Array]) -> Judged:
    judged = Judged()
    for place, cells in enumerate(zip(*(columns[column.name].to_pylist() for column in source.columns), strict=True)):
        values = [cell.astimezone(UTC) if isinstance(cell, datetime) else cell for cell in cells]
        reason, _ = judge(source, values, START)
        if reason:
            judged.bad.append((place + 1, reason, ""))
        else:
            judged.good.append((place + 1, tuple(values)))
    return judged
