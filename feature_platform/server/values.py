"""A column of stored ``Value`` bytes → the values that JSON shows, as Feast's own server converts them.

The oracle of this module is ``core.online.decoding``, which reads one value at a time; here a whole column is one protobuf message whose
repeated fields protobuf's C code fills (three to six times as fast). Rendering JSON does not belong here (``answers``).

Shape of values: int, float, bool, str, bytes (which the encoder writes in base64), lists of them, None for null. Timestamps and dates are
seconds since 1970. What JSON has no number for is text: ``"NaN"``, ``"Infinity"``, ``"-Infinity"``.
"""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from google.protobuf.message import DecodeError

from feature_platform.core.online.layout import FEAST_TYPES
from feature_platform.core.online.reads import UnplannedRequestError
from feature_platform.server.messages import message

Raw = bytes | None
Reader = Callable[[Sequence[Raw]], list[Any]]

_COLUMN: Final = message("Column")
_FIELDS: Final = {field.number: field.name for field in _COLUMN.DESCRIPTOR.fields}
_FLOATING: Final = frozenset({"double_val", "float_val"})
_FLOATING_LISTS: Final = frozenset({"double_list_val", "float_list_val"})


def column_reader(kind: str) -> Reader:
    """A function from the stored bytes of a column (None or empty for null) to its values.

    Bytes of another type than ``kind`` are served as what they are, as Feast does; it raises :class:`UnplannedRequestError` for bytes
    that no contract type has.
    """
    field = _FIELDS[FEAST_TYPES[kind][1]]
    parse, is_list = _COLUMN.FromString, field.endswith("_list_val")
    is_floating = field in _FLOATING

    def read(raws: Sequence[Raw]) -> list[Any]:
        try:
            joined = b"".join(raws)  # type: ignore[arg-type]  # a null raises
        except TypeError:
            joined = b"".join(filter(None, raws))
        try:
            values: list[Any] = getattr(parse(joined), field)[:]
        except DecodeError:
            return [_value(raw) for raw in raws]
        if is_list:
            values = _lists(field, values)
        elif is_floating and not math.isfinite(sum(values)):
            values = _finite(values)
        if len(values) == len(raws):
            return values
        return _spread(values, raws)

    return read


def _spread(values: list[Any], raws: Sequence[Raw]) -> list[Any]:
    """The values with None in place of nulls; read one by one where some are of another type."""
    if len(values) != sum(map(bool, raws)):
        return [_value(raw) for raw in raws]
    following = iter(values)
    return [next(following) if raw else None for raw in raws]


def _value(raw: Raw) -> Any:
    if not raw:
        return None
    try:
        fields = _COLUMN.FromString(raw).ListFields()
    except DecodeError as error:
        raise UnplannedRequestError from error
    if len(fields) != 1:
        raise UnplannedRequestError
    field, values = fields[0][0].name, list(fields[0][1])
    if field.endswith("_list_val"):
        values = _lists(field, values)
    return _finite(values)[-1] if field in _FLOATING else values[-1]


def _lists(field: str, values: list[Any]) -> list[list[Any]]:
    lists = [list(value.val) for value in values]
    return [_finite(value) for value in lists] if field in _FLOATING_LISTS else lists


def _finite(values: list[float]) -> list[Any]:
    return [value if math.isfinite(value) else _name(value) for value in values]


def _name(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


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


_TIMESTAMP: Final = message("Duration")  # has the fields of a Timestamp


@lru_cache(maxsize=65_536)
def timestamp_of(raw: bytes) -> tuple[int, int]:
    """Seconds since 1970 and nanoseconds of a stored event timestamp; both are few in a version, so each is read once."""
    try:
        stamp = _TIMESTAMP.FromString(raw)
    except DecodeError as error:
        raise UnplannedRequestError from error
    return stamp.seconds, stamp.nanos
