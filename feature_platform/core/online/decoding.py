"""The bytes in the online store → values: the inverse of ``core.online.encoding``, for readers and comparisons.

``decoder(kind)`` gives the fastest reader of one known type and refuses bytes of another; ``decode_value`` reads whatever type the bytes
name. Fetching bytes does not belong here, nor deciding what an expired or missing value means.

Shape of decoded values: int, float, bool, str, bytes, ``datetime`` (UTC, whole seconds), lists of them, or None for null. A date comes
back as the midnight it was stored as.
"""

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from feature_platform.core.contract import types
from feature_platform.core.online.encoding import NULL_TIMESTAMP
from feature_platform.core.online.layout import FEAST_TYPES
from feature_platform.errors import InvalidDataError

Value = Any
Decoder = Callable[[bytes], Value]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DOUBLE: Final = struct.Struct("<d")
_FLOAT: Final = struct.Struct("<f")
_STRING: Final = 2
_SIGN_BIT: Final = 1 << 63
_WRAP: Final = 1 << 64


def decode_value(raw: bytes) -> Value:
    """The value of one ``Value`` message of any type a contract allows; None for an empty message.

    >>> decode_value(bytes.fromhex("20ffffffffffffffffff01"))
    -1

    Raises:
        InvalidDataError: The bytes are no such message.
    """
    if not raw:
        return None
    number, _ = _varint(raw, 0)
    kind = _KINDS.get(number)
    if kind is None:
        raise InvalidDataError(f"Online value {raw[:16].hex()}… begins with an unknown field tag {number}.")
    return decoder(kind)(raw)


def decoder(kind: str) -> Decoder:
    """A function from the bytes of a field to a value of the contract type ``kind``.

    The function raises :class:`InvalidDataError` for bytes of another type.
    """
    return _DECODERS[kind]


def decode_timestamp(raw: bytes) -> tuple[int, int]:
    """Seconds since 1970 and nanoseconds of a ``Timestamp`` message; an empty message is 1970 itself.

    >>> decode_timestamp(bytes.fromhex("0880f2d6ca06"))
    (1767225600, 0)
    """
    seconds = nanos = at = 0
    while at < len(raw):
        tag = raw[at]
        number, at = _varint(raw, at + 1)
        if tag == 0x08:
            seconds = number - _WRAP if number >= _SIGN_BIT else number
        elif tag == 0x10:
            nanos = number
        else:
            raise InvalidDataError(f"Online event timestamp {raw.hex()} is no Timestamp message.")
    return seconds, nanos


def project_of_key(raw: bytes) -> bytes | None:
    """The project at the end of any entity's Redis key, whatever its join keys; None where the key is no entity key."""
    # A scan meets keys of every kind. Walking the lengths is what tells an entity key: a project's name may end like another's.
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


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    try:
        while True:
            byte = raw[at]
            number |= (byte & 0x7F) << shift
            at += 1
            if byte < 0x80:
                return number, at
            shift += 7
    except IndexError:
        raise InvalidDataError(f"Online value {raw[:16].hex()}… ends within a number.") from None


def _signed(raw: bytes, at: int) -> tuple[int, int]:
    number, at = _varint(raw, at)
    return (number - _WRAP if number >= _SIGN_BIT else number), at


def _moment(seconds: int) -> datetime | None:
    if seconds == NULL_TIMESTAMP:
        return None
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError as error:
        raise InvalidDataError(f"Online timestamp of {seconds} s leaves the years 1 to 9999.") from error


def _wrong(raw: bytes, kind: str) -> InvalidDataError:
    return InvalidDataError(f"Online value {raw[:16].hex()}… is not a {kind}.")


def _number_decoder(kind: str, convert: Callable[[int], Value]) -> Decoder:
    tag = FEAST_TYPES[kind][1] << 3  # wire type 0; one byte, since no scalar has a field number above 15

    def decode(raw: bytes) -> Value:
        if not raw:
            return None
        if raw[0] != tag:
            raise _wrong(raw, kind)
        if len(raw) == 2:  # 0 to 127, which most counts are: no loop
            return convert(raw[1])
        number, at = _signed(raw, 1)
        if at != len(raw):
            raise _wrong(raw, kind)
        return convert(number)

    return decode


