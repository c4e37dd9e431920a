"""Raw objects of one day, found and pinned; nothing is copied, and of a text file only its beginning is read, to check its columns.

Judging their rows does not belong here (``adapters.compute.duckdb.validation``).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from feature_platform.adapters.events.parquet_records import parquet_columns, parquet_footer
from feature_platform.adapters.events.raw_reading import open_records
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawManifest, RawObject, ReadLimits, data_objects, format_of, require_readable
from feature_platform.core.layout import raw_partition
from feature_platform.core.objects import ObjectInfo
from feature_platform.errors import InvalidDataError
from feature_platform.ports.object_store import ObjectStore

DEFAULT_LIMITS: Final = ReadLimits()

NAMED_COLUMNS: Final = 50
"""At most this many unknown columns of an object are named, each by at most this many characters: a line of JSON can hold any number."""


class RawFiles:
    """See :class:`RawEvents`. An object that was described once is not opened again: bytes of one ETag never change."""

    def __init__(self, store: ObjectStore, uri: str, *, limits: ReadLimits = DEFAULT_LIMITS) -> None:
        self._store, self._limits = store, limits
        self._described: dict[tuple[str, str, str], RawObject] = {}
        self.uri = uri

    def listed(self, source: str, partition: str) -> Sequence[ObjectInfo]:
        return list(self._store.scan(raw_partition(self.uri, source, partition)))

    def discover(self, source: SourceContract, partition: str) -> RawManifest:
        """See :meth:`RawEvents.discover`; all faults of all objects are told together.

        Of a Parquet file the footer is read, which also has its number of rows; of a text file the first block. Rows of text are counted
        when they are judged, so that text is parsed once.
        """
        prefix, listed = raw_partition(self.uri, source.source, partition), self.listed(source.source, partition)
        found = data_objects(listed, prefix=prefix, source=source.source, partition=partition)
        objects: list[RawObject] = []
        faults: list[str] = []
        for info in found:
            key = (info.uri, info.etag, source.schema_hash)
            try:
                if key not in self._described:
                    self._described[key] = _describe(self._store, info, source, self._limits)
                objects.append(self._described[key])
            except InvalidDataError as error:
                faults += [error.subject, *error.faults]
        faults += self._limits.beyond_rows(sum(item.rows or 0 for item in objects), prefix)
        require_readable(faults, source=source.source, partition=partition)
        data = {item.uri for item in found}
        ignored = tuple(item.uri for item in listed if item.uri not in data)
        return RawManifest(source=source.source, partition=partition, objects=tuple(objects), ignored=ignored)


def _describe(store: ObjectStore, info: ObjectInfo, source: SourceContract, limits: ReadLimits) -> RawObject:
    kind = format_of(info.uri)
    assert kind is not None  # data_objects() let only these pass
    item = RawObject(info.uri, info.etag, info.size_bytes, info.modified_at, format=kind[0], gzipped=kind[1])
    names = [column.name for column in source.columns]
    rows = None
    with store.open(item.uri, etag=item.etag) as file:
        if item.format == "parquet":
            footer = parquet_footer(file, item)
            found, rows = parquet_columns(footer, item, names=names, limits=limits), int(footer.num_rows)
        else:
            found = open_records(file, item=item, source=source, limits=limits).header
    unknown = [name.encode(errors="backslashreplace").decode()[:NAMED_COLUMNS] for name in found if name not in names]
    missing = tuple(name for name in names if name not in found)  # of JSON lines alone: the others are refused without one
    return replace(item, rows=rows, unknown_columns=tuple(unknown[:NAMED_COLUMNS]), missing_columns=missing)
