"""A whole Parquet file as a table. Files that are read batch by batch do not belong here."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq


def read_whole(source: Path | BinaryIO | bytes, *, columns: Sequence[str] | None = None) -> pa.Table:
    """Every row, with page checksums verified.

    ``pyarrow.parquet.read_table`` returns while threads of its own still hold what it read from; where that is Python's, a process that
    ends soon aborts in one of three runs, after all its work (apache/arrow, issues 33975 and 50482). This lets go before it returns.

    Raises:
        pyarrow.ArrowException, OSError: It is damaged, or no Parquet.
    """
    with pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source, page_checksum_verification=True) as file:
        return file.read(columns=None if columns is None else list(columns))
