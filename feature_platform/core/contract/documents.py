"""Contract documents as JSON: strict parsing, canonical form, hashing, and faults that name file, place, found and expected.

What a contract *means* does not belong here.
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from feature_platform.errors import ContractError

if TYPE_CHECKING:  # templates are rendered in processes of their own, which this import would make three times as slow to start
    from pydantic import ValidationError

SAFE_NAME: Final = r"[a-z][a-z0-9_]{0,62}"
COLUMN_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]{0,62}"
_PATTERNS: Final = {
    rf"\A{SAFE_NAME}\z": "a name of lower-case letters, digits and underscores that starts with a letter, at most 63 characters",
    rf"\A{COLUMN_NAME}\z": "a name of letters, digits and underscores that does not start with a digit, at most 63 characters",
}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,4})([dhms])")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
MAX_DEPTH: Final = 64
_UNITS: Final = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def canonical_json(document: object) -> bytes:
    """The canonical form that hashes are taken over: UTF-8, sorted keys, no spaces, non-ASCII kept.

    >>> canonical_json({"b": 1, "a": "é"}).decode()
    '{"a":"é","b":1}'
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def schema_hash(document: Mapping[str, Any]) -> str:
    """SHA-256 hex of a contract document's canonical form.

    >>> schema_hash({})
    '44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a'
    """
    return hashlib.sha256(canonical_json(document)).hexdigest()


def parse_object(text: str | bytes, *, file: str) -> dict[str, Any]:
    """Parse one JSON object, refusing what canonical JSON cannot hold and anything that is not an object.

    Refused are duplicate keys, NaN, numbers too great for a float, lone surrogates (they are in no UTF-8 text) and deep nesting.

    Raises:
        ContractError: The text is not such an object; the message names ``file`` and the place.
    """
    duplicates: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        duplicates.extend(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return dict(pairs)

    try:
        document = json.loads(text, object_pairs_hook=unique, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{file} is not JSON", [f"expected a JSON object, found: {error}"]) from error
    if not isinstance(document, dict):
        raise ContractError(f"{file} is not a JSON object", [f"expected an object, found {type(document).__name__}"])
    faults = [f"key {_short(key)} stands twice in one object; expected once" for key in sorted(set(duplicates))]
    faults += _form_faults(document)
    if faults:
        raise ContractError(f"{file} is not a document that can be hashed", faults)
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{_short(text)} is too great a number")
    return value


def _form_faults(document: Mapping[str, Any]) -> list[str]:
    """Texts that no UTF-8 file can hold, and nesting that is too deep; without recursion, so that deep nesting cannot exhaust the stack."""
    faults: list[str] = []
    waiting: list[tuple[tuple[int | str, ...], Any]] = [((), document)]
    while waiting:
        path, value = waiting.pop()
        if len(path) > MAX_DEPTH:
            return [*faults, f"{place(path[:3], document)}…: nested more than {MAX_DEPTH} deep; expected a flat document"]
        items: Iterable[tuple[int | str, Any]] = value.items() if isinstance(value, dict) else ()
        for key, item in enumerate(value) if isinstance(value, list) else items:
            broken = [text for text in (key, item) if isinstance(text, str) and _SURROGATE.search(text)]
            faults += [f"{place((*path, key), document)}: found {_short(text)}, expected text without lone surrogates" for text in broken]
            if isinstance(item, dict | list):
                waiting.append(((*path, key), item))
    return faults


def duration(text: str) -> timedelta:
    """A duration such as ``7d``, ``12h``, ``30m`` or ``45s``.

    >>> duration("7d").days
    7

    Raises:
        ValueError: The text is no such duration.
    """
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError(f"expected a whole number followed by d, h, m or s (e.g. '7d'), found {text!r}")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def days(text: str) -> int:
    """A whole number of days, at most 3660, spelled like ``7d``.

    Raises:
        ValueError: The text is not a whole number of days.
    """
    if not re.fullmatch(r"[1-9][0-9]{0,3}d", text) or int(text[:-1]) > 3660:
        raise ValueError(f"expected whole days from '1d' to '3660d', found {text!r}")
    return int(text[:-1])


def place(location: Sequence[int | str], document: Mapping[str, Any]) -> str:
    """A location in a document, for a message; list items that have a name are named.

    >>> place(("columns", 1, "type"), {"columns": [{}, {"name": "f_x"}]})
    'columns[1] (f_x).type'
    """
    spelled, current = "", document
    for part in location:
        if isinstance(part, int):
            current = current[part] if isinstance(current, list) and part < len(current) else {}
            name = current.get("name") if isinstance(current, dict) else None
            spelled += f"[{part}]" + (f" ({_spelled(name)})" if isinstance(name, str) else "")
        else:
            current = current.get(part, {}) if isinstance(current, dict) else {}
            spelled += f".{_spelled(part)}" if spelled else _spelled(part)
    return spelled or "the document"


def faults_of(error: "ValidationError", document: Mapping[str, Any]) -> list[str]:
    """One sentence for each fault that a model found in a document: place, what was found, what was expected."""
    return [_fault(dict(item), document) for item in error.errors(include_url=False)]


def _fault(item: dict[str, Any], document: Mapping[str, Any]) -> str:
    where = place(item["loc"], document)
    kind = item["type"]
    if kind == "extra_forbidden":
        return f"{where}: unknown key; expected only documented keys"
    if kind == "missing":
        return f"{where}: missing; expected it to be given"
    if kind == "value_error":
        return f"{where}: {item['ctx']['error']}"
    if kind == "string_pattern_mismatch":
        return f"{where}: found {_short(item['input'])}, expected {_PATTERNS.get(item['ctx']['pattern'], item['ctx']['pattern'])}"
    expected = item["msg"].removeprefix("Input should be ").removeprefix("Input should ")
    return f"{where}: found {_short(item['input'])}, expected {expected}"


def _spelled(name: str) -> str:
    """A name as it stands, or as a literal where it would break the message that holds it."""
    return name if name.isprintable() and len(name) <= 80 else _short(name)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
