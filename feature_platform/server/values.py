"""How the JSON of an answer spells what JSON has no form for, as Feast's own server does. Rendering does not belong here (``answers``)."""

import math
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from feature_platform.core.online.decoding import Shown, timestamp_of
from feature_platform.core.online.reads import UnplannedRequestError


def _finite(values: list[float]) -> list[Any]:
    """The numbers, with text for ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``; one sum tells that there are none, as nearly always."""
    return values if math.isfinite(sum(values)) else [value if math.isfinite(value) else _name(value) for value in values]


def _name(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


IN_JSON: Final[Shown] = MappingProxyType({"double_val": _finite, "float_val": _finite})


@lru_cache(maxsize=65_536)
def timestamp_text(raw: bytes) -> str:
    """A stored event timestamp as RFC 3339 with 0, 3, 6 or 9 digits of a second, as Feast's server writes it.

    >>> timestamp_text(bytes.fromhex("0880f2d6ca06")), timestamp_text(b"")
    ('2026-01-01T00:00:00Z', '1970-01-01T00:00:00Z')
    """
    seconds, nanos = timestamp_of(raw)
    try:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError) as error:  # beyond the year 9999
        raise UnplannedRequestError from error
    if nanos == 0:
        return text + "Z"
    for digits in (3, 6):
        if nanos % 10 ** (9 - digits) == 0:
            return f"{text}.{nanos // 10 ** (9 - digits):0{digits}d}Z"
    return f"{text}.{nanos:09d}Z"
