"""Versions of other feature sets that a set is computed from: which are chosen, and where an engine reads them.

Computing does not belong here (``use_cases.build``), nor keeping chosen versions from retention (``use_cases.retain``).
"""

from collections.abc import Sequence
from datetime import datetime

from feature_platform.core.compute.tiles import InputFile
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.deviation import failures
from feature_platform.core.events.validated import DataFile
from feature_platform.core.layout import PARQUET
from feature_platform.core.training.known import not_withdrawn
from feature_platform.core.versions.metadata import InputVersion
from feature_platform.errors import NotFoundError, StorageError
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.promote import judge


def choose(platform: Platform, contract: Contract, moment: datetime) -> list[InputVersion]:
    """For each set that a contract reads, the newest version as of the moment or before it that is, was, or by its checks may be latest.

    A version that was never latest counts where it passes its checks, because a backfill moves latest only once; a version that a rollback
    went back from does not count.

    Raises:
        NotFoundError: A set has no such version.
    """
    return [_newest(platform, platform.catalog.contract(name), moment, reader=contract.feature_set) for name in contract.feature_sets]


def _newest(platform: Platform, contract: Contract, moment: datetime, *, reader: str) -> InputVersion:
    name = contract.feature_set
    history = platform.feature_sets.history(name)
    were_latest = {record.version for record in history.records if record.op in {"promote", "rollback"}}
    for version in reversed(not_withdrawn(history)):
        if version.as_of > moment or version.is_expired:
            continue
        if version.version in were_latest or not failures(judge(platform, contract, history, version)):
            return InputVersion(name, version.version, version.content_hash)
    raise NotFoundError(
        f"{reader} reads {name!r}, which has no version as of {moment.isoformat()} or before that passed its checks; expected one. "
        f"Build {name} first."
    )


def opened(platform: Platform, inputs: Sequence[InputVersion]) -> list[InputFile]:
    """Each version's columns and its Parquet file, as they are in the store.

    Raises:
        NotFoundError: A version has expired, or its file is gone.
        StorageError: A file is not the one that was committed.
    """
    return [_opened(platform, item) for item in inputs]


def _opened(platform: Platform, item: InputVersion) -> InputFile:
    store = platform.feature_sets
    version = store.readable(item.feature_set, item.version)
    uri, digest = store.layout(item.feature_set).version_file(item.version, PARQUET), version.files[PARQUET]
    found = store.objects.head(uri)
    if found is None:
        raise NotFoundError(f"{uri} is gone although the log names {item.version}; build the day again, or read another version.")
    if (version.content_hash, found.size_bytes) != (item.content_hash, digest.size_bytes) or found.sha256 not in (None, digest.sha256):
        raise StorageError(f"{uri} is not the file that was committed as {item.version}; restore it from its previous S3 version.")
    columns = {column.name: column.type for column in store.contract_of(item.feature_set, item.version).all_columns}
    return InputFile(item.feature_set, columns, DataFile(uri, found.etag, digest.sha256, found.size_bytes, rows=0))
