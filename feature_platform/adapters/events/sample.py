"""The first rows of a local raw file, with the types that Arrow finds. What they mean does not belong here (``core.contract.draft``)."""

import gzip
import io
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from feature_platform.core.events.raw import SUFFIXES, format_of
from feature_platform.errors import InvalidDataError

_SAMPLE_BYTES: Final = 4 << 20
_SAMPLE_ROWS: Final = 50_000


def read_sample(path: Path) -> pa.Table:
    """The beginning of a CSV, JSON Lines or Parquet file, gzipped or not.

    Raises:
        InvalidDataError: It is no such file, cannot be read, or has no rows.
    """
    kind = format_of(path.name)
    if kind is None:
        raise InvalidDataError(f"{path} is no {SUFFIXES} file; expected a sample of what upstream delivers.")
    try:
        table = _parquet(path) if kind[0] == "parquet" else _text(path, is_gzipped=kind[1], is_csv=kind[0] == "csv")
    except (OSError, EOFError, ValueError, pa.ArrowException) as error:
        raise InvalidDataError(f"{path} cannot be read as a sample: {error}") from error
    if not table.num_rows or not table.num_columns:
        raise InvalidDataError(f"{path} holds no rows; expected a sample of what upstream delivers.")
    return table


def _parquet(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as file:
        batch = next(file.iter_batches(batch_size=_SAMPLE_ROWS), None)
        return pa.Table.from_batches([] if batch is None else [batch], schema=file.schema_arrow)


def _text(path: Path, *, is_gzipped: bool, is_csv: bool) -> pa.Table:
    with gzip.open(path) if is_gzipped else path.open("rb") as file:
        body = file.read(_SAMPLE_BYTES)
        if len(body) == _SAMPLE_BYTES:
            body = body[: body.rfind(b"\n") + 1]  # the last line is cut
    # The sample is one block, so threads gain nothing; and where the text is empty, a thread of Arrow's can abort the process.
    if is_csv:
        csv_options = pyarrow.csv.ReadOptions(block_size=_SAMPLE_BYTES, use_threads=False)
        return pyarrow.csv.read_csv(io.BytesIO(body), read_options=csv_options)
    json_options = pyarrow.json.ReadOptions(block_size=_SAMPLE_BYTES, use_threads=False)
    return pyarrow.json.read_json(io.BytesIO(body), read_options=json_options)
