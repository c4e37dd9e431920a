"""Rows cut into batches of one size, so that equal rows make equal files however they arrived, and memory stays bounded.

Writing the batches does not belong here.
"""

from collections.abc import Iterator
from typing import Final

import pyarrow as pa

ROW_GROUP_ROWS: Final = 131_072
"""Rows of a Parquet row group; it bounds the memory of writers and readers."""


def in_row_groups(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of :data:`ROW_GROUP_ROWS`, the last one smaller.

    Args:
        batches: Batches with the schema's columns and types, in its order.
    """
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        rest = batch
        while size + rest.num_rows >= ROW_GROUP_ROWS:
            head, rest = rest.slice(0, ROW_GROUP_ROWS - size), rest.slice(ROW_GROUP_ROWS - size)
            yield _joined([*waiting, head], schema)
            waiting, size = [], 0
        if rest.num_rows:
            waiting, size = [*waiting, rest], size + rest.num_rows
    if waiting:
        yield _joined(waiting, schema)


def _joined(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    whole = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
    return whole if whole.schema.equals(schema) else pa.RecordBatch.from_arrays(whole.columns, schema=schema)
