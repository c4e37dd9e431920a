"""Build one partition of a feature set: which days its window reads, and where its rows came from. Computing belongs to the engine."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version as installed_version

from feature_platform.core import layout
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.core.versions.feature_table import FeatureTable
from feature_platform.core.versions.metadata import Provenance, SourceObject
from feature_platform.errors import InvalidDataError, NotFoundError
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.validate import first_day, validated


@dataclass(frozen=True, slots=True)
class FeatureBuild:
    """One partition's rows, the moment they are true as of, and where they came from."""

    table: FeatureTable
    as_of: datetime
    provenance: Provenance


FeatureBuilds = Mapping[str, FeatureBuild]
"""Partition key → build; one entry for each partition that a run covers."""


def build(
    platform: Platform, contract: Contract, partition: str, *, run_id: str, on_validated: Callable[[ValidatedDay], object]
) -> FeatureBuild:
    """The rows of one partition, from the validated events of its window.

    Args:
        platform: The environment.
        contract: The feature set.
        partition: The day whose end is the as-of moment.
        run_id: Which run builds; recorded in the metadata.
        on_validated: Hears of days of the window that had to be validated now.

    Raises:
        NotFoundError: Upstream delivered nothing for the partition itself.
        InvalidDataError: The window lacks a day and the contract refuses that, or the rows break the contract.
    """
    source, moment = platform.catalog.source_of(contract), layout.as_of(partition)
    window = layout.window_partitions(moment, days=contract.window_days)
    first = first_day(platform, source)
    possible = [key for key in window if key >= first or key == partition]
    own = validated(platform, source, partition, on_validated=on_validated)
    if own is None:
        raise NotFoundError(
            f"{contract.feature_set} {partition}: source {source.source!r} has no raw objects for that day; expected at least one. "
            "Have upstream deliver the day."
        )
    found = {key: own if key == partition else validated(platform, source, key, on_validated=on_validated) for key in possible}
    missing = [key for key, day in found.items() if day is None]
    if missing and contract.missing_days == "refuse":
        raise InvalidDataError(
            f"{contract.feature_set} {partition}: the window lacks {', '.join(missing)} of source {source.source!r}; expected every day "
            f"since {max(first, window[0])} (missing_days: refuse). Have upstream deliver them, or let the contract warn."
        )
    earlier = [key for key in window if key not in found]
    provenance = _provenance(contract, source, found, earlier=earlier, run_id=run_id)
    days = [day for day in found.values() if day is not None]
    return FeatureBuild(table=platform.engine.build(contract, source, as_of=moment, days=days), as_of=moment, provenance=provenance)


def _provenance(
    contract: Contract, source: SourceContract, window: Mapping[str, ValidatedDay | None], *, earlier: Sequence[str], run_id: str
) -> Provenance:
    days = [day for day in window.values() if day is not None]
    return Provenance(
        sources=[SourceObject(o.uri, o.etag, o.size_bytes, day.partition) for day in days for o in day.raw.objects],
        partitions=[day.partition for day in days],
        missing_partitions=[key for key, day in window.items() if day is None],
        earlier_partitions=earlier,
        code_version=installed_version("feature-platform"),
        run_id=run_id,
        extra={"source_hash": source.schema_hash, "sql_hash": contract.sql_hash},
    )
