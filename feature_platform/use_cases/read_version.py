"""Read a committed version's rows, checked by the log's hashes. Proving everything else does not belong here (``use_cases.verify``)."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from io import BufferedReader
from typing import BinaryIO, cast

import pyarrow as pa

from feature_platform.core.layout import METADATA, PARQUET
from feature_platform.core.parquet import read_whole
from feature_platform.core.publishing.decisions import head_of
from feature_platform.core.training.known import KnownAt, timeline
from feature_platform.core.versions.feature_table import FileDigest
from feature_platform.core.versions.log import Version
from feature_platform.core.versions.version_metadata import VersionMetadata, parse_metadata
from feature_platform.errors import InvalidDataError, NotFoundError
from feature_platform.ports.feature_set_store import FeatureSetStore
from feature_platform.ports.platform import Platform

LATEST = "latest"


def read_version(platform: Platform, feature_set: str, version: str) -> tuple[pa.Table, VersionMetadata]:
    """The rows of a committed version, by its id or ``latest``, and its metadata.

    Raises:
        NotFoundError: It was never committed, or retention removed it.
        InvalidDataError: A file is not the one that was committed.
    """
    if version == LATEST:
        version = head_of(platform.feature_sets.history(feature_set), feature_set).version
    known = platform.feature_sets.readable(feature_set, version)
    uri = platform.feature_sets.layout(feature_set).version_file(version, METADATA)
    stored = platform.feature_sets.objects.get(uri)
    if stored is None:
        raise NotFoundError(f"{uri} is gone although the log names {version}; choose another version.")
    _require_same(FileDigest.of(stored.body).sha256, known, METADATA, feature_set)
    with verified_features(platform.feature_sets, feature_set, known) as open_file, open_file() as file:
        return read_whole(file), parse_metadata(stored.body, uri=uri)


def metadata_if_whole(platform: Platform, feature_set: str, version: str) -> VersionMetadata | None:
    """A version's metadata; None where it is gone or damaged, which `verify` reports: what compares others with it leaves it out."""
    try:
        return platform.feature_sets.metadata(feature_set, version)
    except (NotFoundError, InvalidDataError):
        return None


def known_version(platform: Platform, feature_set: str, moment: datetime, *, known_at: KnownAt) -> str:
    """The version that was known at a moment.

    Raises:
        NotFoundError: No version was known then.
    """
    known = timeline(platform.feature_sets.history(feature_set), known_at=known_at)
    found = [entry.version for entry in known if entry.since <= moment]
    if not found:
        first = f"the first one is {known[0].version}, from {known[0].since.isoformat()} on" if known else "nothing was published yet"
        raise NotFoundError(f"No version of {feature_set} was known at {moment.isoformat()}; {first}.")
    return found[-1]


@contextmanager
def verified_features(feature_sets: FeatureSetStore, feature_set: str, version: Version) -> Iterator[Callable[[], BinaryIO]]:
    """A function that opens a local copy of a version's Parquet file, for the time of a ``with`` block.

    Raises:
        NotFoundError: The file is gone.
        InvalidDataError: It is not the one that was committed.
    """
    with feature_sets.local_features(feature_set, version) as open_file:
        with open_file() as file:
            found = hashlib.file_digest(cast("BufferedReader", file), "sha256").hexdigest()
        _require_same(found, version, PARQUET, feature_set)
        yield open_file


def _require_same(found: str, version: Version, file: str, feature_set: str) -> None:
    if found != version.files[file].sha256:
        raise InvalidDataError(
            f"{file} of {feature_set} {version.version} has SHA-256 {found}; expected {version.files[file].sha256}, as the log says. "
            f"See `feature-platform verify {feature_set} --version {version.version}`."
        )
