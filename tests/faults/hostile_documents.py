"""Contracts, source contracts and templates as nobody should write them, from a seed: damaged documents and a grammar of templates."""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.support.shipped_features import SHIPPED_CONTRACTS

FILES: Final = ("user_features.schema.json", "events.source.json", "metadata.json.j2", "user_features.sql")
_RAW: Final = "\ue000"
"""Marks a text that is put into the JSON as it stands, for tokens that no JSON writer writes."""

_WORDS: Final = [
    "", " ", "user_id", "USER_ID", "f_total_events_7d", "event_timestamp", "event_time", "events", "latest", "as_of", "a0", "int64",
    "list<int64>", "list<list<int64>>", "timestamp", "7d", "0d", "99999d", "1\u0663d", "count", "mean", "é", "\u202e", "\x00", "a\nb",
    "../x", "a" * 5000, "';--", '"', "\U0001f600", "{{ 7 * 7 }}", "2026-01-15", "2026-W03-4", "20260115T000000Z", "2026-01-15T00:00:00Z",
    "9999-12-31T23:59:59.999999Z", "nan",
]  # fmt: skip
_TOKENS: Final = [
    "1e400", "-1e400", "NaN", "Infinity", "9" * 4000, "9" * 5000, '"\\ud800"', '"x\\udfffy"', "-0", "1e308", "01", "'x'", "",
]  # fmt: skip
_BROKEN: Final = [
    "{% if %}", "{{", "{#", "{% raw %}", "}}", "{% include 'x' %}", "{% for a in a recursive %}{{ loop(a) }}{% endfor %}",
]  # fmt: skip
_ATOMS: Final = [
    "source", "statistics", "files", "version", "row_count", "nothing", "a", "loop", "'%1000000000s'", "'x'", "1", "0", "9" * 4000, "1e400",
    "9" * 5000, "[source, source]", "{'a': statistics}", "'\\ud800'", "none", "''.__class__", "range(999999999)", "cycler", "self",
]  # fmt: skip
_FILTERS: Final = [
    "tojson", "tojson(indent=1000000000)", "center(1000000000)", "join", "join(source)", "length", "sort", "string", "int", "upper",
    "first", "default(1)", "map(attribute='x')", "batch(1)", "indent(999999999)", "format(1)", "wordwrap(1)", "random", "list",
    "attr('__class__')",
]  # fmt: skip
_NUMBERS: Final = [0, -1, 1, 0.5, 1.5, 2**31, 2**63, 10**400, -(10**400), 1e308, True, False, None]

Place = tuple[dict[str, Any] | list[Any], Any]


def write_hostile_directory(directory: Path, rng: random.Random) -> None:
    """The shipped contracts, each file damaged or not, and perhaps a SQL transform in place of the aggregations."""
    for name in FILES[:3]:
        (directory / name).write_bytes((SHIPPED_CONTRACTS / name).read_bytes())
    chosen = rng.choice(FILES[:2])
    path = directory / chosen
    document = json.loads(path.read_bytes())
    for _ in range(rng.randint(1, 3)):
        rng.choice([_replace, _replace, _replace, _remove, _add, _repeat])(document, rng)
    path.write_text(_as_json(document), encoding="utf-8")
    if rng.random() < 0.25:
        _damage_file(directory / rng.choice(FILES), rng)


def _places(value: Any) -> list[Place]:
    found: list[Place] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += [(value, key), *_places(item)]
    return found


def _value(rng: random.Random, *, depth: int = 0) -> Any:
    kinds: list[Callable[[], Any]] = [
        lambda: rng.choice(_WORDS),
        lambda: rng.choice(_NUMBERS),
        lambda: _RAW + rng.choice(_TOKENS),
        list,
        dict,
        lambda: "".join(chr(rng.choice([rng.randrange(0x20, 0x7F), rng.randrange(0xA0, 0xD7FF)])) for _ in range(5)),
    ]
    if depth < 3:
        kinds += [
            lambda: [_value(rng, depth=depth + 1) for _ in range(rng.randint(1, 3))],
            lambda: {rng.choice(_WORDS): _value(rng, depth=depth + 1) for _ in range(2)},
        ]
    return rng.choice(kinds)()


def _replace(document: dict[str, Any], rng: random.Random) -> None:
    if places := _places(document):
        holder, key = rng.choice(places)
        holder[key] = _value(rng)


def _remove(document: dict[str, Any], rng: random.Random) -> None:
    if places := _places(document):
        holder, key = rng.choice(places)
        del holder[key]


