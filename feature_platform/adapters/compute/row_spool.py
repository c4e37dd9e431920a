"""Computed rows in a local file, until they are written as a version. What they mean does not belong here."""

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa


def write_rows(file: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    """Write batches as one Arrow file of a schema; returns the number of rows."""
    rows = 0
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch.cast(schema))
            rows += batch.num_rows
    return rows


class RowSpool:
    """Rows in an Arrow file (``file``) that is removed with its directory when this object is no longer referenced."""

    def __init__(self, parent: Path | None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="build-", dir=parent))
        self.file = self.directory / "rows.arrow"
        self.discard = weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)

    def batches(self) -> Iterator[pa.RecordBatch]:
        with pa.OSFile(str(self.file)) as source, pa.ipc.open_file(source) as reader:
            for place in range(reader.num_record_batches):
                yield reader.get_batch(place)
