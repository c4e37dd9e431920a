"""One day of raw objects as upstream delivered them: their formats and sizes, pinned by ETag.

Listing and reading them does not belong here (``adapters.events.raw_files``).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Literal

from feature_platform.core.contract.documents import duration
from feature_platform.core.contract.source import CompleteWhen
from feature_platform.core.objects import ObjectInfo
from feature_platform.errors import InvalidDataError, NotFoundError

Format = Literal["parquet", "csv", "jsonl"]

_SUFFIX: Final = re.compile(r"(?i).*\.(?:(parquet)|(csv)(\.gz)?|(jsonl|ndjson|json)(\.gz)?)")
SUFFIXES: Final = ".parquet, .csv[.gz], .jsonl[.gz], .ndjson[.gz] or .json[.gz]"


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """How much one day of raw objects may hold; more is refused, because a small file can decode to any size.

    ``max_row_bytes`` bounds a line of text, and the cells of a Parquet row together; ``max_object_bytes`` what one object decodes to;
    ``max_lines`` the lines of one text object, blank ones included.
    """

    max_rows: int = 500_000_000
    max_lines: int = 1_000_000_000
    max_row_bytes: int = 1 << 20
    max_object_bytes: int = 64 << 30
    max_columns: int = 2_000

    def beyond_rows(self, rows: int, prefix: str) -> list[str]:
        """The fault of a day of more rows than there may be."""
        return [f"{prefix} holds {rows} rows or more; expected at most {self.max_rows} (max_rows)"] if rows > self.max_rows else []


@dataclass(frozen=True, slots=True)
class RawObject:
    """One raw object; ``rows`` are records, also those that will not pass validation: None for text that nobody has read yet.

    ``unknown_columns`` are in the file and not in its source contract, so nobody reads them; of JSON lines the first record tells.
    ``missing_columns`` are in the source contract and not in the first record of JSON lines; other formats are refused without a column.
    """

    uri: str
    etag: str
    size_bytes: int
    modified_at: datetime
    format: Format
    gzipped: bool
    rows: int | None = None
    unknown_columns: tuple[str, ...] = ()
    missing_columns: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.uri.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class RawManifest:
    """One day of a source: its raw objects in key order, and the keys beside them that are no data."""

    source: str
    partition: str
    objects: tuple[RawObject, ...]
    ignored: tuple[str, ...] = ()

    @property
    def rows(self) -> int | None:
        """Records of all objects, or None until all are counted."""
        counts = [item.rows for item in self.objects]
        return None if None in counts else sum(filter(None, counts))

    @property
    def unknown_columns(self) -> list[str]:
        """Columns of some object that the source contract does not name."""
        return sorted({name for item in self.objects for name in item.unknown_columns})

    @property
    def missing_columns(self) -> set[str]:
        """Columns of the source contract that no object's first record has; a later record may have them."""
        return set.intersection(*(set(item.missing_columns) for item in self.objects)) if self.objects else set()

    @property
    def size_bytes(self) -> int:
        return sum(item.size_bytes for item in self.objects)

    def document(self) -> dict[str, Any]:
        """The manifest as JSON values; the inverse of :func:`manifest_from`."""
        objects = [{**asdict(item), "modified_at": item.modified_at.isoformat()} for item in self.objects]
        return {"source": self.source, "partition": self.partition, "objects": objects, "ignored": list(self.ignored)}


def manifest_from(document: Mapping[str, Any]) -> RawManifest:
    """The manifest that a document describes."""
    return RawManifest(
        source=document["source"],
        partition=document["partition"],
        objects=tuple(_object_from(item) for item in document["objects"]),
        ignored=tuple(document.get("ignored", ())),
    )


def _object_from(item: Mapping[str, Any]) -> RawObject:
    columns = {name: tuple(item.get(name, ())) for name in ("unknown_columns", "missing_columns")}
    return RawObject(**{**item, **columns, "modified_at": datetime.fromisoformat(item["modified_at"])})


def require_readable(faults: Sequence[str], *, source: str, partition: str) -> None:
    """No object of the day has a fault as a whole.

    Raises:
        InvalidDataError: Some have; the message names them all.
    """
    if faults:
        raise InvalidDataError(f"Raw objects of source {source!r} for {partition} cannot be read; nothing was written:", faults)


def format_of(uri: str) -> tuple[Format, bool] | None:
    """Format and whether it is gzipped, by the suffix; None for anything that is no data, e.g. ``_SUCCESS`` or a hidden file.

    >>> format_of("s3://raw/events/dt=2026-01-14/part-0.csv.gz")
    ('csv', True)
    """
    name = uri.rsplit("/", 1)[-1]
    match = _SUFFIX.fullmatch(name)
    if not match or name.startswith((".", "_")):
        return None
    if match[1]:
        return "parquet", False
    return ("csv", match[3] is not None) if match[2] else ("jsonl", match[5] is not None)


def incomplete(listed: Sequence[ObjectInfo], asked: CompleteWhen | None, *, now: datetime) -> str | None:
    """Why the delivery of a day is not complete yet by its source contract; None where it is complete, or there is no data.

    A correction makes a delivery incomplete again until a marker is written after it: a marker that is older than an object does not count.
    """
    written = [item.modified_at for item in listed if format_of(item.uri) is not None]
    if asked is None or not written:
        return None
    marked = [item.modified_at for item in listed if asked.marker and item.uri.endswith(f"/{asked.marker}")]
    if asked.marker and (not marked or max(marked) < max(written)):
        return f"expected {asked.marker} to be written last; " + (f"found it older than {max(written)}" if marked else "found none")
    if asked.quiet and now - max(written) < duration(asked.quiet):
        return f"expected no object to be written for {asked.quiet}; the last was at {max(written)}"
    return None


def data_objects(listed: Sequence[ObjectInfo], *, prefix: str, source: str, partition: str) -> list[ObjectInfo]:
    """The objects of a day that hold data.

    Raises:
        NotFoundError: There is none.
        InvalidDataError: Some are empty (0 bytes); the message names them all.
    """
    found = [item for item in listed if format_of(item.uri) is not None]
    if not found:
        beside = f"; found only {', '.join(sorted(item.uri.removeprefix(prefix) for item in listed)[:5])}" if listed else ""
        raise NotFoundError(
            f"No raw objects of source {source!r} for {partition} below {prefix}: expected at least one {SUFFIXES} file{beside}. "
            "Wait for upstream to deliver the day, or check FEATURE_PLATFORM_RAW_URI."
        )
    empty = [item for item in found if item.size_bytes == 0]
    if empty:
        raise InvalidDataError(
            f"{len(empty)} raw object(s) of source {source!r} for {partition} are empty; have upstream deliver them again or remove them:",
            [f"{item.uri}: expected data, found 0 bytes" for item in empty],
        )
    return found
