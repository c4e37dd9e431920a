"""The proof of a version: its files compared with the log, and with each other's descriptions.

The log's commit record is the truth; ``metadata.json``, ``schema.json`` and the Parquet file's own description must agree with it.
Reading objects and tables does not belong here (``use_cases.verify``).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from feature_platform.core.contract import documents
from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.core.layout import CSV, METADATA, PARQUET, SCHEMA, FeatureSetLayout, partition_of
from feature_platform.core.versions.feature_table import FileDigest
from feature_platform.core.versions.findings import REMOVE, RESTORE, Code, Finding
from feature_platform.core.versions.log import Version
from feature_platform.core.versions.version_metadata import parse_metadata
from feature_platform.errors import ContractError, InvalidDataError


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The outcome of computing a version again from its recorded sources.

    Attributes:
        found: The content hash of the rows computed now; None where the sources were not there to compute them.
        findings: Why it could not be computed, or how it differs; none means reproduced.
    """

    feature_set: str
    version: str
    expected: str
    found: str | None
    row_count: int | None
    findings: tuple[Finding, ...]

    @property
    def is_reproduced(self) -> bool:
        return self.found == self.expected

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "is_reproduced": self.is_reproduced, "findings": [asdict(finding) for finding in self.findings]}


def compare_files(present: Mapping[str, FileDigest], *, expected: Mapping[str, FileDigest], remedy: str = RESTORE) -> list[Finding]:
    """How files differ from those that are expected: missing, extra, or of another size or SHA-256."""
    findings = [Finding("extra_file", name, "no such object", "an object", REMOVE) for name in present if name not in expected]
    for name, digest in expected.items():
        found = present.get(name)
        if found is None:
            findings.append(Finding("missing_file", name, f"{digest.size_bytes} bytes", "no object", remedy))
            continue
        if found.size_bytes != digest.size_bytes:
            findings.append(Finding("size_differs", name, f"{digest.size_bytes} bytes", f"{found.size_bytes} bytes", remedy))
        if found.sha256 != digest.sha256:
            findings.append(Finding("sha256_differs", name, digest.sha256, found.sha256, remedy))
    return findings


def compare_metadata(body: bytes, *, version: Version, layout: FeatureSetLayout) -> list[Finding]:
    """How ``metadata.json`` differs from the log; its own digest is compared by :func:`compare_files`."""
    try:
        found = parse_metadata(body, uri=layout.version_file(version.version, METADATA))
    except InvalidDataError as error:
        return [Finding("unreadable", METADATA, "the metadata of a version", str(error))]
    expected: dict[str, Any] = {
        "feature_set": layout.feature_set,
        "version": version.version,
        "schema_hash": version.schema_hash,
        "content_hash": version.content_hash,
        "feature_uri": layout.version(version.version),
        "partition": partition_of(version.as_of),
        "as_of": version.as_of,
    }
    said: dict[str, Any] = {name: getattr(found, name) for name in expected}
    for name in (PARQUET, CSV, SCHEMA):
        expected[f"files.{name}"], said[f"files.{name}"] = _pair(version.files.get(name)), _pair(found.files.get(name))
    return _differences("metadata_differs", METADATA, expected, said)


def compare_schema(body: bytes, *, version: Version, contract: Contract | None) -> list[Finding]:
    """How ``schema.json`` differs from a contract in canonical form whose SHA-256 is the version's ``schema_hash``.

    Args:
        contract: The contract that the version must have been built by; None where any will do.
    """
    findings = []
    digest = hashlib.sha256(body).hexdigest()
    if digest != version.schema_hash:
        findings.append(Finding("schema_differs", SCHEMA, f"schema_hash {version.schema_hash}", digest))
    if contract is not None and contract.schema_hash != version.schema_hash:
        given, remedy = f"schema_hash {contract.schema_hash} of the given contract", "Give the contract that the version was built by."
        findings.append(Finding("schema_differs", SCHEMA, given, version.schema_hash, remedy))
    try:
        canonical = documents.canonical_json(json.loads(body))
    except ValueError as error:
        return [*findings, Finding("unreadable", SCHEMA, "a JSON document", str(error))]
    if canonical != body:
        findings.append(Finding("schema_differs", SCHEMA, "canonical JSON", "other spacing, order or escapes"))
    return findings


def compare_identity(found: Mapping[str, str], *, version: Version, feature_set: str, write_id: str | None) -> list[Finding]:
    """How the Parquet file's key-value metadata differs from the version that it should be.

    Args:
        write_id: The one in ``metadata.json``; None where that could not be read.
    """
    expected = {
        "feature_set": feature_set,
        "version": version.version,
        "schema_hash": version.schema_hash,
        "content_hash": version.content_hash,
    }
    if write_id is not None:
        expected["write_id"] = write_id
    said: dict[str, Any] = {name: found.get(name) for name in expected}
    try:
        said["as_of"] = datetime.fromisoformat(found.get("as_of", "")).astimezone(UTC)
    except ValueError:
        said["as_of"] = found.get("as_of")
    return _differences("identity_differs", PARQUET, {**expected, "as_of": version.as_of}, said)


def contract_of(body: bytes, *, feature_set: str) -> Contract:
    """The contract that a version's ``schema.json`` holds. Its SQL transform, if it had one, is not part of it.

    Raises:
        ContractError: It is no contract that this release understands.
    """
    document = documents.parse_object(body, file=SCHEMA)
    columns = document.get("columns")
    is_declarative = isinstance(columns, list) and any(isinstance(column, dict) and "aggregation" in column for column in columns)
    if not isinstance(columns, list):
        raise ContractError(f"{SCHEMA} of {feature_set!r} has no columns; expected a contract.")
    return load_contract(body, file=SCHEMA, expected_name=feature_set, sql=None if is_declarative else "")


def _pair(digest: FileDigest | None) -> tuple[str, int] | None:
    return (digest.sha256, digest.size_bytes) if digest else None


def _differences(code: Code, file: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[Finding]:
    wrong = [name for name, value in expected.items() if found.get(name) != value]
    return [Finding(code, file, f"{name} {_spell(expected[name])}", _spell(found.get(name))) for name in wrong]


def _spell(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else repr(value)
