"""A whole Parquet file as a table, where its footer is, and the encodings that fit rows. Reading batch by batch does not belong here."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_platform.errors import InvalidDataError

SAMPLED_ROWS: Final = 16_384

_MAGIC: Final = b"PAR1"
_TAIL_BYTES: Final = 8


def read_whole(source: Path | BinaryIO | bytes, *, columns: Sequence[str] | None = None) -> pa.Table:
    """Every row, with page checksums verified.

    Arrow's threads may still refer to the source after the table is complete. Where the source is a Python object, a process that ends soon
    after may abort: in one of three runs by ``pyarrow.parquet.read_table``, rarely by ``ParquetFile`` (apache/arrow, issues 33975 and
    50482). So a source that is not a path is first copied to Arrow's own memory.

    Raises:
        pyarrow.ArrowException, OSError: It is damaged, or not Parquet.
    """
    with pq.ParquetFile(source if isinstance(source, Path) else _copied(source), page_checksum_verification=True) as file:
        return file.read(columns=None if columns is None else list(columns))


def _copied(source: BinaryIO | bytes) -> pa.BufferReader:
    memory = pa.BufferOutputStream()
    memory.write(source if isinstance(source, bytes) else source.read())
    return pa.BufferReader(memory.getvalue())


def footer_start(file: BinaryIO, name: str) -> int:
    """Where the footer of a Parquet file begins, which is where padding is inserted.

    Raises:
        InvalidDataError: The file does not end as a Parquet file does.
    """
    size = file.seek(0, 2)
    file.seek(max(size - _TAIL_BYTES, 0))
    tail = file.read()
    footer_bytes = struct.unpack("<I", tail[:4])[0] if len(tail) == _TAIL_BYTES and tail[4:] == _MAGIC else size
    start = size - _TAIL_BYTES - footer_bytes
    if start < len(_MAGIC):
        raise InvalidDataError(f"{name} does not end with a Parquet footer; expected a whole Parquet file of {size} bytes.")
    return start


def fitting_encodings(batch: pa.RecordBatch) -> dict[str, Any]:
    """Arguments for Arrow's writer of a file that begins with these rows: how each column is encoded.

    A dictionary pays only where values repeat. Trying one on a column of identifiers costs half the time of writing a file, and is given
    up in the end. Encoding differences takes a third less time than plain values, and reading them no more. Equal rows give equal files,
    because the choice depends on the rows alone.
    """
    sample = batch.slice(0, SAMPLED_ROWS)
    repeated = [field.name for field, column in zip(sample.schema, sample.columns, strict=True) if _repeats(column)]
    encodings = {field.name: kind for field in sample.schema if field.name not in repeated and (kind := _differences(field.type))}
    return {"use_dictionary": repeated, "column_encoding": encodings}


def _repeats(column: pa.Array) -> bool:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return True
    if pa.types.is_nested(kind) or pa.types.is_null(kind) or pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return False  # Arrow cannot count distinct values of these types
    return bool(pc.count_distinct(column).as_py() * 2 < len(column))


def _differences(kind: pa.DataType) -> str | None:
    if pa.types.is_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "DELTA_BINARY_PACKED"
    return "DELTA_LENGTH_BYTE_ARRAY" if pa.types.is_string(kind) or pa.types.is_binary(kind) else None
