"""A version computed again from the raw objects that its metadata records, in memory, to compare its content hash.

Nothing is written to the store. Proving the files that were published does not belong here (``use_cases.verify``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from feature_platform.adapters.events.raw_files import discover_raw
from feature_platform.adapters.feature_set_store.feature_sets import ObjectFeatureSetStore
from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.objects import Condition, ObjectInfo, StoredObject
from feature_platform.core.versions.content_hash import ContentHasher
from feature_platform.core.versions.log import Version
from feature_platform.core.versions.metadata import SourceObject
from feature_platform.core.versions.proof import Finding, Reproduction
from feature_platform.errors import ContractError, InvalidDataError, StorageError
from feature_platform.ports.compute_engine import ComputeEngine
from feature_platform.ports.object_store import ObjectStore

WORK_URI: Final = "s3://in-memory/work"
RESTORE_SOURCE: Final = "Restore the raw object's previous S3 version, then reproduce again; or accept that this version cannot be rebuilt."
COMPARE_CODE: Final = (
    "Reproduce with the release and the contracts that metadata.json names; if it still differs, the computation is not deterministic."
)

EngineOn = Callable[[ObjectStore, str], ComputeEngine]
"""Builds an engine on an object store and a base URI for validated events."""


def reproduce(
    store: ObjectFeatureSetStore,
    feature_set: str,
    version: str,
    *,
    contract: Contract,
    source: SourceContract,
    engine_on: EngineOn | None = None,
) -> Reproduction:
    """Validate the recorded raw objects and build the version's rows again, in memory, and compare their hash with the log's.

    Args:
        store: Where versions are; raw objects are read from the same object store.
        feature_set: Of which.
        version: A version id.
        contract: The contract that it was built by; the same ``schema_hash``. It brings the SQL transform, which no version carries.
        source: The contract of its raw events.
        engine_on: The engine; DuckDB in this process where left out.

    Raises:
        NotFoundError: The version was never committed, or has expired.
        ContractError: The contract is not the one that the version was built by.
        InvalidDataError: The raw objects do not pass validation any more.
        StorageError: The store could not be read, or the metadata records no sources.
    """
    known = store.readable(feature_set, version)
    if contract.schema_hash != known.schema_hash:
        raise ContractError(
            f"{version} of {feature_set!r} was built by another contract than the given one; give the contract that it was built by.",
            [f"schema_hash: expected {known.schema_hash}, found {contract.schema_hash}"],
        )
    described = store.metadata(feature_set, version)
    recorded = _recorded(described, version=version)
    findings = _missing(store.objects, recorded)
    if findings:
        return Reproduction(feature_set, version, known.content_hash, found=None, row_count=None, findings=tuple(findings))
    objects = _RecordedObjects(store.objects, {item.uri for item in recorded})
    engine = (engine_on or _duckdb)(objects, WORK_URI)
    return _compare(known, feature_set, engine, objects, recorded=recorded, described=described, contract=contract, source=source)


def _compare(
    known: Version,
    feature_set: str,
    engine: ComputeEngine,
    objects: ObjectStore,
    *,
    recorded: Sequence[SourceObject],
    described: Mapping[str, Any],
    contract: Contract,
    source: SourceContract,
) -> Reproduction:
    days = []
    for partition in sorted({item.partition for item in recorded}):
        manifest = discover_raw(objects, _raw_uri(recorded, source, partition), source, partition=partition)
        days.append(engine.validate(source, manifest))
    table = engine.build(contract, source, as_of=_moment(described["as_of"]), days=days)
    hasher, rows = ContentHasher(table.schema), 0
    for batch in table.batches():
        hasher.update(batch)
        rows += batch.num_rows
    found = hasher.hexdigest()
    findings = (
        [] if found == known.content_hash else _differences(known, found, rows, described=described, contract=contract, source=source)
    )
    return Reproduction(feature_set, known.version, known.content_hash, found=found, row_count=rows, findings=tuple(findings))


def _differences(
    known: Version, found: str, rows: int, *, described: Mapping[str, Any], contract: Contract, source: SourceContract
) -> list[Finding]:
    expected = f"content_hash {known.content_hash} ({described['row_count']} rows, by {described.get('code_version') or 'unknown'})"
    findings = [Finding("not_reproduced", known.version, expected, f"content_hash {found} ({rows} rows)", COMPARE_CODE)]
    then = described.get("source_hash")
    if then is not None and then != source.schema_hash:
        findings.append(Finding("source_contract_differs", source.source, f"source_hash {then}", source.schema_hash, COMPARE_CODE))
    transform = described.get("sql_hash")
    if transform is not None and transform != contract.sql_hash:
        findings.append(Finding("transform_differs", known.version, f"sql_hash {transform}", str(contract.sql_hash), COMPARE_CODE))
    return findings


def _recorded(described: Mapping[str, Any], *, version: str) -> list[SourceObject]:
    """The raw objects that a version's metadata names."""
    try:
        recorded = [SourceObject(**item) for item in described["source"]]
    except (TypeError, KeyError) as error:
        raise StorageError(f"metadata.json of {version} does not record its sources in a known form ({error}).") from error
    if not recorded:
        raise StorageError(f"metadata.json of {version} records no raw objects; it was not built from any, so it cannot be rebuilt.")
    return recorded


