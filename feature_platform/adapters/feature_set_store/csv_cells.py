"""The text form of values in ``features.csv``, written by Polars and read back exactly by Arrow.

The format: UTF-8, a header line, comma, ``\\n``, quotes only where needed. A null is an empty cell, an empty string is ``""``.
Booleans are ``true`` and ``false``, floats the shortest text that reads back to the same bits, dates ``2026-01-15``, timestamps
``2026-01-15T00:00:00.000000Z``, bytes lowercase hexadecimal, lists a JSON array of the same forms (strings as they are).

A string cell that a spreadsheet would take for a formula (:data:`ESCAPED_STARTS`), or that starts with an apostrophe, is written with an
apostrophe in front, which reading takes away again. Writing files does not belong here (``feature_files``).
"""

import json
from datetime import date, datetime
from typing import Any, Final, cast

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from feature_platform.core.versions.content_hash import binary_parts

# Excel and its kin run these as formulas (OWASP, "CSV injection"). The apostrophe itself is among them, so that reading is exact.
ESCAPED_STARTS: Final = "=+-@\t\r'"
ESCAPE: Final = "'"
# Always six digits: writers differ in the text of a timestamp, and the file is hashed.
TIMESTAMP_FORMAT: Final = "%Y-%m-%dT%H:%M:%S%.6fZ"

_IS_ESCAPED: Final = np.isin(np.arange(256), [ord(start) for start in ESCAPED_STARTS])


def to_cells(batch: pa.RecordBatch) -> pl.DataFrame:
    """The rows as a frame whose plain CSV form is the documented one."""
    columns = [_to_cells(array) for array in batch.columns]
    return cast("pl.DataFrame", pl.from_arrow(pa.RecordBatch.from_arrays(columns, names=batch.schema.names)))


def from_cells(cells: pa.ChunkedArray, arrow: pa.DataType) -> pa.ChunkedArray:
    """The values of a column from its text cells; the inverse of :func:`to_cells`.

    Raises:
        pa.ArrowInvalid: A cell is not the text of such a value.
    """
    if pa.types.is_string(arrow):
        escaped = pc.starts_with(cells, ESCAPE)
        return pc.if_else(escaped, pc.utf8_slice_codeunits(cells, 1), cells)
    if pa.types.is_timestamp(arrow):
        return pc.cast(cells, pa.timestamp("us", tz="UTC"))
    if pa.types.is_binary(arrow) or pa.types.is_list(arrow):
        read = json.loads if pa.types.is_list(arrow) else str
        parsed = [None if cell is None else _from_json(read(cell), arrow) for cell in cells.to_pylist()]
        return pa.chunked_array([pa.array(parsed, type=arrow)])
    return pc.cast(cells, arrow)


def _to_cells(array: pa.Array) -> pa.Array:
    if pa.types.is_string(array.type):
        return _escape(array)
    if pa.types.is_timestamp(array.type):
        return _moments(array)
    if pa.types.is_binary(array.type):
        return pa.array([None if value is None else value.hex() for value in array.to_pylist()], type=pa.string())
    if pa.types.is_list(array.type):
        return pa.array([None if value is None else _list_text(value) for value in array.to_pylist()], type=pa.string())
    return array


def _moments(array: pa.Array) -> pa.Array:
    """Timestamps as text; formatted once where all are the same, as the event timestamps of a version usually are."""
    found = pc.min_max(array)
    if len(array) and not array.null_count and found["min"] == found["max"]:
        text = pl.Series(array.slice(0, 1)).dt.strftime(TIMESTAMP_FORMAT)[0]
        return pa.repeat(pa.scalar(text, type=pa.string()), len(array))
    return pl.Series(array, dtype=pl.Datetime("us", "UTC")).dt.strftime(TIMESTAMP_FORMAT).to_arrow().cast(pa.string())


def _escape(array: pa.Array) -> pa.Array:
    """Prefix the cells that need it; only first bytes are looked at, because nearly no column has such cells."""
    offsets, data = binary_parts(array)
    raw = np.frombuffer(data, dtype=np.uint8)
    filled = np.diff(offsets) > 0
    starts = raw[np.minimum(offsets[:-1], max(len(raw) - 1, 0))] if len(raw) else np.zeros(len(array), dtype=np.uint8)
    risky = _IS_ESCAPED[starts] & filled if len(raw) else np.zeros(len(array), dtype=np.bool_)
    if not risky.any():
        return array
    return pc.if_else(pa.array(risky), pc.binary_join_element_wise(ESCAPE, array, ""), array)


def _list_text(values: list[Any]) -> str:
    return json.dumps([_to_json(value) for value in values], ensure_ascii=False, separators=(",", ":"))


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value.isoformat() if isinstance(value, date) else value


def _from_json(value: Any, arrow: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_list(arrow):
        return [_from_json(item, arrow.value_type) for item in value]
    if pa.types.is_binary(arrow):
        return bytes.fromhex(value)
    if pa.types.is_timestamp(arrow):
        return datetime.fromisoformat(value)
    return date.fromisoformat(value) if pa.types.is_date(arrow) else value
