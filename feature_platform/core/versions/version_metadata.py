"""``metadata.json`` of a version, read back as one typed value.

Old formats are read too (``tests/golden``). Rendering does not belong here (``core.versions.metadata``), nor
judging (``core.versions.checks``).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from feature_platform.core.versions.feature_table import FileDigest
from feature_platform.core.versions.metadata import FORMAT, REQUIRED, InputVersion, SourceObject, pins_of
from feature_platform.errors import InvalidDataError

_ALSO_REQUIRED: Final = ("as_of", "row_count", "content_hash", "files")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ColumnSummary:
    """Statistics of one column; None where a column's type has none.

    ``quantiles`` are evenly spaced from the minimum to the maximum; ``distinct`` is exact for few values and approximate for many.
    """

    nulls: int
    min: Any = None
    max: Any = None
    mean: float | None = None
    quantiles: tuple[float, ...] = ()
    distinct: int | None = None


@dataclass(frozen=True, slots=True)
class VersionMetadata:
    """One version's ``metadata.json``.

    ``partitions`` are the days of the window that were read, ``missing_partitions`` those without raw objects, ``earlier_partitions``
    those before the source's first day (older releases counted them as missing); ``sources`` are the raw objects of the days that were
    read. Where a set reads several sources each day is called ``<source>/<day>``. ``source_hash`` and ``sql_hash`` identify the source
    contract of a set of one source and the SQL transform, None where not recorded; ``inputs`` are the versions of other sets that it read.
    ``document`` is the whole JSON object, with what the template added.
    """

    feature_set: str
    version: str
    as_of: datetime
    partition: str
    generated_at: str
    schema_hash: str
    content_hash: str
    row_count: int
    feature_uri: str
    write_id: str | None
    supersedes: str | None
    code_version: str
    run_id: str
    source_hash: str | None
    sql_hash: str | None
    sources: tuple[SourceObject, ...]
    inputs: tuple[InputVersion, ...]
    partitions: tuple[str, ...]
    missing_partitions: tuple[str, ...]
    earlier_partitions: tuple[str, ...]
    files: Mapping[str, FileDigest]
    statistics: Mapping[str, ColumnSummary]
    document: Mapping[str, Any]

    @property
    def rests_on(self) -> frozenset[tuple[str, str]]:
        """Identifies everything that the version was computed from (:func:`pins_of`)."""
        return pins_of(self.sources, self.inputs)

    def source_hash_of(self, source: str) -> str | None:
        """Hash of one source's contract; None where not recorded."""
        of_several: Mapping[str, str] = self.document.get("source_hashes", {})
        return self.source_hash or of_several.get(source)

    @property
    def null_ratio(self) -> float:
        """The share of null cells in the table, from 0 to 1."""
        cells = self.row_count * len(self.statistics)
        return sum(values.nulls for values in self.statistics.values()) / cells if cells else 0.0

    @property
    def size_bytes(self) -> int:
        """Bytes of all files that the metadata names."""
        return sum(file.size_bytes for file in self.files.values())


def parse_metadata(body: bytes, *, uri: str) -> VersionMetadata:
    """Read a stored ``metadata.json`` of this or an older format.

    Raises:
        InvalidDataError: It is not JSON, lacks required fields, has them in another form, or was written by a newer format.
    """
    try:
        document = json.loads(body)
        missing = [key for key in (*REQUIRED, *_ALSO_REQUIRED) if key not in document]
    except (ValueError, TypeError) as error:
        raise InvalidDataError(f"{uri} is damaged ({error}); expected a JSON object. Rebuild the partition or roll back.") from error
    if missing:
        raise InvalidDataError(f"{uri} lacks {', '.join(missing)}; expected the metadata of a version. Rebuild the partition or roll back.")
    try:
        if document.get("format", 1) > FORMAT:
            raise InvalidDataError(f"{uri} has format {document['format']}; expected at most {FORMAT}. Upgrade this reader.")
        return _described(document)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidDataError(
            f"{uri} is damaged ({error!r}); expected the metadata of a version. Rebuild the partition or roll back."
        ) from error


def _described(document: Mapping[str, Any]) -> VersionMetadata:
    window = document.get("window", {})
    return VersionMetadata(
        feature_set=_text(document["feature_set"]),
        version=_text(document["version"]),
        as_of=datetime.fromisoformat(document["as_of"]).astimezone(UTC),
        partition=document.get("partition", ""),
        generated_at=document["generated_at"],
        schema_hash=_text(document["schema_hash"]),
        content_hash=_text(document["content_hash"]),
        row_count=int(document["row_count"]),
        feature_uri=_text(document["feature_uri"]),
        write_id=document.get("write_id"),
        supersedes=document.get("supersedes"),
        code_version=document.get("code_version", ""),
        run_id=document.get("run_id", ""),
        source_hash=document.get("source_hash"),
        sql_hash=document.get("sql_hash"),
        sources=tuple(SourceObject(**item) for item in document["source"]),
        inputs=tuple(InputVersion(**item) for item in document.get("input_versions", ())),
        partitions=tuple(window.get("partitions", ())),
        missing_partitions=tuple(window.get("missing", ())),
        earlier_partitions=tuple(window.get("before_first_day", ())),
        files=_each(document["files"], lambda entry: FileDigest(entry["sha256"], entry["bytes"])),
        statistics=_each(document.get("statistics", {}), _summary),
        document=document,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {type(value).__name__}")
    return value


def _each(values: Mapping[str, Any], read: Callable[[Any], T]) -> dict[str, T]:
    return {name: read(value) for name, value in values.items()}


def _summary(values: Mapping[str, Any]) -> ColumnSummary:
    known = {name: values.get(name) for name in ("min", "max", "mean", "distinct")}
    return ColumnSummary(nulls=values["nulls"], quantiles=tuple(values.get("quantiles") or ()), **known)