def _missing(objects: ObjectStore, recorded: Sequence[SourceObject]) -> list[Finding]:
    """Which raw objects are not the recorded ones any more."""
    findings = []
    for item in recorded:
        info = objects.head(item.uri)
        if info is None:
            findings.append(Finding("source_gone", item.uri, f"an object with ETag {item.etag}", "no object", RESTORE_SOURCE))
        elif info.etag != item.etag:
            findings.append(Finding("source_changed", item.uri, f"ETag {item.etag}", f"ETag {info.etag}", RESTORE_SOURCE))
    return findings


def _raw_uri(recorded: Sequence[SourceObject], source: SourceContract, partition: str) -> str:
    """The base above ``<source>/dt=…`` that a day's objects were recorded below."""
    found = {item.uri.partition(f"/{source.source}/dt={partition}/")[0] for item in recorded if item.partition == partition}
    if len(found) != 1 or any(item.uri in found for item in recorded):
        raise InvalidDataError(
            f"Raw objects of {partition} are not below one <raw>/{source.source}/dt={partition}/; found {sorted(found)}."
        )
    return found.pop()


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _duckdb(objects: ObjectStore, work_uri: str) -> ComputeEngine:
    from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine

    return DuckDBEngine(objects, work_uri=work_uri)


class _RecordedObjects:
    """The recorded raw objects and nothing beside them, over a memory that takes every write."""

    def __init__(self, store: ObjectStore, recorded: set[str]) -> None:
        self._store, self._recorded, self._scratch = store, recorded, MemoryObjectStore()

    def head(self, uri: str) -> ObjectInfo | None:
        return self._of(uri).head(uri)

    def get(self, uri: str) -> StoredObject | None:
        return self._of(uri).get(uri)

    def open(self, uri: str, *, etag: str) -> BinaryIO:
        return self._of(uri).open(uri, etag=etag)

    def download(self, uri: str, target: Path, *, etag: str | None = None) -> ObjectInfo:
        return self._of(uri).download(uri, target, etag=etag)

    def scan(self, prefix: str) -> Iterator[ObjectInfo]:
        """What was delivered after the version was built is not seen."""
        if any(uri.startswith(prefix) for uri in self._recorded):
            yield from (info for info in self._store.scan(prefix) if info.uri in self._recorded)
        else:
            yield from self._scratch.scan(prefix)

    def put(self, uri: str, body: bytes | Path, *, write_id: str, sha256: str | None, condition: Condition) -> str:
        return self._scratch.put(uri, body, write_id=write_id, sha256=sha256, condition=condition)

    def delete(self, uri: str) -> None:
        self._scratch.delete(uri)

    def _of(self, uri: str) -> ObjectStore:
        return self._store if uri in self._recorded else self._scratch
