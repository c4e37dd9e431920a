"""A feature table encoded as ``features.parquet`` and ``features.csv`` on local disk, in one streaming pass.

The same pass hashes both files and the logical content, gathers statistics, and refuses rows that no version may have. Storing the
files does not belong here (``core.publishing.publication``), nor does the text form of single values (``csv_cells``).
"""

import hashlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from feature_platform.adapters.feature_set_store.csv_cells import from_cells, to_cells
from feature_platform.adapters.feature_set_store.protocol_runner import digest
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.row_rules import RowRules
from feature_platform.core.layout import CSV, PARQUET
from feature_platform.core.row_groups import ROW_GROUP_ROWS, in_row_groups
from feature_platform.core.versions.content_hash import ContentHasher
from feature_platform.core.versions.feature_table import EncodedFeatures, FeatureTable, FileDigest
from feature_platform.core.versions.statistics import ColumnStatistics
from feature_platform.errors import InvalidDataError


def encode_features(table: FeatureTable, *, contract: Contract, directory: Path, identity: Mapping[str, str]) -> EncodedFeatures:
    """Write both data files of a version.

    Args:
        table: Rows sorted by primary key, of the contract's schema.
        contract: The contract whose columns, keys and types the rows must have.
        directory: An existing local directory; both files are created in it.
        identity: The Parquet file's own key-value metadata, besides ``content_hash``.

    Raises:
        InvalidDataError: Wrong schema, rows not sorted by key, a duplicate or null key, a null timestamp, or a float that is not
            finite. The files are then incomplete and of no use.
    """
    schema = contract.arrow_schema
    _require_schema(table.schema, schema, contract.feature_set)
    hasher, rules = ContentHasher(schema), RowRules(contract)
    columns = [ColumnStatistics(field.type) for field in schema]
    rows = 0
    with ExitStack() as stack:
        parquet = stack.enter_context(_ParquetFile(directory / PARQUET, schema))
        csv = stack.enter_context(_CsvFile(directory / CSV, schema))
        # Parquet and CSV encode outside the interpreter's lock, each on a thread of its own, while this one hashes and counts. CSV is the
        # slowest at 0.26 s of a million rows (docs/performance.md). One batch is waited for before the next but one, which bounds memory.
        lanes = [stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix=lane)) for lane in ("parquet", "csv")]
        pending: list[Future[None]] = []
        for batch in in_row_groups(table.batches(), schema):
            written = [lanes[0].submit(parquet.write, batch), lanes[1].submit(csv.write, batch)]
            rules.check(batch)
            hasher.update(batch)
            for column, array in zip(columns, batch.columns, strict=True):
                column.update(array)
            rows += batch.num_rows
            for future in pending:
                future.result()
            pending = written
        for future in pending:
            future.result()
        content_hash = hasher.hexdigest()
        parquet.describe({**identity, "content_hash": content_hash})
    return EncodedFeatures(
        parquet=directory / PARQUET,
        csv=directory / CSV,
        digests={PARQUET: digest(directory / PARQUET), CSV: csv.digest()},
        row_count=rows,
        content_hash=content_hash,
        statistics={field.name: column.summary() for field, column in zip(schema, columns, strict=True)},
    )


def restamp(encoded: EncodedFeatures, *, identity: Mapping[str, str]) -> EncodedFeatures:
    """Rewrite the Parquet file under another identity, e.g. after the claim of a version id was lost. Rows and CSV stay as they are."""
    target = encoded.parquet.with_suffix(".restamped")
    with pq.ParquetFile(encoded.parquet, page_checksum_verification=True) as source, _ParquetFile(target, source.schema_arrow) as parquet:
        for group in range(source.num_row_groups):
            for batch in in_row_groups(iter(source.read_row_group(group).to_batches()), source.schema_arrow):
                parquet.write(batch)
        parquet.describe({**identity, "content_hash": encoded.content_hash})
    target.replace(encoded.parquet)
    return replace(encoded, digests={**encoded.digests, PARQUET: digest(encoded.parquet)})


def read_csv(path: Path | BinaryIO, *, contract: Contract) -> pa.Table:
    """Read ``features.csv`` back: the same rows as in the Parquet file.

    Raises:
        InvalidDataError: It is not the CSV form of this contract's rows.
    """
    schema = contract.arrow_schema
    try:
        cells = pa_csv.read_csv(
            path,
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types={field.name: pa.string() for field in schema},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        if cells.column_names != schema.names:
            raise InvalidDataError(
                f"{CSV} of {contract.feature_set!r} has columns {', '.join(cells.column_names)}; expected {', '.join(schema.names)}."
            )
        return pa.table([from_cells(cells[field.name], field.type) for field in schema], schema=schema)
    except (pa.ArrowInvalid, ValueError) as error:
        raise InvalidDataError(f"{CSV} of {contract.feature_set!r} does not read back: {error}. Verify the version's files.") from error


def _require_schema(found: pa.Schema, expected: pa.Schema, feature_set: str) -> None:
    if found.names == expected.names and found.types == expected.types:
        return
    spell = "{0.name} {0.type}".format
    raise InvalidDataError(
        f"Rows of {feature_set!r} have another schema than their contract.",
        [f"expected {', '.join(map(spell, expected))}", f"found {', '.join(map(spell, found))}"],
    )


def _is_integral(arrow: pa.DataType) -> bool:
    return bool(pa.types.is_integer(arrow) or pa.types.is_timestamp(arrow) or pa.types.is_date(arrow))


class _ParquetFile:
    """A Parquet file with page checksums, zstd, and one row group for each batch written."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_binary(field.type)]
        # Dictionaries of numbers are mostly built in vain: keys and means hardly repeat. Deltas pack small and rising integers tighter, and
        # cost half the time.
        deltas = {field.name: "DELTA_BINARY_PACKED" for field in schema if _is_integral(field.type)}
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression="zstd",
            compression_level=1,  # level 1 is what the figures of docs/performance.md were measured with
            write_page_checksum=True,  # readers verify it, which finds a flipped bit in a page
            version="2.6",
            use_dictionary=texts or False,
            column_encoding=deltas or None,
        )

    def __enter__(self) -> "_ParquetFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch, row_group_size=ROW_GROUP_ROWS)

    def describe(self, metadata: Mapping[str, str]) -> None:
        self._writer.add_key_value_metadata(dict(metadata))


class _CsvFile:
    """A CSV file that is hashed as it is written, so that it need not be read again."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = path.open("wb")
        self._sha256, self._size_bytes = hashlib.sha256(), 0
        self._append((",".join(schema.names) + "\n").encode())

    def __enter__(self) -> "_CsvFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, batch: pa.RecordBatch) -> None:
        text = BytesIO()
        to_cells(batch).write_csv(text, include_header=False)
        self._append(text.getbuffer())

    def digest(self) -> FileDigest:
        return FileDigest(sha256=self._sha256.hexdigest(), size_bytes=self._size_bytes)

    def _append(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self._size_bytes += len(data)
