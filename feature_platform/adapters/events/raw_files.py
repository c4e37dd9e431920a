"""Raw objects of one day, found, pinned and counted; nothing is copied.

Judging their rows does not belong here (``adapters.compute.duckdb.validation``).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from feature_platform.adapters.events.raw_text import extra_columns, records
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawManifest, RawObject, ReadLimits, data_objects, format_of
from feature_platform.core.layout import raw_partition
from feature_platform.core.objects import ObjectInfo
from feature_platform.errors import InvalidDataError
from feature_platform.ports.object_store import ObjectStore

DEFAULT_LIMITS: Final = ReadLimits()


def discover_raw(
    store: ObjectStore, raw_uri: str, source: SourceContract, *, partition: str, limits: ReadLimits = DEFAULT_LIMITS
) -> RawManifest:
    """The raw objects of one day: which there are, pinned by ETag, and how many records each holds.

    Text files are streamed once to count their records; of Parquet files the footer is read.

    Raises:
        NotFoundError: There is no data object for the day.
        InvalidDataError: An object is empty, truncated, no file of its format, lacks a column, or is beyond a limit; all of them together.
        ConflictError: An object changed while it was read.
    """
    prefix = raw_partition(raw_uri, source.source, partition)
    listed = list(store.scan(prefix))
    found = data_objects(listed, prefix=prefix, source=source.source, partition=partition)
    objects: list[RawObject] = []
    faults: list[str] = []
    for info in found:
        try:
            objects.append(_counted(store, info, source, limits))
        except InvalidDataError as error:
            faults += [error.subject, *error.faults]
    rows = sum(item.rows for item in objects)
    if rows > limits.max_rows:
        faults.append(f"{prefix} holds {rows} rows; expected at most {limits.max_rows} (max_rows)")
    if faults:
        raise InvalidDataError(f"Raw objects of source {source.source!r} for {partition} cannot be read; nothing was written:", faults)
    data = {item.uri for item in found}
    return RawManifest(
        source=source.source,
        partition=partition,
        objects=tuple(objects),
        ignored=tuple(item.uri for item in listed if item.uri not in data),
    )


class RawFiles:
    """See :class:`RawEvents`.

    Args:
        store: Where raw objects are.
        uri: The base below which every source lies.
        limits: What one day may hold.
    """

    def __init__(self, store: ObjectStore, uri: str, *, limits: ReadLimits = DEFAULT_LIMITS) -> None:
        self._store, self._limits = store, limits
        self.uri = uri

    def listed(self, source: str, partition: str) -> Sequence[ObjectInfo]:
        """See :meth:`RawEvents.listed`."""
        return list(self._store.scan(raw_partition(self.uri, source, partition)))

    def discover(self, source: SourceContract, partition: str) -> RawManifest:
        """See :meth:`RawEvents.discover`."""
        return discover_raw(self._store, self.uri, source, partition=partition, limits=self._limits)


def ignored_columns(
    store: ObjectStore, manifest: RawManifest, *, source: SourceContract, limits: ReadLimits = DEFAULT_LIMITS
) -> dict[str, list[str]]:
    """Columns of CSV and Parquet files that the source contract does not name, by URI; to be reported, as they are not read."""
    ignored: dict[str, list[str]] = {}
    for item in manifest.objects:
        with store.open(item.uri, etag=item.etag) as file:
            if item.format == "parquet":
                names = [name for name in parquet_footer(file, item).schema.to_arrow_schema().names if name not in _names(source)]
            else:
                names = list(extra_columns(file, item=item, source=source, limits=limits))
        if names:
            ignored[item.uri] = names
    return ignored


def parquet_footer(file: object, item: RawObject) -> pq.FileMetaData:
    """The footer of a raw Parquet object.

    Raises:
        InvalidDataError: It is truncated or no Parquet file.
    """
    try:
        return pq.read_metadata(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise InvalidDataError(
            f"{item.uri} ({item.size_bytes} bytes) is not a whole Parquet file: {error}. Have upstream deliver it again."
            " Nothing of the day was written."
        ) from error


def _names(source: SourceContract) -> list[str]:
    return [column.name for column in source.columns]


def _counted(store: ObjectStore, info: ObjectInfo, source: SourceContract, limits: ReadLimits) -> RawObject:
    kind = format_of(info.uri)
    assert kind is not None  # data_objects() let only these pass
    item = RawObject(
        uri=info.uri, etag=info.etag, size_bytes=info.size_bytes, modified_at=info.modified_at, format=kind[0], gzipped=kind[1], rows=0
    )
    with store.open(item.uri, etag=item.etag) as file:
        if item.format == "parquet":
            return replace(item, rows=_parquet_rows(parquet_footer(file, item), item, source, limits))
        return replace(item, rows=sum(1 for _ in records(file, item=item, names=_names(source), limits=limits)))


def _parquet_rows(footer: pq.FileMetaData, item: RawObject, source: SourceContract, limits: ReadLimits) -> int:
    found = footer.schema.to_arrow_schema().names
    missing = [name for name in _names(source) if name not in found]
    if missing:
        raise InvalidDataError(
            f"{item.uri}: its columns do not fit the source contract; expected {', '.join(_names(source))}; found {', '.join(found)}",
            [f"column {name!r} is missing" for name in missing],
        )
    if footer.num_columns > limits.max_columns:
        raise InvalidDataError(f"{item.uri} has {footer.num_columns} columns; expected at most {limits.max_columns} (max_columns).")
    return int(footer.num_rows)
