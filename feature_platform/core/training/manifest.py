"""The manifest of a training set: what is needed to make the same bytes again, and to name a part that is missing or altered.

Storing it does not belong here.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from feature_platform.core.contract.documents import canonical_json
from feature_platform.core.training.known import KnownAt
from feature_platform.core.training.split import Split
from feature_platform.errors import StorageError

FORMAT: Final = 1
LABELS: Final = "labels.parquet"
DATA: Final = "training_set.parquet"
MANIFEST: Final = "manifest.json"
"""Written last: without it there is no training set."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StoredFile(_Part):
    """One immutable file: its hash, its rows and the names and Arrow types of its columns."""

    uri: str
    sha256: str
    size_bytes: int
    rows: int
    columns: Mapping[str, str]


class UsedVersion(_Part):
    """A version that was known from ``since`` on, and for how many rows; ``is_gone`` where retention had removed it by then."""

    version: str
    since: datetime
    schema_hash: str
    content_hash: str
    parquet_sha256: str
    is_gone: bool
    rows: int = 0


class UsedFeatureSet(_Part):
    """The lookup of one feature set: column of the training set → feature, and its results (status → number of rows)."""

    feature_set: str
    keys: Mapping[str, str]
    timestamp_field: str
    features: Mapping[str, str]
    types: Mapping[str, str]
    ttl: timedelta
    log_sequence: int
    versions: tuple[UsedVersion, ...]
    statuses: Mapping[str, int] = Field(default_factory=dict)


class TrainingManifest(_Part):
    """A training set's manifest.

    ``content_hash`` is the logical hash of keys, moments, parts and answers in their order. ``training_set``, the name, does not depend on
    who made it, when and where: the same labels, versions and rules give the same name.
    """

    format: int = FORMAT
    training_set: str
    known_at: KnownAt
    timestamp: str
    labels: StoredFile
    data: StoredFile
    feature_sets: tuple[UsedFeatureSet, ...]
    split: Split | None
    content_hash: str
    made_by: str
    made_at: datetime
    release: str

    def to_json(self) -> bytes:
        return self.model_dump_json(indent=2).encode()


def parse_manifest(body: bytes, *, uri: str) -> TrainingManifest:
    """Read a stored manifest.

    Raises:
        StorageError: It is damaged, or of a newer format.
    """
    try:
        found = TrainingManifest.model_validate_json(body)
    except ValidationError as error:
        raise StorageError(f"{uri} is no manifest of a training set that this release reads: {error.errors()[0]['msg']}.") from error
    if found.format > FORMAT:
        raise StorageError(f"{uri} has format {found.format}; expected at most {FORMAT}. Read it with a newer release.")
    return found


def name_of(*, labels_sha256: str, request: Mapping[str, Any], feature_sets: Sequence[UsedFeatureSet]) -> str:
    """The name of a training set, which follows from its inputs: 16 hexadecimal digits."""
    sets = [item.model_dump(mode="json", exclude={"log_sequence"}) for item in feature_sets]
    document = {"format": FORMAT, "labels": labels_sha256, "request": request, "feature_sets": sets}
    return hashlib.sha256(canonical_json(document)).hexdigest()[:16]
