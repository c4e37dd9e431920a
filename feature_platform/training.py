"""Training from Python and notebooks: published versions, training sets, and a Dagster asset that makes one.

Each function uses the environment's platform where none is given. What was known when does not belong here (``core.training``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from feature_platform.adapters.machine.account import actor
from feature_platform.adapters.training.label_files import rows_of
from feature_platform.core.training.known import KnownAt
from feature_platform.core.training.lookup import parse_features
from feature_platform.core.training.manifest import TrainingManifest
from feature_platform.core.training.split import Split, split_by_key, split_by_time
from feature_platform.core.versions.version_metadata import VersionMetadata
from feature_platform.use_cases import read_version as reading
from feature_platform.use_cases import training
from feature_platform.wiring import Platform, open_platform

if TYPE_CHECKING:
    import dagster as dg
    import pandas as pd

__all__ = ["TrainingSet", "from_manifest", "read_version", "split_by_key", "split_by_time", "training_set", "training_set_asset"]


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A training set: its manifest, and its rows when they are asked for."""

    manifest: TrainingManifest
    platform: Platform

    def to_arrow(self) -> pa.Table:
        """Every row, from the kept file, whose bytes are compared with the manifest.

        Raises:
            NotFoundError: The file is gone.
            InvalidDataError: It was altered.
        """
        with self.platform.training_sets.open_rows(self.manifest.data) as rows:
            return pa.Table.from_batches(rows.batches(), schema=rows.schema)

    def to_pandas(self) -> "pd.DataFrame":
        return self.to_arrow().to_pandas()


def read_version(
    feature_set: str,
    version: str = "latest",
    *,
    at: datetime | None = None,
    known_at: KnownAt = "publication",
    platform: Platform | None = None,
) -> tuple[pa.Table, VersionMetadata]:
    """A published version's rows and its metadata, both compared with the log.

    Args:
        version: A version id, or ``latest``.
        at: Read the version that was known at this moment, instead of ``version``.
        known_at: In which sense it was known, see :func:`training_set`.

    Raises:
        NotFoundError: There is no such version, or retention removed it.
        InvalidDataError: A file is not the one that was published.
    """
    platform = platform or open_platform()
    chosen = version if at is None else reading.known_version(platform, feature_set, at, known_at=known_at)
    return reading.read_version(platform, feature_set, chosen)


def training_set(
    labels: Any,
    features: Sequence[str],
    *,
    known_at: KnownAt = "publication",
    ttl: timedelta | None = None,
    timestamp: str = "event_timestamp",
    split: Split | None = None,
    full_names: bool = False,
    out: str | None = None,
    platform: Platform | None = None,
) -> TrainingSet:
    """Features as they were known at each label's moment, kept with a manifest that makes the same bytes again.

    Args:
        labels: Rows with the join keys, a moment with a time zone, and whatever else is to be kept: a ``.parquet`` or ``.csv`` file, an
            Arrow table or a pandas data frame.
        features: ``<feature_set>:<feature>``, or ``<feature_set>`` for all of its features.
        known_at: ``publication``, what serving could have answered at that moment, or ``event``, what was true then as is known now.
        ttl: How old values may be; that of each contract where left out, any age for zero.
        timestamp: The labels' column of moments.
        split: How rows are divided: :func:`split_by_key` or :func:`split_by_time`.
        full_names: Whether feature columns are called ``<feature_set>__<feature>``.
        out: URI of the directory for the files, which go to ``<name>/`` in it; beside the feature sets where left out.

    Raises:
        InvalidDataError: Labels or features cannot be used; the message names every fault.
        NotFoundError: There is no such feature set, or nothing of it was published.
    """
    platform = platform or open_platform()
    wanted = training.Asked(tuple(features), known_at, ttl, timestamp, split, full_names)
    rows = rows_of(labels, types=_key_types(platform, features))
    made = training.create(platform, rows, wanted, now=datetime.now(UTC), actor=actor(), out=out)
    return TrainingSet(made, platform)


def from_manifest(name: str, *, platform: Platform | None = None) -> TrainingSet:
    """A training set that was made before, made again from its labels and versions and compared with what is kept.

    Raises:
        UnknownNameError: There is none of this name.
        NotFoundError: A file or version that it was made from is gone.
        InvalidDataError: A file or version was altered; the message names it.
    """
    platform = platform or open_platform()
    return TrainingSet(training.verify(platform, name), platform)


def training_set_asset(name: str, labels: "dg.AssetKey | str", features: Sequence[str], **asked: Any) -> "dg.AssetsDefinition":
    """A Dagster asset that makes a training set from the labels that another asset returns.

    Args:
        labels: The asset whose value is anything that :func:`training_set` takes as labels.
    """
    import dagster as dg

    from feature_platform.defs.feature_assets import latest_key

    @dg.asset(
        name=name,
        ins={"labels": dg.AssetIn(labels)},
        deps=[latest_key(feature_set) for feature_set in parse_features(features)],
        kinds={"parquet"},
        description=f"Training set of {', '.join(features)}, as they were known at each label's moment.",
    )
    def made(labels: Any) -> dg.MaterializeResult[str]:
        found = training_set(labels, features, **asked).manifest
        told: Mapping[str, Any] = {
            "dagster/row_count": found.data.rows,
            "dagster/uri": found.data.uri,
            "training_set": found.training_set,
            "content_hash": found.content_hash,
            "statuses": {item.feature_set: dict(item.statuses) for item in found.feature_sets},
        }
        return dg.MaterializeResult(value=found.training_set, metadata=told, data_version=dg.DataVersion(found.data.sha256))

    return made


def _key_types(platform: Platform, features: Sequence[str]) -> dict[str, pa.DataType]:
    """Types of the join keys, which a CSV file does not tell."""
    contracts = [platform.catalog.contract(feature_set) for feature_set in parse_features(features)]
    return {key: contract.arrow_schema.field(key).type for contract in contracts for key in contract.primary_keys}
