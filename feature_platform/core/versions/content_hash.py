"""The logical hash of a table: equal rows give an equal hash, whatever file, batch sizes or compression they came in.

Per column, SHA-256 is taken over two streams that do not depend on how rows are cut into batches: one that says which values are
null (or how long they are), and one of the values themselves, little-endian. A null contributes a zero to the values of a fixed
width. The table's hash is SHA-256 over the canonical JSON of every column's name, contract type, and digests, and the row count.

``-0.0`` counts as ``0.0`` and every NaN as the same NaN. Hashing *files* does not belong here.
"""

import hashlib
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa

from feature_platform.core.contract import types
from feature_platform.core.contract.documents import canonical_json
from feature_platform.errors import InvalidDataError

_NAMES: Final = MappingProxyType({arrow: name for name, arrow in types.SCALARS.items()})


def type_name(arrow: pa.DataType) -> str:
    """The contract's name of an Arrow type.

    >>> type_name(pa.list_(pa.int64()))
    'list<int64>'

    Raises:
        InvalidDataError: No contract can name this type.
    """
    if pa.types.is_list(arrow):
        return f"list<{type_name(arrow.value_type)}>"
    if arrow not in _NAMES:
        raise InvalidDataError(f"Arrow type {arrow} is no contract type; expected one of {', '.join(map(str, _NAMES))} or lists of them.")
    return _NAMES[arrow]


class ContentHasher:
    """Hashes a table batch by batch.

    Args:
        schema: The table's columns in order; each of a contract type.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._columns = [(field.name, type_name(field.type), _column_hasher(field.type)) for field in schema]
        self._rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the next rows; their columns are those of the schema, in its order."""
        self._rows += batch.num_rows
        for (_, _, hasher), array in zip(self._columns, batch.columns, strict=True):
            hasher.update(array)

    def hexdigest(self) -> str:
        columns = [{"name": name, "type": kind, "digests": hasher.digests()} for name, kind, hasher in self._columns]
        return hashlib.sha256(canonical_json({"rows": self._rows, "columns": columns})).hexdigest()


def content_hash(table: pa.Table) -> str:
    """The logical hash of a table in memory."""
    hasher = ContentHasher(table.schema)
    for batch in table.to_batches():
        hasher.update(batch)
    return hasher.hexdigest()


class _FixedWidth:
    """Nulls as one byte per value, then the values themselves."""

    def __init__(self) -> None:
        self._nulls, self._values = hashlib.sha256(), hashlib.sha256()

    def update(self, array: pa.Array) -> None:
        self._nulls.update(null_bytes(array).data)
        self._values.update(np.ascontiguousarray(fixed_values(array)).data)

    def digests(self) -> list[str]:
        return [self._nulls.hexdigest(), self._values.hexdigest()]


class _Variable:
    """Lengths in bytes (-1 for null) as little-endian int32, then the bytes end to end."""

    def __init__(self) -> None:
        self._lengths, self._data = hashlib.sha256(), hashlib.sha256()

    def update(self, array: pa.Array) -> None:
        nulls = null_bytes(array) if array.null_count else None
        if nulls is not None:
            array = array.cast(pa.binary()).fill_null(b"")
        offsets, data = binary_parts(array)
        lengths = np.diff(offsets) if nulls is None else np.where(nulls, np.int32(-1), np.diff(offsets))
        self._lengths.update(np.ascontiguousarray(lengths, dtype="<i4").data)
        self._data.update(data[offsets[0] : offsets[-1]])

    def digests(self) -> list[str]:
        return [self._lengths.hexdigest(), self._data.hexdigest()]


class _List:
    """Lengths in elements (-1 for null) as little-endian int32, then the elements as a column of their own."""

    def __init__(self, element: pa.DataType) -> None:
        self._lengths, self._elements = hashlib.sha256(), _column_hasher(element)

    def update(self, array: pa.Array) -> None:
        lengths = array.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)
        self._lengths.update(np.ascontiguousarray(lengths, dtype="<i4").data)
        self._elements.update(array.flatten())

    def digests(self) -> list[str]:
        return [self._lengths.hexdigest(), *self._elements.digests()]


def _column_hasher(arrow: pa.DataType) -> Any:
    if pa.types.is_list(arrow):
        return _List(arrow.value_type)
    if pa.types.is_string(arrow) or pa.types.is_binary(arrow):
        return _Variable()
    return _FixedWidth()


def null_bytes(array: pa.Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """One byte per value: 1 where it is null."""
    if not array.null_count:
        return np.zeros(len(array), dtype=np.bool_)
    nulls: np.ndarray[Any, np.dtype[np.bool_]] = array.is_null().to_numpy(zero_copy_only=False)
    return nulls


def fixed_values(array: pa.Array) -> np.ndarray[Any, Any]:
    """The values of a fixed-width column as little-endian numbers: nulls are 0, -0.0 is 0.0, each NaN is the same NaN."""
    if pa.types.is_timestamp(array.type):
        array = array.view(pa.int64())
    elif pa.types.is_date32(array.type):
        array = array.view(pa.int32())
    elif pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    if array.null_count:
        array = array.fill_null(pa.scalar(0, type=array.type))
    values: np.ndarray[Any, Any] = array.to_numpy(zero_copy_only=False)
    if pa.types.is_floating(array.type):
        values = values + values.dtype.type(0.0)  # adding zero turns -0.0 into 0.0
        unordered = np.isnan(values)
        if unordered.any():
            values[unordered] = np.nan
    return values


def binary_parts(array: pa.Array) -> tuple[np.ndarray[Any, np.dtype[np.int32]], memoryview]:
    """Offsets (one more than values) and the data they point into, of a string or binary column; nothing is copied."""
    _, offsets, data = array.buffers()
    if not len(array) or offsets is None:
        return np.zeros(1, dtype=np.int32), memoryview(b"")
    pointers = np.frombuffer(offsets, dtype=np.int32)[array.offset : array.offset + len(array) + 1]
    return pointers, memoryview(data) if data is not None else memoryview(b"")
