"""Rows of raw Parquet objects, decoded by Arrow: page checksums are verified, and no statistic of a footer decides what is read.

Judging the rows does not belong here (``core.compute.validation_sql``), nor does bounding what they decode to
(``adapters.compute.duckdb.validation``).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_platform.adapters.events.raw_records import ROW, FileBatch, file_column
from feature_platform.core.events.raw import RawObject, ReadLimits
from feature_platform.errors import InvalidDataError

BATCH_ROWS: Final = 65_536
BATCH_BYTES: Final = 16 << 20
"""Largest batch in memory: Arrow expands cells that share one entry of a page's dictionary."""


def parquet_footer(file: BinaryIO, item: RawObject) -> pq.FileMetaData:
    """The footer of a raw Parquet object.

    Raises:
        InvalidDataError: It is truncated or no Parquet file.
    """
    with _unreadable(item):
        return pq.read_metadata(file)


def parquet_columns(footer: pq.FileMetaData, item: RawObject, *, names: Sequence[str], limits: ReadLimits) -> list[str]:
    """Names of a file's columns in order; those that are asked for are there, once each. Upper and lower case differ.

    Raises:
        InvalidDataError: A column is missing or stands more than once, or there are too many.
    """
    with _unreadable(item):
        found: list[str] = footer.schema.to_arrow_schema().names
    if footer.num_columns > limits.max_columns:
        raise InvalidDataError(f"{item.uri} has {footer.num_columns} columns; expected at most {limits.max_columns} (max_columns).")
    counts = Counter(found)
    faults = [f"column {name!r} is missing" for name in names if name not in counts]
    faults += [f"column {name!r} stands more than once" for name in names if counts[name] > 1]
    if faults:
        raise InvalidDataError(
            f"{item.uri}: its columns do not fit the source contract; expected {', '.join(names)}; found {', '.join(found)[:500]}", faults
        )
    return found


def parquet_batches(file: BinaryIO, item: RawObject, *, names: Sequence[str], row_bytes: int) -> Iterator[FileBatch]:
    """Every row with all columns of the file, which are called ``names``.

    Args:
        row_bytes: The cells of its widest row.

    Raises:
        InvalidDataError: A page does not match its checksum, or cannot be decoded.
    """
    with _unreadable(item):
        # Reading by small pieces rather than whole column chunks: a row group may be as large as the file.
        parquet = pq.ParquetFile(file, page_checksum_verification=True, buffer_size=1 << 20, coerce_int96_timestamp_unit="us")
        row = 1
        for batch in parquet.iter_batches(max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, row_bytes)))):
            batch.validate(full=True)  # Arrow takes any bytes for text while it decodes
            numbers = pa.array(np.arange(row, row + batch.num_rows))
            found = [ROW, *(file_column(place) for place in range(batch.num_columns))]
            yield FileBatch(pa.RecordBatch.from_arrays([numbers, *batch.columns], names=found), names)
            row += batch.num_rows


@contextmanager
def _unreadable(item: RawObject) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError, OverflowError) as error:
        raise InvalidDataError(
            f"{item.uri} ({item.size_bytes} bytes) is not a whole Parquet file: {_reason(error)}. Have upstream deliver it again. "
            "Nothing of the day was written."
        ) from error


def _reason(error: Any) -> str:
    return str(error).split("\n", 1)[0][:300] or type(error).__name__
