"""The rows of one raw object of any format, in groups that are large enough for one SQL statement each.

How a format is read does not belong here (``csv_records``, ``json_records``, ``parquet_records``).
"""

from collections.abc import Iterator
from typing import BinaryIO, Final

from feature_platform.adapters.events.csv_records import CsvRecords
from feature_platform.adapters.events.json_records import JsonRecords
from feature_platform.adapters.events.parquet_records import parquet_batches, parquet_columns, parquet_footer
from feature_platform.adapters.events.raw_records import Batch
from feature_platform.adapters.events.text_blocks import TextBlocks
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawObject, ReadLimits
from feature_platform.ports.object_store import ObjectStore

GROUP_ROWS: Final = 131_072
GROUP_BYTES: Final = 24 << 20


def open_records(file: BinaryIO, *, item: RawObject, source: SourceContract, limits: ReadLimits) -> CsvRecords | JsonRecords:
    """The records of one raw text object, to be read or counted once.

    Raises:
        InvalidDataError: The file as a whole cannot be read: truncated, not UTF-8 text, a wrong header, beyond a limit.
    """
    blocks = TextBlocks(file, item=item, limits=limits)
    if item.format == "csv":
        return CsvRecords(blocks, item=item, names=[column.name for column in source.columns], limits=limits)
    return JsonRecords(blocks, item=item, columns=source.columns)


def raw_groups(
    store: ObjectStore, item: RawObject, *, source: SourceContract, limits: ReadLimits, row_bytes: int = 0
) -> Iterator[list[Batch]]:
    """Every row of a raw object, in groups whose batches have the same kind and schema.

    Args:
        source: The source contract whose columns are wanted.
        row_bytes: For a Parquet file, the bytes of its widest row.

    Raises:
        InvalidDataError: The object cannot be read.
        ConflictError: It changed since it was listed.
    """
    with store.open(item.uri, etag=item.etag) as file:
        if item.format == "parquet":
            names = parquet_columns(parquet_footer(file, item), item, names=[column.name for column in source.columns], limits=limits)
            file.seek(0)
            yield from _grouped(parquet_batches(file, item, names=names, row_bytes=row_bytes))
        else:
            yield from _grouped(open_records(file, item=item, source=source, limits=limits).batches())


def _grouped(batches: Iterator[Batch]) -> Iterator[list[Batch]]:
    waiting: list[Batch] = []
    rows = size = 0
    for batch in batches:
        is_full = rows >= GROUP_ROWS or size >= GROUP_BYTES
        if waiting and (is_full or type(batch) is not type(waiting[0]) or batch.rows.schema != waiting[0].rows.schema):
            yield waiting
            waiting, rows, size = [], 0, 0
        waiting.append(batch)
        rows, size = rows + batch.rows.num_rows, size + batch.rows.nbytes
    if waiting:
        yield waiting
