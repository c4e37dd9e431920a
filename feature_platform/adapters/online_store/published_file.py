"""A published version's ``features.parquet`` as the online load reads it: checked first, then streamed in small batches.

Only one row group is in memory at a time, and page checksums are verified, so that a flipped bit is found and not served. Where the file
comes from does not belong here: the caller's function opens it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.row_rules import RowRules
from feature_platform.core.online.encoding import encode_keys
from feature_platform.core.online.keys import KeyBatch, key_batches
from feature_platform.core.online.layout import ViewLayout
from feature_platform.core.online.load import OnlineLoad, require_identity
from feature_platform.core.online.marker import OnlineVersion
from feature_platform.core.online.parity import OnlineRows, ParityReport, compare, past_ttl, published_values, sampled
from feature_platform.errors import InvalidDataError, NotFoundError

BATCH_ROWS: Final = 10_000
"""Rows encoded at once; measured, speed is the same from 5,000 to 50,000 rows, and fewer rows take less memory."""

BATCH_BYTES: Final = 4 << 20
"""Wide rows are read in smaller batches: encoded rows take about three times the memory of their values."""

KEY_ROWS: Final = 131_072
"""A row group of our files: keys alone are narrow, so one batch for each row group is small enough."""


LARGER: Final = 16
"""How many batches are compared at once: comparing needs no memory for encoded rows."""


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A version whose file was read once, keys only, and may be served; ``batches`` is None for all of it."""

    request: OnlineLoad
    row_count: int
    batch_rows: int
    batches: int | None = None

    def rows(self, *, at_once: int | None = None) -> Iterator[pa.RecordBatch]:
        """All rows in primary key order, columns of the contract; in larger batches where that is asked and they are narrow."""
        rows = min(at_once, LARGER * self.batch_rows) if at_once else self.batch_rows
        return islice(read_columns(self.request.open_features, self.columns, batch_rows=rows), self.batches)

    @property
    def columns(self) -> list[str]:
        return [column.name for column in self.request.contract.all_columns]


def first_rows(request: OnlineLoad, *, rows: int) -> CheckedFile:
    """Only a version's first rows, for a caller that does not load them: the file is not checked."""
    return CheckedFile(request, rows, rows, batches=1)


def checked_file(request: OnlineLoad) -> CheckedFile:
    """Refuse, before anything is written, a file that must not be served.

    Reads the footer, the keys and the event timestamps. The contract's checks were evaluated before it became latest, where a person may
    override them or the contract may only warn; they are not asked again.

    Raises:
        InvalidDataError: It is another file than asked for, its columns are not the contract's, a key is null, twice or out of order, a
            timestamp is null, or its bytes are damaged.
    """
    contract, rules = request.contract, RowRules(request.contract)
    with _parquet(request.open_features) as parquet:
        require_identity(_identity(parquet), request, feature_set=contract.feature_set)
        _require_columns(parquet.schema_arrow, contract)
        rows = parquet.metadata.num_rows
        width = sum(parquet.metadata.row_group(index).total_byte_size for index in range(parquet.metadata.num_row_groups)) // max(1, rows)
    for batch in read_columns(request.open_features, [*contract.primary_keys, contract.timestamp_field], batch_rows=KEY_ROWS):
        rules.check(batch)
    return CheckedFile(request, rows, max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, width))))


def version_rows(request: OnlineLoad, online: OnlineVersion, *, like: CheckedFile) -> Iterator[pa.RecordBatch]:
    """All rows of the version that is online, in the columns and batches of another one of the same contract.

    Raises:
        NotFoundError: Its file is gone, damaged or another one.
    """
    opened = partial(request.open_earlier, online.version)
    try:
        with _parquet(opened) as parquet:
            require_identity(_identity(parquet), online, feature_set=request.contract.feature_set)
        yield from read_columns(opened, like.columns, batch_rows=min(KEY_ROWS, LARGER * like.batch_rows))
    except InvalidDataError as error:
        raise NotFoundError(str(error)) from error


def compare_rows(
    file: CheckedFile, layout: ViewLayout, read: Callable[[pa.RecordBatch, pa.Array], OnlineRows], *, limit: int | None, now_us: int
) -> ParityReport:
    """Compare a version's rows with what is online: all, or a sample by key hash above ``limit`` rows.

    Entities that are online and not in the version are not looked for: ``extra`` is None.

    Args:
        read: Gives what is online for rows of the file and their Redis keys, in their order.
        limit: Rows above which a sample is compared.
        now_us: The moment that ttl is judged at, Unix time.
    """
    ttl_us = int(file.request.contract.ttl_duration.total_seconds() * 1_000_000)
    report = ParityReport(file.request.version, file.row_count)
    for batch in file.rows():
        keys = encode_keys(batch, layout)
        chosen = pa.array(sampled(keys, rows=file.row_count, limit=limit))
        rows, keys = batch.filter(chosen), keys.filter(chosen)
        late = past_ttl(rows.column(layout.timestamp_field), now_us=now_us, ttl_us=ttl_us)
        report = compare(published_values(rows, layout), read(rows, keys), report=report, past_ttl=late)
    return report


def read_keys(opened: Callable[[], BinaryIO], layout: ViewLayout, *, batch_rows: int = BATCH_ROWS) -> Iterator[KeyBatch]:
    """The entities of a version, reading only its key columns."""
    return key_batches(read_columns(opened, [name for name, _ in layout.keys], batch_rows=batch_rows), layout)


def read_columns(opened: Callable[[], BinaryIO], columns: Sequence[str], *, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Some columns of a Parquet file, in the order asked for, batch by batch.

    Raises:
        InvalidDataError: The file is damaged, or lacks a column.
    """
    with _parquet(opened) as parquet:
        try:
            for batch in parquet.iter_batches(batch_size=batch_rows, columns=list(columns)):
                yield batch.select(list(columns))
        except (pa.ArrowException, OSError, KeyError) as error:
            raise _damaged(error) from error


@contextmanager
def _parquet(opened: Callable[[], BinaryIO]) -> Iterator[pq.ParquetFile]:
    with opened() as file:
        try:
            # Checksums are off by default: without them 57 of 60 single flipped bits gave wrong values, with them all 60 were found.
            # pre_buffer would hold all columns of a row group beside what is decoded; a loading process peaks at 180 MiB without it.
            parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(error) from error
        with parquet:
            yield parquet


def _identity(parquet: pq.ParquetFile) -> dict[str, str]:
    metadata = parquet.metadata.metadata or {}
    return {name.decode(): value.decode() for name, value in metadata.items() if not name.startswith(b"ARROW")}


def _require_columns(schema: pa.Schema, contract: Contract) -> None:
    expected = contract.arrow_schema
    faults = [
        f"column {field.name!r}: expected {field.type}, found {schema.field(field.name).type if field.name in schema.names else 'none'}"
        for field in expected
        if field.name not in schema.names or schema.field(field.name).type != field.type
    ]
    if faults:
        raise InvalidDataError(f"features.parquet of {contract.feature_set} does not have the contract's columns:", faults)


def _damaged(error: Exception) -> InvalidDataError:
    return InvalidDataError(f"features.parquet cannot be read: {error}. Verify the version's files; a damaged one has to be built again.")
