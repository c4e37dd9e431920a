"""The bytes in the online store → values: the inverse of ``core.online.encoding``, for readers and comparisons.

A whole column is read as one protobuf message whose repeated fields protobuf's C code fills: three to six times as fast as one value
after the other. Fetching bytes does not belong here, nor deciding what a value that is past its ttl or missing means.

Shape of values: int, float, bool, str, bytes, lists of them, None for null. Timestamps and dates are seconds since 1970, or what a caller
turns them into (:data:`MOMENTS`).
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from google.protobuf.message import DecodeError

from feature_platform.core.online.layout import FEAST_TYPES, NULL_TIMESTAMP
from feature_platform.core.online.messages import message
from feature_platform.core.online.reads import UnplannedRequestError

Raw = bytes | None
Reader = Callable[[Sequence[Raw]], list[Any]]
Shown = Mapping[str, Callable[[list[Any]], list[Any]]]
"""Field of ``Value`` → a function that converts its values, and the elements of a list of them."""

_COLUMN: Final = message("Column")
_FIELDS: Final = {field.number: field.name for field in _COLUMN.DESCRIPTOR.fields}
_TIMESTAMP: Final = message("Duration")  # has the fields of a Timestamp
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STRING: Final = 2


def column_reader(kind: str, shown: Shown = MappingProxyType({})) -> Reader:
    """A function from the stored bytes of a column (None or empty for null) to its values.

    Bytes of another type than ``kind`` are read by their own type, as Feast does. The function raises :class:`UnplannedRequestError` for
    bytes of a type that no contract allows.
    """
    field = _FIELDS[FEAST_TYPES[kind][1]]
    parse, show = _COLUMN.FromString, _shower(field, shown)

    def read(raws: Sequence[Raw]) -> list[Any]:
        try:
            joined = b"".join(raws)  # type: ignore[arg-type]  # a null raises
        except TypeError:
            joined = b"".join(filter(None, raws))
        try:
            values: list[Any] = getattr(parse(joined), field)[:]
        except DecodeError:
            return [_value(raw, shown) for raw in raws]
        if show is not None:
            values = show(values)
        return values if len(values) == len(raws) else _spread(values, raws, shown)

    return read


def _spread(values: list[Any], raws: Sequence[Raw], shown: Shown) -> list[Any]:
    """The values with None in place of nulls; read one by one where some are of another type."""
    if len(values) != sum(map(bool, raws)):
        return [_value(raw, shown) for raw in raws]
    following = iter(values)
    return [next(following) if raw else None for raw in raws]


def _value(raw: Raw, shown: Shown) -> Any:
    if not raw:
        return None
    try:
        fields = _COLUMN.FromString(raw).ListFields()
    except DecodeError as error:
        raise UnplannedRequestError from error
    if len(fields) != 1:
        raise UnplannedRequestError
    show, values = _shower(fields[0][0].name, shown), list(fields[0][1])
    return (show(values) if show else values)[-1]


def _shower(field: str, shown: Shown) -> Callable[[list[Any]], list[Any]] | None:
    """What turns the values that protobuf read of a field into those that are shown; None where they are the same."""
    show = shown.get(field.replace("_list_val", "_val"))
    if not field.endswith("_list_val"):
        return show
    if show is None:
        return lambda values: [list(value.val) for value in values]
    return lambda values: [show(list(value.val)) for value in values]


def _moments(seconds: list[int]) -> list[datetime | None]:
    try:
        return [None if number == NULL_TIMESTAMP else _EPOCH + timedelta(seconds=number) for number in seconds]
    except OverflowError as error:  # outside the years 1 to 9999
        raise UnplannedRequestError from error


MOMENTS: Final[Shown] = MappingProxyType({"unix_timestamp_val": _moments})
"""Timestamps as ``datetime`` (UTC, whole seconds); a date comes back as the midnight it was stored as."""


@lru_cache(maxsize=65_536)
def timestamp_of(raw: bytes) -> tuple[int, int]:
    """Seconds since 1970 and nanoseconds of a stored event timestamp; both are few in a version, so each is read once.

    >>> timestamp_of(bytes.fromhex("0880f2d6ca06"))
    (1767225600, 0)
    """
    try:
        stamp = _TIMESTAMP.FromString(raw)
    except DecodeError as error:
        raise UnplannedRequestError from error
    return stamp.seconds, stamp.nanos


def project_of_key(raw: bytes) -> bytes | None:
    """The project at the end of any entity's Redis key, whatever its join keys; None where the key is no entity key."""
    # A scan meets keys of every kind. Only walking the lengths identifies an entity key of a project: one project's name may be the end of
    # another's.
    try:
        (count,) = struct.unpack_from("<I", raw, 0)
        at = 4
        for part in range(2 * count):
            number, size = struct.unpack_from("<II", raw, at)
            if part < count and number != _STRING:
                return None
            at += 8 + size
    except struct.error:
        return None
    return raw[at:] if count and at <= len(raw) else None
