"""A whole Parquet file as a table. Files that are read batch by batch do not belong here."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq


def read_whole(source: Path | BinaryIO | bytes, *, columns: Sequence[str] | None = None) -> pa.Table:
    """Every row, with page checksums verified.

    Threads of Arrow's own still hold what they read from when the table is there. Where that is Python's, a process that ends soon aborts
    after all its work: in one of three runs by ``pyarrow.parquet.read_table``, rarely by ``ParquetFile`` (apache/arrow, issues 33975 and
    50482). So what is not a path is copied to memory of Arrow's first.

    Raises:
        pyarrow.ArrowException, OSError: It is damaged, or no Parquet.
    """
    with pq.ParquetFile(source if isinstance(source, Path) else _copied(source), page_checksum_verification=True) as file:
        return file.read(columns=None if columns is None else list(columns))


def _copied(source: BinaryIO | bytes) -> pa.BufferReader:
    memory = pa.BufferOutputStream()
    memory.write(source if isinstance(source, bytes) else source.read())
    return pa.BufferReader(memory.getvalue())
