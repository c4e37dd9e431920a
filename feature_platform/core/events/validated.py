"""The result of validating one day of a source: the files with the kept and the quarantined rows, and how many rows each have.

Judging rows does not belong here (``core.compute.validation_sql``), nor writing files.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import pyarrow as pa

from feature_platform.core.contract import types
from feature_platform.core.contract.documents import canonical_json
from feature_platform.core.contract.source import REASONS, SourceContract
from feature_platform.core.events.raw import RawManifest, manifest_from
from feature_platform.errors import InvalidDataError

MANIFEST: Final = "manifest.json"
"""Written last: only the files that the manifest names belong to the day."""

FORMAT: Final = 1

QUARANTINE_SCHEMA: Final = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("row_number", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("original", pa.string()),
    ]
)
"""Shape of quarantined rows: raw object and row number (line in text files, from 1), reason code, what was found, and the row's text."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One immutable file of validated or quarantined rows."""

    uri: str
    etag: str
    sha256: str
    size_bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class ValidatedDay:
    """One validated day. ``rejected`` has the quarantined rows by reason, in order of precedence, without zeros.

    ``missing_columns`` are those of the source contract that no row has a readable value of, and no JSON object's first record names.
    """

    source: str
    partition: str
    source_hash: str
    raw: RawManifest
    kept: int
    rejected: Mapping[str, int]
    files: tuple[DataFile, ...]
    quarantine: tuple[DataFile, ...]
    missing_columns: tuple[str, ...] = ()

    @property
    def rows_in(self) -> int:
        """Raw rows; each was kept or quarantined (:func:`require_nothing_lost`)."""
        return self.kept + self.quarantined

    @property
    def quarantined(self) -> int:
        return sum(self.rejected.values())

    def document(self) -> dict[str, Any]:
        """The day as JSON values; the inverse of :func:`day_from`."""
        return {
            "format": FORMAT,
            "source": self.source,
            "partition": self.partition,
            "source_hash": self.source_hash,
            "raw": self.raw.document(),
            "rows": {"in": self.rows_in, "kept": self.kept, "quarantined": self.quarantined},
            "rejected": dict(self.rejected),
            "missing_columns": list(self.missing_columns),
            "files": [asdict(file) for file in self.files],
            "quarantine": [asdict(file) for file in self.quarantine],
        }

    def manifest(self) -> bytes:
        """The bytes of the day's manifest: equal for equal days."""
        return canonical_json(self.document())


def day_from(body: bytes, *, file: str) -> ValidatedDay:
    """The day that a manifest describes.

    Raises:
        InvalidDataError: It is damaged, or of another format.
    """
    try:
        document = json.loads(body)
        if document.get("format") != FORMAT:
            raise InvalidDataError(f"{file} has format {document.get('format')!r}; expected {FORMAT}. Validate the day again.")
        return ValidatedDay(
            source=document["source"],
            partition=document["partition"],
            source_hash=document["source_hash"],
            raw=manifest_from(document["raw"]),
            kept=document["rows"]["kept"],
            rejected={reason: document["rejected"][reason] for reason in REASONS if reason in document["rejected"]},
            files=tuple(DataFile(**item) for item in document["files"]),
            quarantine=tuple(DataFile(**item) for item in document["quarantine"]),
            missing_columns=tuple(document.get("missing_columns", ())),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidDataError(f"{file} is damaged ({error!r}); expected the manifest of a day. Validate the day again.") from error


def validated_schema(source: SourceContract) -> pa.Schema:
    """Shape of validated events: columns in the order of the source contract, sorted by event time, then all columns."""
    return pa.schema([pa.field(column.name, types.arrow_type(column.type), nullable=column.nullable) for column in source.columns])


def require_nothing_lost(*, partition: str, rows_in: int, kept: int, rejected: Mapping[str, int]) -> None:
    """Rows in = rows kept + rows quarantined.

    Raises:
        InvalidDataError: It does not hold; a fault of this program, so nothing may be published.
    """
    quarantined = sum(rejected.values())
    if rows_in != kept + quarantined:
        raise InvalidDataError(
            f"Validating {partition} lost rows: {rows_in} in, expected {kept} kept + {quarantined} quarantined to be as many. "
            "Nothing was published; please report it."
        )


def require_acceptable(source: SourceContract, day: ValidatedDay, *, quarantine: str) -> None:
    """The day has rows, and no larger share of rejects than its source contract allows.

    Args:
        day: What came of judging it.
        quarantine: Where the rejected rows lie, for the message.

    Raises:
        InvalidDataError: Otherwise; with one line per reason, and per column that no row has.
    """
    if not day.rows_in:
        raise InvalidDataError(
            f"Raw objects of source {source.source!r} for {day.partition} hold no rows; expected at least one. "
            "Have upstream deliver the day again."
        )
    ratio = day.quarantined / day.rows_in
    if ratio > source.max_rejected_ratio:
        faults = [f"{reason}: {count} row(s)" for reason, count in day.rejected.items()]
        raise InvalidDataError(
            f"Source {source.source!r} for {day.partition}: {day.quarantined} of {day.rows_in} rows were rejected ({ratio:.1%}); "
            f"expected at most {source.max_rejected_ratio:.1%} (max_rejected_ratio). Nothing was published; see {quarantine}",
            [*faults, *(f"column {name!r} is missing from every row" for name in day.missing_columns)],
        )
