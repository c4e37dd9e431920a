"""Assets of a feature set: its versions, and the latest pointer. Serving does not belong here (``defs.serving_assets``)."""

import time
from importlib.metadata import version as installed_version
from typing import Any

import dagster as dg

from feature_platform.adapters.events.raw_files import discover_raw
from feature_platform.core import layout
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.core.versions.metadata import Provenance, SourceObject
from feature_platform.defs import presentation
from feature_platform.defs.builds import FeatureBuild, FeatureBuilds
from feature_platform.defs.partitions import partitions_of
from feature_platform.defs.source_assets import validated_key, validated_metadata
from feature_platform.defs.summary import reported
from feature_platform.errors import InvalidDataError, NotFoundError
from feature_platform.use_cases.serve import LatestMove, move_latest
from feature_platform.wiring import Platform

IO_MANAGER_KEY = "feature_set_io_manager"


def latest_key(feature_set: str) -> dg.AssetKey:
    """``user_features_latest`` for ``user_features``."""
    return dg.AssetKey(f"{feature_set}_latest")


def features_asset(
    contract: Contract, source: SourceContract, *, partitions: dg.TimeWindowPartitionsDefinition, retry: dg.RetryPolicy
) -> dg.AssetsDefinition:
    """A feature set's versions: one for each daily partition, computed from the validated events of its window."""
    upstream = validated_key(contract.source)
    window = dg.TimeWindowPartitionMapping(start_offset=1 - contract.window_days, end_offset=0, allow_nonexistent_upstream_partitions=True)

    @dg.asset(
        key=contract.feature_set,
        deps=[dg.AssetDep(upstream, partition_mapping=window)],
        group_name=contract.feature_set,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=retry,
        io_manager_key=IO_MANAGER_KEY,
        code_version=contract.schema_hash[:16],
        kinds={"duckdb", "s3"},
        owners=[contract.owner if "@" in contract.owner else f"team:{contract.owner}"] if contract.owner else None,
        description=contract.description or None,
        metadata={
            presentation.COLUMN_SCHEMA: presentation.contract_schema(contract),
            presentation.COLUMN_LINEAGE: presentation.lineage(contract, upstream=upstream, source=source),
            "schema_hash": contract.schema_hash,
        },
    )
    def features(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> FeatureBuilds:
        with reported(context, feature_set=contract.feature_set, is_last=False):
            started = time.monotonic()
            builds = {key: build_partition(context, platform, contract, source, partition=key) for key in partitions_of(context)}
            context.add_output_metadata({"seconds": round(time.monotonic() - started, 3)})
            return builds

    return features


def build_partition(
    context: dg.AssetExecutionContext, platform: Platform, contract: Contract, source: SourceContract, *, partition: str
) -> FeatureBuild:
    """The rows of one partition, from the validated events of its window.

    Raises:
        InvalidDataError: Upstream delivered nothing for the partition itself.
    """
    moment = layout.as_of(partition)
    wanted = layout.window_partitions(moment, days=contract.window_days)
    first = platform.settings.start_date.isoformat()
    found = {key: _validated_day(context, platform, source, partition=key) for key in wanted if key >= first or key == partition}
    days = [day for day in found.values() if day is not None]
    if found[partition] is None:
        raise InvalidDataError(
            f"{contract.feature_set} {partition}: no validated events of {source.source!r}; expected that day's. Load it."
        )
    sources = [SourceObject(o.uri, o.etag, o.size_bytes, day.partition) for day in days for o in day.raw.objects]
    provenance = Provenance(
        sources=sources,
        partitions=[day.partition for day in days],
        missing_partitions=[key for key in wanted if found.get(key) is None],
        code_version=installed_version("feature-platform"),
        run_id=context.run.run_id,
        extra={"source_hash": source.schema_hash, "sql_hash": contract.sql_hash},
    )
    return FeatureBuild(table=platform.engine.build(contract, source, as_of=moment, days=days), as_of=moment, provenance=provenance)


def _validated_day(context: dg.AssetExecutionContext, platform: Platform, source: SourceContract, *, partition: str) -> ValidatedDay | None:
    """A day of the window; validated here and now where upstream has it and nobody validated it yet, None where upstream has nothing.

    Without this a single partition could be built only after its whole window was, or would silently lack days that exist.
    """
    day = platform.engine.read_day(source, partition)
    if day is not None and day.source_hash == source.schema_hash:
        return day
    try:
        manifest = discover_raw(platform.objects, platform.settings.raw_uri, source, partition=partition)
    except NotFoundError:
        return None
    context.log.info(f"{source.source} {partition} lies in the window and was not validated under this contract yet; doing so now.")
    day = platform.engine.validate(source, manifest)
    context.log_event(dg.AssetMaterialization(validated_key(source.source), partition=partition, metadata=validated_metadata(source, day)))
    return day


def latest_asset(contract: Contract, *, retry: dg.RetryPolicy) -> dg.AssetsDefinition:
    """The latest pointer: moved to the newest version that passes every check, and shown in ``latest/``."""

    @dg.asset(
        key=latest_key(contract.feature_set),
        deps=[dg.AssetDep(contract.feature_set, partition_mapping=dg.AllPartitionMapping())],
        group_name=contract.feature_set,
        backfill_policy=dg.BackfillPolicy.single_run(),  # `dagster asset materialize --partition-range` asks it of every asset selected
        retry_policy=retry,
        kinds={"s3"},
        description=f"`latest/` of {contract.feature_set}: four files of the newest version that passed its checks; what Feast reads.",
    )
    def latest(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
        with reported(context, feature_set=contract.feature_set) as report:
            started = time.monotonic()
            move = move_latest(platform, contract, actor=f"dagster run {context.run.run_id}", log=context.log.info)
            metadata = _latest_metadata(platform, contract, move)
            report.add(version=move.version.version, uri=metadata[presentation.URI], rows=metadata[presentation.ROW_COUNT])
            return dg.MaterializeResult(
                metadata={**metadata, "seconds": round(time.monotonic() - started, 3)},
                data_version=dg.DataVersion(f"{move.version.version}@{move.sequence}"),
            )

    return latest


def _latest_metadata(platform: Platform, contract: Contract, move: LatestMove) -> dict[str, Any]:
    facts = platform.feature_sets.metadata(contract.feature_set, move.version.version)
    return {
        presentation.ROW_COUNT: facts["row_count"],
        presentation.COLUMN_SCHEMA: presentation.contract_schema(contract),
        presentation.URI: platform.feature_sets.layout(contract.feature_set).latest,
        "version": move.version.version,
        "sequence": move.sequence,
        "previous": move.previous or "",
        "has_moved": move.has_moved,
        "as_of": facts["as_of"],
        "schema_hash": facts["schema_hash"],
        "content_hash": facts["content_hash"],
        "bytes": sum(file["bytes"] for file in facts["files"].values()),
        "refused": presentation.table([{"refused": line} for line in move.refused]) if move.refused else "none",
    }
