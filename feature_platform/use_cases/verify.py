"""Proof of published versions: every file read again and compared with the log, the contract and the other files.

What must hold does not belong here (``core.versions.proof``), nor whether online values are those that were published (``serve``).
"""

import hashlib
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.layout import CSV, FILES, METADATA, PARQUET, SCHEMA, FeatureSetLayout
from feature_platform.core.parquet import footer_start
from feature_platform.core.publishing.decisions import head_of
from feature_platform.core.publishing.publication import rollback_padding, rolled_back_metadata
from feature_platform.core.versions import proof
from feature_platform.core.versions.content_hash import ContentHasher
from feature_platform.core.versions.feature_table import FileDigest
from feature_platform.core.versions.findings import HEAL, REPROJECT, Finding
from feature_platform.core.versions.log import Head, Version
from feature_platform.core.versions.version_metadata import VersionMetadata, parse_metadata
from feature_platform.errors import ConflictError, FeaturePlatformError, InvalidDataError, NotFoundError
from feature_platform.ports.feature_set_store import FeatureSetStore

Files = Mapping[str, Path | BinaryIO]

_PIECE_BYTES: Final = 1 << 20

_LOOKS: Final = 5
"""How often ``latest/`` is read at most, where it moves while it is read."""


def verify_version(store: FeatureSetStore, feature_set: str, version: str, *, contract: Contract | None = None) -> list[Finding]:
    """Read a committed version's four files again and compare them with the log and with each other; no finding means proved.

    Only files whose bytes are the committed ones are decoded: a damaged file is one finding, and its content is not examined. The
    Parquet and CSV files are streamed.

    Args:
        contract: The contract that it must have been built by; its own ``schema.json`` is taken where left out.

    Raises:
        NotFoundError: The version was never committed, or has expired.
        StorageError: The store could not be read, or the local disk is full; nothing is proved either way.
    """
    known = store.readable(feature_set, version)
    layout = store.layout(feature_set)
    with store.fetched(layout.version(version)) as (files, present):
        findings = proof.compare_files(present, expected=known.files)
        whole = {name for name, found in present.items() if found == known.files.get(name)}
        findings += _described(files, whole, version=known, layout=layout, contract=contract)
        return findings + _rows(store, files, whole, version=known, layout=layout)


def verify_latest(store: FeatureSetStore, feature_set: str) -> list[Finding]:
    """Compare the four files of ``latest/`` with those of the head. The head's own proof is :func:`verify_version`.

    Raises:
        NotFoundError: Nothing was promoted yet, or the head's metadata is gone.
        ConflictError: ``latest`` kept moving while it was read.
    """
    for _ in range(_LOOKS):
        history = store.history(feature_set)
        head = head_of(history, feature_set)
        looked = _look_at_latest(store, head, version=history.versions[head.version], layout=store.layout(feature_set))
        if store.history(feature_set).head == head:
            return looked
    raise ConflictError(f"latest of {feature_set} moved {_LOOKS} times while it was read; verify again when publishing is quiet.")


def _look_at_latest(store: FeatureSetStore, head: Head, *, version: Version, layout: FeatureSetLayout) -> list[Finding]:
    expected = dict(version.files)
    with store.fetched(layout.latest) as (files, present):
        if head.operation == "rollback" and PARQUET in present:
            padding = rollback_padding(layout, sequence=head.sequence)
            padded, present[PARQUET] = present[PARQUET], _without(files[PARQUET], padding, whole=present[PARQUET])
            expected[METADATA] = _rolled_back(store, head, padded=padded, layout=layout)
    stale = _stale(store, head, layout=layout)
    findings = proof.compare_files(present, expected=expected, remedy=REPROJECT)
    return [finding for finding in findings if finding.file not in stale] + list(stale.values())


def _stale(store: FeatureSetStore, head: Head, *, layout: FeatureSetLayout) -> dict[str, Finding]:
    """The files of ``latest/`` that were written for another record than the head's, as a crash leaves them; one finding for each."""
    stale = {}
    for file in FILES:
        info = store.objects.head(layout.latest_file(file))
        shown = (info.write_id or "").partition(":")[0] if info else "none"
        if shown != str(head.sequence):
            expected, found = f"of log record {head.sequence}", f"of record {shown or 'unknown'}"
            stale[file] = Finding("stale_projection", file, expected, found, HEAL)
    return stale


def _rolled_back(store: FeatureSetStore, head: Head, *, padded: FileDigest, layout: FeatureSetLayout) -> FileDigest:
    """What ``latest/metadata.json`` must be after a rollback, computed from the version's own and from the padded file."""
    stored = store.objects.get(layout.version_file(head.version, METADATA))
    if stored is None:
        gone = layout.version_file(head.version, METADATA)
        raise NotFoundError(f"{gone} is gone although latest names its version; roll back to a whole one.")
    try:
        return FileDigest.of(rolled_back_metadata(stored.body, sequence=head.sequence, sha256=padded.sha256, size_bytes=padded.size_bytes))
    except (ValueError, KeyError, TypeError):
        return FileDigest("derived from a metadata.json of the version that is damaged", len(stored.body))


