"""A version computed again from the raw objects that its metadata records, in memory, to compare its content hash.

Nothing is written to the store. Proving the files that were published does not belong here (``use_cases.verify``).
"""

import re
from collections.abc import Sequence
from typing import Final

from feature_platform.core.compute.tiles import Window
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.versions.content_hash import ContentHasher
from feature_platform.core.versions.findings import Finding
from feature_platform.core.versions.log import Version
from feature_platform.core.versions.metadata import SourceObject
from feature_platform.core.versions.proof import Reproduction
from feature_platform.core.versions.version_metadata import VersionMetadata
from feature_platform.errors import ContractError, InvalidDataError, StorageError
from feature_platform.ports.object_store import ObjectStore
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.inputs import opened

COMPARE_CODE: Final = (
    "Reproduce with the release and the contracts that metadata.json names; if it still differs, the computation is not deterministic."
)


def reproduce(platform: Platform, contract: Contract, version: str) -> Reproduction:
    """Validate the recorded raw objects and build the version's rows again, in memory, and compare their hash with the log's.

    Args:
        contract: The contract that the version was built by; the same ``schema_hash``. It brings the SQL transform, which no version
            carries.

    Raises:
        NotFoundError: The version, or one of another set that it was computed from, was never committed, or has expired.
        ContractError: The contract is not the one that the version was built by.
        InvalidDataError: The raw objects do not pass validation any more.
        StorageError: The store could not be read, or the metadata records no sources.
    """
    store, feature_set = platform.feature_sets, contract.feature_set
    known = store.readable(feature_set, version)
    if contract.schema_hash != known.schema_hash:
        raise ContractError(
            f"{version} of {feature_set!r} was built by another contract than the given one; give the contract that it was built by.",
            [f"schema_hash: expected {known.schema_hash}, found {contract.schema_hash}"],
        )
    described = store.metadata(feature_set, version)
    if not described.sources:
        raise StorageError(f"metadata.json of {version} records no raw objects; it was not built from any, so it cannot be rebuilt.")
    findings = _missing(store.objects, described.sources, remedy=_restore_or_rebuild(feature_set))
    if findings:
        return Reproduction(feature_set, version, known.content_hash, found=None, row_count=None, findings=tuple(findings))
    found, rows = _computed_again(platform, contract, described)
    if found != known.content_hash:
        findings = _differences(known, found, rows, described=described, contract=contract, sources=platform.catalog.sources_of(contract))
    return Reproduction(feature_set, version, known.content_hash, found=found, row_count=rows, findings=tuple(findings))


def _computed_again(platform: Platform, contract: Contract, described: VersionMetadata) -> tuple[str, int]:
    """Content hash and number of the rows that are computed from the recorded raw objects."""
    inputs = opened(platform, described.inputs)
    recorded = {item.uri for item in described.sources} | {item.file.uri for item in inputs if item.file}
    bench = platform.bench(_raw_uri(described.sources, contract), recorded)
    windows = []
    for part in contract.parts:
        source = platform.catalog.source_of(part)
        days = sorted({_day(item) for item in described.sources if part.day_name(_day(item)) == item.partition})
        windows.append(Window(source, [bench.engine.validate(source, bench.raw.discover(source, day)) for day in days]))
    table = bench.engine.build(contract, windows, as_of=described.as_of, inputs=inputs)
    hasher, rows = ContentHasher(table.schema), 0
    for batch in table.batches():
        hasher.update(batch)
        rows += batch.num_rows
    return hasher.hexdigest(), rows


def _day(item: SourceObject) -> str:
    return item.partition.rpartition("/")[2]


def _differences(
    known: Version, found: str, rows: int, *, described: VersionMetadata, contract: Contract, sources: Sequence[SourceContract]
) -> list[Finding]:
    expected = f"content_hash {known.content_hash} ({described.row_count} rows, by {described.code_version or 'unknown'})"
    findings = [Finding("not_reproduced", known.version, expected, f"content_hash {found} ({rows} rows)", COMPARE_CODE)]
    for source in sources:
        then = described.source_hash_of(source.source)
        if then is not None and then != source.schema_hash:
            findings.append(Finding("source_contract_differs", source.source, f"source_hash {then}", source.schema_hash, COMPARE_CODE))
    transform = described.sql_hash
    if transform is not None and transform != contract.sql_hash:
        findings.append(Finding("transform_differs", known.version, f"sql_hash {transform}", str(contract.sql_hash), COMPARE_CODE))
    return findings


def _restore_or_rebuild(feature_set: str) -> str:
    return (
        "Restore the raw object's previous S3 version, then reproduce again; or replace the version by one of what is there now: "
        f"`feature-platform refresh {feature_set}`."
    )


def _missing(objects: ObjectStore, recorded: Sequence[SourceObject], *, remedy: str) -> list[Finding]:
    findings = []
    for item in recorded:
        info = objects.head(item.uri)
        if info is None:
            findings.append(Finding("source_gone", item.uri, f"an object with ETag {item.etag}", "no object", remedy))
        elif info.etag != item.etag:
            findings.append(Finding("source_changed", item.uri, f"ETag {item.etag}", f"ETag {info.etag}", remedy))
    return findings


def _raw_uri(recorded: Sequence[SourceObject], contract: Contract) -> str:
    """The one base URI above ``<source>/dt=…`` of all recorded objects."""
    names = "|".join(map(re.escape, contract.source_names))
    places = [re.fullmatch(rf"(.+?)/(?:{names})/dt={re.escape(_day(item))}/.+", item.uri) for item in recorded]
    found = {place[1] for place in places if place}
    if len(found) != 1 or None in places:
        known = " or ".join(f"<raw>/{name}/dt=YYYY-MM-DD/" for name in contract.source_names)
        raise InvalidDataError(f"Raw objects are not below one {known}; found {sorted(found)}.")
    return found.pop()