def _fixed_decoder(kind: str, fixed: struct.Struct, wire: int) -> Decoder:
    tag, size = FEAST_TYPES[kind][1] << 3 | wire, fixed.size + 1

    def decode(raw: bytes) -> Value:
        if not raw:
            return None
        if raw[0] != tag or len(raw) != size:
            raise _wrong(raw, kind)
        return fixed.unpack_from(raw, 1)[0]

    return decode


def _text_decoder(kind: str) -> Decoder:
    tag = FEAST_TYPES[kind][1] << 3 | 2

    def decode(raw: bytes) -> Value:
        if not raw:
            return None
        size, at = _varint(raw, 1)
        if raw[0] != tag or at + size != len(raw):
            raise _wrong(raw, kind)
        return _text(raw[at:], kind)

    return decode


def _list_decoder(kind: str, element: str) -> Decoder:
    number = FEAST_TYPES[kind][1] << 3 | 2

    def decode(raw: bytes) -> Value:
        if not raw:
            return None
        tag, at = _varint(raw, 0)
        size, at = _varint(raw, at)
        if tag != number or at + size != len(raw):
            raise _wrong(raw, kind)
        return _elements(raw, at, element)

    return decode


def _elements(raw: bytes, at: int, element: str) -> list[Value]:
    values: list[Value] = []
    while at < len(raw):
        if raw[at] != 0x0A:
            raise _wrong(raw, f"list<{element}>")
        size, at = _varint(raw, at + 1)
        chunk, at = raw[at : at + size], at + size
        if len(chunk) != size:
            raise _wrong(raw, f"list<{element}>")
        if element in {"string", "bytes"}:
            values.append(_text(chunk, element))
        else:
            values += _packed(chunk, element)  # a writer may cut one list into several packed runs
    return values


def _packed(chunk: bytes, element: str) -> list[Value]:
    if element in {"float64", "float32"}:
        fixed = _DOUBLE if element == "float64" else _FLOAT
        if len(chunk) % fixed.size:
            raise _wrong(chunk, f"list<{element}>")
        return [value for (value,) in fixed.iter_unpack(chunk)]
    convert, at, values = _CONVERT[element], 0, []
    while at < len(chunk):
        number, at = _signed(chunk, at)
        values.append(convert(number))
    return values


def _text(raw: bytes, kind: str) -> str | bytes:
    if kind == "bytes":
        return raw
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise _wrong(raw, kind) from error


_CONVERT: Final[MappingProxyType[str, Callable[[int], Value]]] = MappingProxyType(
    {"int32": int, "int64": int, "bool": bool, "timestamp": _moment, "date": _moment}
)


def _build(kind: str) -> Decoder:
    element = types.element_type(kind)
    if element is not None:
        return _list_decoder(kind, element)
    if kind in _CONVERT:
        return _number_decoder(kind, _CONVERT[kind])
    if kind in {"float64", "float32"}:
        return _fixed_decoder(kind, _DOUBLE if kind == "float64" else _FLOAT, 1 if kind == "float64" else 5)
    return _text_decoder(kind)


def _tag_number(kind: str) -> int:
    wire = 0 if kind in _CONVERT else {"float64": 1, "float32": 5}.get(kind, 2)
    return FEAST_TYPES[kind][1] << 3 | wire


_DECODERS: Final[MappingProxyType[str, Decoder]] = MappingProxyType({kind: _build(kind) for kind in FEAST_TYPES})
# A date and a timestamp have the same bytes; read without a contract both are moments.
_KINDS: Final[MappingProxyType[int, str]] = MappingProxyType({_tag_number(kind): kind for kind in FEAST_TYPES if kind != "date"})