def _without(source: Path | BinaryIO, padding: bytes, *, whole: FileDigest) -> FileDigest:
    """The digest of a projected Parquet file without its padding; ``whole``, the file as it is, where the padding is not there."""
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
        try:
            start = footer_start(file, PARQUET) - len(padding)
        except InvalidDataError:
            return whole
        file.seek(max(start, 0))
        if start < 0 or file.read(len(padding)) != padding:
            return whole
        hasher, left = hashlib.sha256(), start
        file.seek(0)
        while left:
            piece = file.read(min(left, _PIECE_BYTES))
            hasher.update(piece)
            left -= len(piece)
        file.seek(start + len(padding))
        hasher.update(file.read())
        return FileDigest(hasher.hexdigest(), whole.size_bytes - len(padding))


def _bytes(source: Path | BinaryIO) -> bytes:
    return source.read_bytes() if isinstance(source, Path) else source.read()


def _described(
    files: Files, whole: Collection[str], *, version: Version, layout: FeatureSetLayout, contract: Contract | None
) -> list[Finding]:
    findings = []
    if METADATA in whole:
        findings += proof.compare_metadata(_bytes(files[METADATA]), version=version, layout=layout)
    if SCHEMA in whole:
        findings += proof.compare_schema(_bytes(files[SCHEMA]), version=version, contract=contract)
    return findings


def _rows(store: FeatureSetStore, files: Files, whole: Collection[str], *, version: Version, layout: FeatureSetLayout) -> list[Finding]:
    """What is wrong with the rows of the Parquet file, and with those of the CSV file beside it."""
    if PARQUET not in whole:
        return []
    findings: list[Finding] = []
    rows = 0
    metadata = _metadata(files, whole, layout=layout, version=version)
    try:
        with pq.ParquetFile(files[PARQUET], page_checksum_verification=True) as file:
            described = {key.decode(): value.decode() for key, value in (file.metadata.metadata or {}).items() if key != b"ARROW:schema"}
            findings += proof.compare_identity(
                described, version=version, feature_set=layout.feature_set, write_id=metadata.write_id if metadata else None
            )
            hasher = ContentHasher(file.schema_arrow)
            for batch in file.iter_batches():
                hasher.update(batch)
                rows += batch.num_rows
            found, schema = hasher.hexdigest(), file.schema_arrow
    except (OSError, ValueError, TypeError, pa.ArrowException, FeaturePlatformError) as error:
        return [*findings, Finding("unreadable", PARQUET, "a Parquet file of the contract's types", str(error))]
    if metadata and metadata.row_count != rows:
        findings.append(Finding("row_count_differs", PARQUET, f"{metadata.row_count} rows by {METADATA}", f"{rows} rows"))
    if found != version.content_hash:
        findings.append(Finding("content_hash_differs", PARQUET, version.content_hash, found))
    if CSV in whole and SCHEMA in whole:
        findings += _compare_csv(store, files, rows=rows, hashed=found, schema=schema, feature_set=layout.feature_set)
    return findings


def _metadata(files: Files, whole: Collection[str], *, layout: FeatureSetLayout, version: Version) -> VersionMetadata | None:
    """The metadata, or None where it cannot be read, which is a finding of :func:`_described`."""
    if METADATA not in whole:
        return None
    try:
        return parse_metadata(_bytes(files[METADATA]), uri=layout.version_file(version.version, METADATA))
    except FeaturePlatformError:
        return None


def _compare_csv(store: FeatureSetStore, files: Files, *, rows: int, hashed: str, schema: pa.Schema, feature_set: str) -> list[Finding]:
    """How the rows of the CSV file differ from those of the Parquet file."""
    try:
        contract = proof.contract_of(_bytes(files[SCHEMA]), feature_set=feature_set)
        hasher, found = ContentHasher(contract.arrow_schema), 0
        for batch in store.read_csv(files[CSV], contract=contract):
            hasher.update(batch)
            found += batch.num_rows
    except (FeaturePlatformError, ValueError) as error:
        return [Finding("csv_differs", CSV, "the rows of the Parquet file", str(error))]
    expected = contract.arrow_schema
    if (schema.names, schema.types) != (expected.names, expected.types):
        columns = ", ".join(f"{column.name} {column.type}" for column in schema)
        return [Finding("schema_differs", PARQUET, ", ".join(f"{column.name} {column.type}" for column in expected), columns)]
    if hasher.hexdigest() != hashed:
        return [Finding("csv_differs", CSV, f"the {rows} rows of the Parquet file", f"{found} rows of another content")]
    return []
