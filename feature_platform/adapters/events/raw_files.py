"""Raw objects of one day, found, pinned and counted; nothing is copied.

Judging their rows does not belong here (``adapters.compute.duckdb.validation``).
"""

from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from typing import Final

from feature_platform.adapters.events.csv_records import CsvRecords
from feature_platform.adapters.events.parquet_records import parquet_columns, parquet_footer
from feature_platform.adapters.events.raw_reading import open_records
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawManifest, RawObject, ReadLimits, data_objects, format_of
from feature_platform.core.layout import raw_partition
from feature_platform.core.objects import ObjectInfo
from feature_platform.errors import InvalidDataError
from feature_platform.ports.object_store import ObjectStore

DEFAULT_LIMITS: Final = ReadLimits()


Counted = MutableMapping[tuple[str, str, str], RawObject]
"""(URI, ETag, hash of the source contract) → the object with its records counted: bytes of one ETag never change."""


def discover_raw(
    store: ObjectStore,
    raw_uri: str,
    source: SourceContract,
    *,
    partition: str,
    limits: ReadLimits = DEFAULT_LIMITS,
    counted: Counted | None = None,
) -> RawManifest:
    """The raw objects of one day: which there are, pinned by ETag, and how many records each holds.

    Text files are streamed once to count their records; of Parquet files the footer is read. What ``counted`` holds is not opened again.

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
            key = (info.uri, info.etag, source.schema_hash)
            item = counted[key] if counted and key in counted else _counted(store, info, source, limits)
            if counted is not None:
                counted[key] = item
            objects.append(item)
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
        self._counted: dict[tuple[str, str, str], RawObject] = {}
        self.uri = uri

    def listed(self, source: str, partition: str) -> Sequence[ObjectInfo]:
        """See :meth:`RawEvents.listed`."""
        return list(self._store.scan(raw_partition(self.uri, source, partition)))

    def discover(self, source: SourceContract, partition: str) -> RawManifest:
        """See :meth:`RawEvents.discover`."""
        return discover_raw(self._store, self.uri, source, partition=partition, limits=self._limits, counted=self._counted)


def ignored_columns(
    store: ObjectStore, manifest: RawManifest, *, source: SourceContract, limits: ReadLimits = DEFAULT_LIMITS
) -> dict[str, list[str]]:
    """Columns of CSV and Parquet files that the source contract does not name, by URI; to be reported, as they are not read."""
    ignored: dict[str, list[str]] = {}
    for item in manifest.objects:
        with store.open(item.uri, etag=item.etag) as file:
            if item.format == "parquet":
                found = parquet_columns(parquet_footer(file, item), item, names=_names(source), limits=limits)
            else:
                records = open_records(file, item=item, source=source, limits=limits)
                found = records.header if isinstance(records, CsvRecords) else []
        if names := [name for name in found if name not in _names(source)]:
            ignored[item.uri] = names
    return ignored


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
            footer = parquet_footer(file, item)
            parquet_columns(footer, item, names=_names(source), limits=limits)
            return replace(item, rows=int(footer.num_rows))
        return replace(item, rows=open_records(file, item=item, source=source, limits=limits).count())
