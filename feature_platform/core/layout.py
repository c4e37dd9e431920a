"""Every key that the platform reads or writes, built in one place; a test asserts each literally.

A URI is ``s3://bucket/key``. What an object holds does not belong here.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from feature_platform.errors import InvalidDataError

PARQUET: Final = "features.parquet"
CSV: Final = "features.csv"
SCHEMA: Final = "schema.json"
METADATA: Final = "metadata.json"
FILES: Final = (PARQUET, CSV, SCHEMA, METADATA)
"""The fixed four-file set, in the order it is written: metadata last."""

SAFE_PIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERSION: Final = re.compile(r"v_(\d{8}T\d{6})")
_LATEST_FEATURES: Final = re.compile(rf"(?P<base>s3://.+)/(?P<feature_set>[^/]+)/latest/{re.escape(PARQUET)}")
_SEQUENCE: Final = re.compile(r"(\d{20})\.json")
_STAMP: Final = "%Y%m%dT%H%M%S"


def version_id(moment: datetime) -> str:
    """The version id that names a moment.

    >>> version_id(datetime(2026, 1, 15, tzinfo=UTC))
    'v_20260115T000000'
    """
    return f"v_{moment.astimezone(UTC).strftime(_STAMP)}"


def version_moment(version: str) -> datetime:
    """The moment a version id spells, UTC.

    Raises:
        InvalidDataError: ``version`` is not of the form ``v_YYYYMMDDTHHMMSS``.
    """
    match = _VERSION.fullmatch(version)
    try:
        if match:
            return datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        pass
    raise InvalidDataError(f"Version {version!r} is not a version id; expected v_YYYYMMDDTHHMMSS, e.g. v_20260115T000000.")


def as_of(partition: str) -> datetime:
    """The moment a daily partition is true as of: the end of that UTC day.

    >>> as_of("2026-01-14").isoformat()
    '2026-01-15T00:00:00+00:00'
    """
    return datetime.strptime(partition, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)


def partition_of(moment: datetime) -> str:
    """The daily partition whose end is ``moment``; the inverse of :func:`as_of`."""
    return (moment.astimezone(UTC) - timedelta(days=1)).strftime("%Y-%m-%d")


def window_partitions(moment: datetime, *, days: int) -> tuple[str, ...]:
    """The partitions of the ``days`` days that end at ``moment`` (exclusive), oldest first."""
    return tuple(partition_of(moment - timedelta(days=back)) for back in reversed(range(days)))


@dataclass(frozen=True, slots=True)
class FeatureSetLayout:
    """Keys of one feature set below ``<feature_base>/<feature_set>/``."""

    feature_base: str
    feature_set: str

    @property
    def root(self) -> str:
        return f"{self.feature_base.rstrip('/')}/{self.feature_set}/"

    @property
    def latest(self) -> str:
        return f"{self.root}latest/"

    @property
    def log(self) -> str:
        return f"{self.root}_log/"

    @property
    def pins(self) -> str:
        return f"{self.root}_pins/"

    def version(self, version: str) -> str:
        return f"{self.root}{version}/"

    def version_file(self, version: str, name: str) -> str:
        return f"{self.root}{version}/{name}"

    def latest_file(self, name: str) -> str:
        return f"{self.latest}{name}"

    def log_record(self, sequence: int) -> str:
        return f"{self.log}{sequence:020d}.json"

    @property
    def log_checkpoint(self) -> str:
        return f"{self.log}checkpoint"

    def pins_of(self, version: str) -> str:
        return f"{self.pins}{version}/"

    def pin(self, version: str, pin: str) -> str:
        return f"{self.pins}{version}/{pin}.json"

    def sequence_of(self, uri: str) -> int | None:
        """The sequence number of a log record's URI, or None for anything else under ``_log/``."""
        match = _SEQUENCE.fullmatch(uri.removeprefix(self.log)) if uri.startswith(self.log) else None
        return int(match[1]) if match else None

    def version_of(self, uri: str) -> str | None:
        """The version whose directory holds ``uri``, or None for ``latest/``, ``_log/`` and ``_pins/``."""
        head = uri.removeprefix(self.root).split("/", 1)[0]
        return head if _VERSION.fullmatch(head) else None


def latest_source(uri: str) -> FeatureSetLayout | None:
    """The feature set whose ``latest/features.parquet`` a URI is, or None.

    >>> latest_source("s3://bucket/features/users/latest/features.parquet").feature_set
    'users'
    """
    match = _LATEST_FEATURES.fullmatch(uri)
    return FeatureSetLayout(match["base"], match["feature_set"]) if match else None


def raw_partition(raw_uri: str, source: str, partition: str) -> str:
    """Prefix of one day of raw objects, owned by upstream and only read."""
    return f"{raw_uri.rstrip('/')}/{source}/dt={partition}/"


def validated_partition(work_uri: str, source: str, partition: str) -> str:
    """Prefix of one day of validated events."""
    return f"{work_uri.rstrip('/')}/validated/{source}/dt={partition}/"


def quarantine_partition(work_uri: str, source: str, partition: str) -> str:
    """Prefix of one day of quarantined rows."""
    return f"{work_uri.rstrip('/')}/quarantine/{source}/dt={partition}/"


def staging(work_uri: str, use: str) -> str:
    """Prefix of what one computation passes from machine to machine; ``use`` is its own, and everything below is removed at its end."""
    return f"{work_uri.rstrip('/')}/staging/{use}/"


def tile_block(work_uri: str, source: str, spec: str, *, first: str, days: int) -> str:
    """Prefix of the tile of ``days`` days from ``first`` on; ``spec`` identifies what it computes."""
    return f"{work_uri.rstrip('/')}/tiles/{source}/{spec}/days={days}/dt={first}/"


def owner_mark(base: str) -> str:
    """The object that names the environment that may write below a base URI."""
    return f"{base.rstrip('/')}/_owner.json"


def training_sets(base: str) -> str:
    """Prefix of the training sets beside the feature sets of a base; no feature set's name begins with ``_``."""
    return f"{base.rstrip('/')}/_training/"


def registry_uri(registry_base: str, env: str) -> str:
    """The Feast registry file of one environment."""
    return f"{registry_base.rstrip('/')}/{env}/registry.pb"


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI.

    >>> split_uri("s3://bucket/a/b.json")
    ('bucket', 'a/b.json')
    """
    scheme, separator, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not separator or not bucket:
        raise InvalidDataError(f"{uri!r} is not an S3 URI; expected s3://bucket/key.")
    return bucket, key
