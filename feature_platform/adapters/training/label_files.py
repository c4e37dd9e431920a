"""Reads labels from a Parquet or CSV file, an Arrow table or a pandas frame. Judging labels belongs to ``core.training.labels``."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from feature_platform.core.training.labels import Rows
from feature_platform.errors import InvalidDataError


def rows_of(labels: Any, *, types: Mapping[str, pa.DataType]) -> Rows:
    """Labels as rows that can be read more than once.

    Args:
        labels: A path that ends in ``.parquet`` or ``.csv``, a ``pyarrow.Table`` or a pandas data frame, whose index is no column.
        types: Types of columns, since a CSV file does not tell them: ``007`` may be a text.

    Raises:
        InvalidDataError: It is none of these, or the file cannot be read.
    """
    if isinstance(labels, pa.Table):
        return Rows(labels.schema, lambda: iter(labels.to_batches()))
    if isinstance(labels, str | Path):
        return _file(Path(labels), types)
    if hasattr(labels, "columns") and hasattr(labels, "iloc"):
        return rows_of(pa.Table.from_pandas(labels, preserve_index=False).replace_schema_metadata(), types=types)
    raise InvalidDataError(f"Labels are a {type(labels).__name__}; expected a Parquet or CSV file, an Arrow table or a pandas data frame.")


def _file(path: Path, types: Mapping[str, pa.DataType]) -> Rows:
    try:
        if path.suffix == ".parquet":
            return Rows(pq.read_schema(path).remove_metadata(), lambda: _parquet(path))
        if path.suffix == ".csv":
            with _csv(path, types) as reader:
                return Rows(reader.schema, lambda: _csv_batches(path, types))
    except (OSError, pa.ArrowException) as error:
        raise InvalidDataError(f"Labels {path} cannot be read: {error}") from error
    raise InvalidDataError(f"Labels {path}: expected a file whose name ends in .parquet or .csv.")


def _parquet(path: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches()


def _csv(path: Path, types: Mapping[str, pa.DataType]) -> pa.csv.CSVStreamingReader:
    return pa.csv.open_csv(path, convert_options=pa.csv.ConvertOptions(column_types=dict(types)))


def _csv_batches(path: Path, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    try:
        with _csv(path, types) as reader:
            yield from reader
    except pa.ArrowException as error:
        raise InvalidDataError(f"Labels {path} cannot be read: {error}") from error