def _add(document: dict[str, Any], rng: random.Random) -> None:
    holders = [document, *(holder for holder, _ in _places(document))]
    holder = rng.choice(holders)
    if isinstance(holder, dict):
        known = ["aggregation", "where", "checks", "epoch_unit", "decimals", "window", "column", "max_null_ratio", "ttl", "entity", "type"]
        holder[rng.choice([*known, *_WORDS])] = _value(rng)
    else:
        holder.insert(rng.randint(0, len(holder)), _value(rng))


def _repeat(document: dict[str, Any], rng: random.Random) -> None:
    lists = [holder for holder, _ in _places(document) if isinstance(holder, list)]
    if lists:
        chosen = rng.choice(lists)
        chosen.append(copy.deepcopy(rng.choice(chosen)))


def _as_json(document: Any) -> str:
    """JSON, with the marked tokens put in as they stand."""
    text = json.dumps(document)
    for token in _TOKENS:
        text = text.replace(json.dumps(_RAW + token), token)
    return text


def _damage_file(path: Path, rng: random.Random) -> None:
    body = path.read_bytes() if path.exists() else b"SELECT user_id FROM events"
    path.unlink(missing_ok=True)
    match rng.randrange(7):
        case 0:
            path.mkdir()
        case 1:
            path.symlink_to(path.with_name("nothing"))
        case 2:
            path.write_bytes(body[: rng.randrange(len(body))])
        case 3:
            place = rng.randrange(len(body))
            path.write_bytes(body[:place] + bytes([rng.randrange(256)]) + body[place + 1 :])
        case 4:
            path.write_bytes(rng.choice([b"\xff\xfe", b"\xef\xbb\xbf", b"\x00"]) + body)
        case 5:
            path.write_text('{"a":' * rng.choice([100, 100_000]) + "1")
        case _:
            path.write_text(rng.choice(["[", "[]", '"x"', "null", "1" * 5000, "{" * 1000]))


def hostile_template(rng: random.Random) -> str:
    """A template from a grammar of what could run away or reach out, often around or within one that is right."""
    shipped = (SHIPPED_CONTRACTS / FILES[2]).read_text(encoding="utf-8")
    hostile = _statement(rng, depth=0)
    match rng.randrange(4):
        case 0:
            return hostile
        case 1:
            return shipped.rstrip().removesuffix("}") + f', "x": {hostile} }}'
        case 2:
            place = rng.randrange(len(shipped))
            return shipped[:place] + hostile + shipped[place:]
        case _:
            return (hostile * rng.choice([2, 50, 2000]))[: rng.choice([60_000, 70_000])]


def _statement(rng: random.Random, *, depth: int) -> str:
    inner = _statement(rng, depth=depth + 1) if depth < 4 else "x"
    return rng.choice(
        [
            f"{{{{ {_expression(rng, depth=0)} }}}}",
            f"{{{{ {_expression(rng, depth=0)} | tojson }}}}",
            f"{{% for a in {_expression(rng, depth=1)} %}}{inner}{{% endfor %}}",
            f"{{% for a in [{'1,' * rng.choice([3, 5000, 20_000])}] %}}{inner}{{% endfor %}}",
            f"{{% if {_expression(rng, depth=1)} %}}{inner}{{% else %}}{inner}{{% endif %}}",
            f"{{% set a = {_expression(rng, depth=1)} %}}{inner}",
            f"{{% macro m() %}}{inner}{{{{ m() }}}}{{% endmacro %}}",
            rng.choice(_BROKEN),
        ]
    )


def _expression(rng: random.Random, *, depth: int) -> str:
    if depth >= 4:
        return rng.choice(_ATOMS)
    left, right = _expression(rng, depth=depth + 1), _expression(rng, depth=depth + 1)
    many = rng.choice([3, 200, 5000])
    return rng.choice(
        [
            rng.choice(_ATOMS),
            f"({left} {rng.choice(['+', '-', '*', '/', '//', '%', '**', '~', '<', '==', 'in', 'and', 'or', 'is'])} {right})",
            f"({left} | {rng.choice(_FILTERS)})",
            f"{left}[{right}]",
            f"({left} if {right} else 1)",
            f"{rng.choice(['+', '~', ' and ', '-', '*']).join([rng.choice(['1', 'source', chr(39) + 'x' + chr(39)])] * many)}",
            f"{'(' * many}1{')' * many}",
            f"{'not ' * many}1",
            "source" + f" | {rng.choice(_FILTERS)}" * rng.choice([2, 30, 1000]),
        ]
    )
