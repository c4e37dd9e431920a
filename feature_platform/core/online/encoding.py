"""Arrow columns → the bytes stock Feast would store: entity keys, ``Value`` and ``Timestamp`` messages, in bulk.

Everything is one pass per column over NumPy arrays; no Python object per row. Field names and prefixes come from
``core.online.layout``; framing for the wire does not belong here (``core.online.commands``).

Source: protobuf's wire format; ``feast/type_map.py`` of 0.67 for what becomes null. NaN is null, a null is an empty message, a null
timestamp is the smallest 64-bit integer. Feast replaces nulls *inside* lists by zeros and empty strings; that changes data, so such lists
are refused here.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_platform.core.contract import types
from feature_platform.core.online.layout import FEAST_TYPES, NULL_TIMESTAMP, ViewLayout, key_type_number
from feature_platform.errors import InvalidDataError

Bytes = npt.NDArray[np.uint8]
Lengths = npt.NDArray[np.int64]

_MICROS: Final = 1_000_000
_LENGTH_DELIMITED: Final = 2
# Protobuf's wire types: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
_WIRE_FIXED: Final = {"float64": 1, "float32": 5}
# Years 1 and 10000: protobuf's Timestamp, and Python's datetime on the reading side, hold no others.
_EARLIEST_US: Final = -62_135_596_800 * _MICROS
_LATEST_US: Final = 253_402_300_800 * _MICROS


@dataclass(frozen=True, slots=True)
class Pieces:
    """One encoded value per row, cut into pieces that follow each other: ``lengths[row]`` bytes in total."""

    lengths: Lengths
    parts: tuple[pa.Array, ...]

    def join(self) -> pa.Array:
        """The values as one binary array, without nulls."""
        return self.parts[0] if len(self.parts) == 1 else pc.binary_join_element_wise(*self.parts, b"")


def encode_values(column: pa.Array, kind: str) -> pa.Array:
    """The ``Value`` message of each row; empty for null and NaN.

    Args:
        column: Values of the contract type ``kind``.

    Raises:
        InvalidDataError: A list holds a null.
    """
    return value_pieces(column, kind).join()


def encode_timestamps(column: pa.Array) -> pa.Array:
    """The ``Timestamp`` message of each row of a timestamp column (UTC microseconds, no nulls).

    Raises:
        InvalidDataError: A timestamp is null or outside the years 1 to 9999.
    """
    if column.null_count:
        raise InvalidDataError("The event timestamp has nulls; every row needs the moment it is true as of.", [f"{column.null_count} rows"])
    micros = _integers(column.cast(pa.timestamp("us", tz="UTC")))
    if micros.size and (micros.min() < _EARLIEST_US or micros.max() >= _LATEST_US):
        raise InvalidDataError("The event timestamp leaves the years 1 to 9999, which Feast cannot store.")
    # The second counts towards the past and the nanoseconds are never negative, as Timestamp demands, before 1970 too.
    seconds = np.floor_divide(micros, _MICROS)
    nanos = (micros - seconds * _MICROS) * 1000
    parts = [_tagged_varints(number, tag=tag, present=number != 0) for number, tag in ((seconds, b"\x08"), (nanos, b"\x10"))]
    return pc.binary_join_element_wise(*(ragged(matrix, lengths) for matrix, lengths in parts), b"")


def encode_keys(batch: pa.RecordBatch, layout: ViewLayout) -> pa.Array:
    """The Redis key of each row's entity.

    Raises:
        InvalidDataError: A primary key is null.
    """
    # Feast sorts join keys by name when it writes the entity key; with another order a reader would find no entity.
    parts: list[Any] = [pa.scalar(layout.key_prefix, pa.binary())]
    for name, kind in layout.sorted_keys:
        column = batch.column(name)
        if column.null_count:
            raise InvalidDataError(f"Primary key {name!r} of {layout.view} has nulls; expected none.", [f"{column.null_count} rows"])
        parts += _key_parts(column, kind)
    return pc.binary_join_element_wise(*parts, layout.key_suffix, b"")


def value_pieces(column: pa.Array, kind: str) -> Pieces:
    """Like :func:`encode_values`, but not joined yet: ``core.online.commands`` joins once for the whole row."""
    element = types.element_type(kind)
    if element is not None:
        return _list_pieces(column, kind, element)
    tag = _tag(kind, wire=_WIRE_FIXED.get(kind, 0))
    if kind in {"string", "bytes"}:
        return _binary_pieces(column, tag=_tag(kind, wire=_LENGTH_DELIMITED))
    if kind in _WIRE_FIXED:
        return _single(*_fixed_matrix(column, tag=tag))
    numbers = _seconds(column, kind) if kind in {"timestamp", "date"} else _integers(column)
    present = None if kind in {"timestamp", "date"} else _validity(column)
    return _single(*_tagged_varints(numbers, tag=tag, present=present))


def ragged(matrix: Bytes, lengths: Lengths) -> pa.Array:
    """The first ``lengths[row]`` bytes of each row of a byte matrix, as a binary array."""
    rows, width = matrix.shape
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    # Lengths are mostly equal (one day's timestamps, fixed-width floats); then the matrix already is the buffer.
    whole = offsets[-1] == rows * width
    data = matrix.reshape(-1) if whole else matrix[np.arange(width) < lengths[:, None]]
    return pa.Array.from_buffers(pa.binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))])


def varints(numbers: npt.NDArray[np.int64]) -> tuple[Bytes, Lengths]:
    """Protobuf varints of 64-bit integers (two's complement), as a byte matrix and lengths."""
    # A negative number is its two's complement in ten bytes (protobuf's int64, not sint64). The matrix is as wide as the longest number
    # here, and each of its columns is one pass over all rows: at most ten, where a loop over rows would make an object for each.
    rest = numbers.astype(np.int64).view(np.uint64)
    width = max(1, -(-int(rest.max(initial=0)).bit_length() // 7))
    matrix = np.empty((len(rest), width), np.uint8)
    lengths = np.ones(len(rest), np.int64)
    for place in range(width):
        low = rest.astype(np.uint8) & 0x7F
        rest = rest >> np.uint64(7)
        more = rest != 0
        matrix[:, place] = low | (more.view(np.uint8) << 7)
        lengths += more
    return matrix, lengths


def _tag(kind: str, *, wire: int) -> bytes:
    number = FEAST_TYPES[kind][1] << 3 | wire
    # Field numbers from 16 on need two bytes: lists of float32, bool and timestamps have them.
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80, number >> 7])


def _single(matrix: Bytes, lengths: Lengths) -> Pieces:
    return Pieces(lengths, (ragged(matrix, lengths),))


def _tagged_varints(numbers: npt.NDArray[np.int64], *, tag: bytes, present: npt.NDArray[np.bool_] | None) -> tuple[Bytes, Lengths]:
    matrix, lengths = varints(numbers)
    whole = np.empty((len(matrix), matrix.shape[1] + len(tag)), np.uint8)
    whole[:, : len(tag)] = np.frombuffer(tag, np.uint8)
    whole[:, len(tag) :] = matrix
    lengths += len(tag)
    return whole, lengths if present is None else np.where(present, lengths, 0)


def _fixed_matrix(column: pa.Array, *, tag: bytes) -> tuple[Bytes, Lengths]:
    # Feast turns NaN into null, so one test finds both.
    values = column.fill_null(np.nan).to_numpy(zero_copy_only=False)
    width = values.dtype.itemsize
    matrix = np.empty((len(values), 1 + width), np.uint8)
    matrix[:, 0] = tag[0]
    matrix[:, 1:] = values.astype(values.dtype.newbyteorder("<"), copy=False).view(np.uint8).reshape(len(values), width)
    return matrix, np.where(np.isnan(values), 0, 1 + width)


def _binary_pieces(column: pa.Array, *, tag: bytes) -> Pieces:
    data = column.cast(pa.binary()).fill_null(b"") if column.null_count else column.cast(pa.binary())
    sizes = pc.binary_length(data).to_numpy(zero_copy_only=False).astype(np.int64)
    matrix, lengths = _tagged_varints(sizes, tag=tag, present=_validity(column))
    return Pieces(lengths + sizes, (ragged(matrix, lengths), data))


def _list_pieces(column: pa.Array, kind: str, element: str) -> Pieces:
    """``tag len { 0a len packed… }``; strings and bytes are not packed: ``tag len { 0a len bytes }…``; an empty list has no inside."""
    flat = column.flatten()
    if flat.null_count:
        raise InvalidDataError(
            f"A {kind} column has nulls inside its lists; Feast would serve them as zeros or empty strings.",
            [f"{flat.null_count} null elements; drop them, or make the whole list null"],
        )
    # An empty list is a value and not a null: Feast writes a message with nothing inside, and reads it back as a list.
    present = _validity(column)
    counts = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    inside = _concatenated(_elements(flat, element), counts)
    sizes = pc.binary_length(inside).to_numpy(zero_copy_only=False).astype(np.int64)
    parts: list[pa.Array] = [inside]
    # Numbers of a repeated field are packed behind one tag and length; strings and bytes carry a tag each.
    if element not in {"string", "bytes"}:
        matrix, lengths = _tagged_varints(sizes, tag=b"\x0a", present=counts > 0)
        parts.insert(0, ragged(matrix, lengths))
        sizes = sizes + lengths
    matrix, lengths = _tagged_varints(sizes, tag=_tag(kind, wire=_LENGTH_DELIMITED), present=present)
    return Pieces(lengths + sizes, (ragged(matrix, lengths), *parts))


def _elements(flat: pa.Array, element: str) -> pa.Array:
    if element in {"string", "bytes"}:
        return _binary_pieces(flat, tag=b"\x0a").join()
    if element in _WIRE_FIXED:
        values = flat.to_numpy(zero_copy_only=False)
        matrix = values.astype(values.dtype.newbyteorder("<"), copy=False).view(np.uint8).reshape(len(values), -1 if len(values) else 1)
        return ragged(matrix, np.full(len(values), matrix.shape[1], np.int64))
    numbers = _integers(flat)
    if element == "timestamp":
        # Feast converts list elements through datetime.timestamp() and int(), which cuts towards 1970.
        numbers = np.sign(numbers) * (np.abs(numbers) // _MICROS)
    return ragged(*varints(numbers))


def _concatenated(elements: pa.Array, counts: Lengths) -> pa.Array:
    """Lists of encoded elements: their bytes lie one after the other already, so only the offsets change."""
    _, offsets, data = elements.buffers()
    element_offsets = np.frombuffer(offsets, np.int32)[: len(elements) + 1] if offsets else np.zeros(1, np.int32)
    list_offsets = element_offsets[np.concatenate([[0], np.cumsum(counts)])]
    return pa.Array.from_buffers(
        pa.binary(), len(counts), [None, pa.py_buffer(np.ascontiguousarray(list_offsets)), data or pa.py_buffer(b"")]
    )


def _key_parts(column: pa.Array, kind: str) -> list[Any]:
    # Keys are no protobuf: Feast writes type and length as 32 bits little-endian, then the value, integers at their full width.
    number = key_type_number(kind)
    if kind == "string":
        data = column.cast(pa.binary())
        sizes = pc.binary_length(data).to_numpy(zero_copy_only=False)
        header = np.empty((len(column), 2), "<u4")
        header[:, 0] = number
        header[:, 1] = sizes
        matrix = header.view(np.uint8).reshape(len(column), 8)
        return [ragged(matrix, np.full(len(column), 8, np.int64)), data]
    values = np.ascontiguousarray(_integers(column).astype("<i8" if kind == "int64" else "<i4"))
    width = values.dtype.itemsize
    matrix = np.empty((len(values), 8 + width), np.uint8)
    matrix[:, :8] = np.frombuffer(np.array([number, width], "<u4").tobytes(), np.uint8)
    matrix[:, 8:] = values.view(np.uint8).reshape(len(values), width)
    return [ragged(matrix, np.full(len(values), 8 + width, np.int64))]


def _integers(column: pa.Array) -> npt.NDArray[np.int64]:
    """Integers, booleans and timestamps as 64-bit integers, nulls as zero, never by way of floats."""
    if pa.types.is_timestamp(column.type):
        column = column.view(pa.int64())
    # to_numpy() of a column with nulls gives floats, which are exact up to 2^53 only; so nulls go first.
    whole = column.cast(pa.int64())
    filled = whole.fill_null(0) if whole.null_count else whole
    return np.asarray(filled.to_numpy(zero_copy_only=False), np.int64)


def _seconds(column: pa.Array, kind: str) -> npt.NDArray[np.int64]:
    if kind == "date":
        seconds = _integers(column.view(pa.int32())) * 86_400
    else:
        seconds = np.floor_divide(_integers(column.cast(pa.timestamp("us", tz="UTC"))), _MICROS)
    present = _validity(column)
    return seconds if present is None else np.where(present, seconds, NULL_TIMESTAMP)


def _validity(column: pa.Array) -> npt.NDArray[np.bool_] | None:
    return column.is_valid().to_numpy(zero_copy_only=False) if column.null_count else None
