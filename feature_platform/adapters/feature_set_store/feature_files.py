"""A feature table encoded as ``features.parquet`` and ``features.csv`` on local disk, in one streaming pass.

The same pass hashes both files and the logical content, gathers statistics, and refuses rows that no version may have. Storing the
files does not belong here (``core.publishing.publication``), nor does the text form of single values (``csv_cells``).
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from feature_platform.adapters.feature_set_store.csv_cells import from_cells, to_cells
from feature_platform.adapters.feature_set_store.protocol_runner import digest
from feature_platform.adapters.machine.hashed_sink import HashedSink
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.row_rules import RowRules
from feature_platform.core.layout import CSV, PARQUET
from feature_platform.core.row_groups import ROW_GROUP_ROWS, in_row_groups
from feature_platform.core.versions.content_hash import ContentHasher
from feature_platform.core.versions.feature_table import EncodedFeatures, FeatureTable, FileDigest
from feature_platform.core.versions.statistics import ColumnStatistics
from feature_platform.errors import InvalidDataError


def encode_features(table: FeatureTable, *, contract: Contract, directory: Path | None, identity: Mapping[str, str]) -> EncodedFeatures:
    """Write both data files of a version, or find out what they would be: then they are encoded again where they are stored.

    Args:
        table: Rows sorted by primary key, of the contract's schema.
        contract: The contract whose columns, keys and types the rows must have.
        directory: An existing local directory in which both files are created; None to keep neither.
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
        nowhere = HashedSink()
        parquet = stack.enter_context(_ParquetFile(directory / PARQUET if directory else nowhere, schema))
        csv_sink = HashedSink(stack.enter_context((directory / CSV).open("wb")) if directory else None)
        csv = _CsvFile(csv_sink, schema)
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
        described = {**identity, "content_hash": content_hash}
        parquet.describe(described)
    return EncodedFeatures(
        parquet=directory / PARQUET if directory else partial(_write_parquet, table, schema, described),
        csv=directory / CSV if directory else partial(_write_csv, table, schema),
        digests={
            PARQUET: digest(directory / PARQUET) if directory else FileDigest(nowhere.sha256, nowhere.size_bytes),
            CSV: FileDigest(csv_sink.sha256, csv_sink.size_bytes),
        },
        row_count=rows,
        content_hash=content_hash,
        statistics={field.name: column.summary() for field, column in zip(schema, columns, strict=True)},
    )


def restamp(encoded: EncodedFeatures, path: Path, *, identity: Mapping[str, str]) -> EncodedFeatures:
    """Rewrite the local Parquet file under another identity, e.g. after the claim of a version id was lost. Rows and CSV stay the same."""
    target = path.with_suffix(".restamped")
    with pq.ParquetFile(path, page_checksum_verification=True) as source, _ParquetFile(target, source.schema_arrow) as parquet:
        for group in range(source.num_row_groups):
            for batch in in_row_groups(iter(source.read_row_group(group).to_batches()), source.schema_arrow):
                parquet.write(batch)
        parquet.describe({**identity, "content_hash": encoded.content_hash})
    target.replace(path)
    return replace(encoded, digests={**encoded.digests, PARQUET: digest(path)})


def _write_parquet(table: FeatureTable, schema: pa.Schema, described: Mapping[str, str], sink: BinaryIO) -> None:
    with _ParquetFile(sink, schema) as parquet:
        for batch in in_row_groups(table.batches(), schema):
            parquet.write(batch)
        parquet.describe(described)


def _write_csv(table: FeatureTable, schema: pa.Schema, sink: BinaryIO) -> None:
    csv = _CsvFile(sink, schema)
    for batch in in_row_groups(table.batches(), schema):
        csv.write(batch)


def read_csv(source: Path | BinaryIO, *, contract: Contract) -> Iterator[pa.RecordBatch]:
    """Read ``features.csv`` back, batch by batch: the same rows as in the Parquet file.

    Raises:
        InvalidDataError: It is not the CSV form of this contract's rows.
    """
    schema = contract.arrow_schema
    try:
        reader = pa_csv.open_csv(
            source,
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types={field.name: pa.string() for field in schema},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        if reader.schema.names != schema.names:
            raise InvalidDataError(
                f"{CSV} of {contract.feature_set!r} has columns {', '.join(reader.schema.names)}; expected {', '.join(schema.names)}."
            )
        for cells in reader:
            columns = [pa.chunked_array([cells[field.name]]) for field in schema]
            typed = [from_cells(column, field.type) for column, field in zip(columns, schema, strict=True)]
            yield from pa.table(typed, schema=schema).to_batches()
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

    def __init__(self, sink: Path | BinaryIO | HashedSink, schema: pa.Schema) -> None:
        texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_binary(field.type)]
        # Dictionaries of numbers are mostly built in vain: keys and means hardly repeat. Deltas pack small and rising integers tighter, and
        # cost half the time.
        deltas = {field.name: "DELTA_BINARY_PACKED" for field in schema if _is_integral(field.type)}
        self._writer = pq.ParquetWriter(
            sink,
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
    """The CSV form of batches, written to a sink; the header at once."""

    def __init__(self, sink: BinaryIO | HashedSink, schema: pa.Schema) -> None:
        self._sink = sink
        sink.write((",".join(schema.names) + "\n").encode())

    def write(self, batch: pa.RecordBatch) -> None:
        text = BytesIO()
        to_cells(batch).write_csv(text, include_header=False)
        self._sink.write(text.getbuffer())
