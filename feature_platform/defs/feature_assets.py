"""Assets of a feature set: tiles of its days, its versions, and the latest pointer. Serving is ``defs.serving_assets``."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dagster as dg

from feature_platform.core.compute.tiles import has_tiles
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.core.publishing.publication import CommittedVersion
from feature_platform.defs import presentation
from feature_platform.defs.failures import Retry
from feature_platform.defs.partitions import SourceDays, each_day, leaves_finished_days, newer_days, partitions_of, result_metadata
from feature_platform.defs.presentation import owners_of
from feature_platform.defs.source_assets import validated_key
from feature_platform.defs.summary import reported, run_id_of
from feature_platform.use_cases.build import FeatureBuild, FeatureBuilds, build, keep
from feature_platform.use_cases.contracts import contract_of, require_announced
from feature_platform.use_cases.currency import look_at, standing
from feature_platform.use_cases.promote import LatestMove, move_latest
from feature_platform.use_cases.validate import raw_pins
from feature_platform.wiring import Platform

IO_MANAGER_KEY = "feature_set_io_manager"


def latest_key(feature_set: str) -> dg.AssetKey:
    """``user_features_latest`` for ``user_features``."""
    return dg.AssetKey(f"{feature_set}_latest")


def serving_pool(feature_set: str) -> str:
    """The pool of the steps that move latest or load online: of all runs together, the instance lets one such step work at a time."""
    return f"{feature_set}_serving"


def tiles_key(feature_set: str) -> dg.AssetKey:
    """``user_features_tiles`` for ``user_features``."""
    return dg.AssetKey(f"{feature_set}_tiles")


def tiles_asset(contract: Contract, *, days: SourceDays, retry: Retry) -> dg.AssetsDefinition:
    """The tiles of a day: a window with that day can read them instead of the day's events."""

    @dg.asset(
        key=tiles_key(contract.feature_set),
        deps=[validated_key(name) for name in contract.source_names],
        group_name=contract.feature_set,
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
        kinds={"duckdb", "parquet"},
        owners=owners_of(contract.owner),
        description=f"What `{contract.feature_set}` keeps of each day, so that a window merges its days and reads no event twice.",
    )
    def tiles(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
        with reported(context, feature_set=contract.feature_set, retry=retry, is_last=False) as report:
            told = _told(context, platform)
            kept = each_day(context, days, lambda day: keep(platform, contract, day, on_validated=told))
            report.add(uri=platform.settings.work_uri, rows=sum(tile.rows for tiles in kept.values() for tile in tiles))
            metadata = result_metadata(context, {partition: presentation.tiles(found) for partition, found in kept.items()})
            return dg.MaterializeResult(
                metadata={**metadata, "seconds": report.elapsed_s},
                data_version=dg.DataVersion("+".join(tile.events[:16] for tiles in kept.values() for tile in tiles)[:200]),
            )

    return tiles


def features_asset(
    contract: Contract, sources: Sequence[SourceContract], *, days: SourceDays, retry: Retry, change: str = "none"
) -> dg.AssetsDefinition:
    """A feature set's versions: one for each day of its source, computed from the validated days of its window.

    Args:
        change: How the contract differs from the one that latest was built by, for people.
    """
    windows = {validated_key(part.source): part.window_days for part in contract.parts}
    if has_tiles(contract):
        windows[tiles_key(contract.feature_set)] = contract.window_days
    windows |= {dg.AssetKey(name): 1 for name in contract.feature_sets}

    @dg.asset(
        key=contract.feature_set,
        deps=[dg.AssetDep(key, partition_mapping=_window(days_read)) for key, days_read in windows.items()],
        group_name=contract.feature_set,
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key=IO_MANAGER_KEY,
        dagster_type=dg.Any,  # Dagster's types know no unions; mypy checks the annotation
        code_version=contract.schema_hash[:16],
        kinds={"duckdb", "s3"},
        owners=owners_of(contract.owner),
        description=contract.description or f"Versions of feature set `{contract.feature_set}`, one for each day.",
        metadata={
            presentation.COLUMN_SCHEMA: presentation.contract_schema(contract),
            presentation.COLUMN_LINEAGE: presentation.lineage(contract, {validated_key(source.source): source for source in sources}),
            "schema_hash": contract.schema_hash,
            "change_against_latest": change,
        },
    )
    def features(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> FeatureBuilds:
        with reported(context, feature_set=contract.feature_set, retry=retry, is_last=False) as report:
            require_announced(platform, contract)
            told = _told(context, platform)
            run_id, versions, leaves = run_id_of(context), len(partitions_of(context)), leaves_finished_days(context)

            def made(day: str) -> FeatureBuild | CommittedVersion:
                found = standing(platform, contract, day) if leaves else None
                return found or build(platform, contract, day, run_id=run_id, on_validated=told, versions=versions)

            builds = each_day(context, days, made)
            for day, built in builds.items():
                said = f"reads {built.window.told}" if isinstance(built, FeatureBuild) else f"unchanged, stands as {built.version}"
                context.log.info(f"{contract.feature_set} {day}: {said}")
            context.add_output_metadata({"seconds": report.elapsed_s})
            return builds

    return features


def _window(days: int) -> dg.TimeWindowPartitionMapping:
    return dg.TimeWindowPartitionMapping(start_offset=1 - days, end_offset=0, allow_nonexistent_upstream_partitions=True)


def _told(context: dg.AssetExecutionContext, platform: Platform) -> Callable[[ValidatedDay], None]:
    """A function that records a day which had to be validated for a window: as a materialization of the validated asset."""

    def tell(day: ValidatedDay) -> None:
        source = platform.catalog.sources[day.source]
        context.log.info(f"{source.source} {day.partition} lies in the window and was not validated under this contract; now it is.")
        context.log_event(
            dg.AssetMaterialization(validated_key(source.source), partition=day.partition, metadata=presentation.validated_day(source, day))
        )

    return tell


def latest_asset(contract: Contract, *, retry: Retry) -> dg.AssetsDefinition:
    """The latest pointer: moved to the newest version that passes every check, and shown in ``latest/``.

    In a backfill that has a run for each day only the run of the newest delivered day moves it; the others skip it and the online asset.
    """

    @dg.asset(
        key=latest_key(contract.feature_set),
        deps=[dg.AssetDep(contract.feature_set, partition_mapping=dg.AllPartitionMapping())],
        group_name=contract.feature_set,
        pool=serving_pool(contract.feature_set),
        output_required=False,
        backfill_policy=dg.BackfillPolicy.single_run(),  # `dagster asset materialize --partition-range` needs it on every selected asset
        kinds={"s3"},
        owners=owners_of(contract.owner),
        description=f"`latest/` of {contract.feature_set}: four files of the newest version that passed its checks; what Feast reads.",
    )
    def latest(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Iterator[dg.MaterializeResult[None]]:
        with reported(context, feature_set=contract.feature_set, retry=retry) as report:
            sources = platform.catalog.sources_of(contract)
            newest = next((day for day in newer_days(context) if all(raw_pins(platform, source, day) for source in sources)), None)
            if newest is not None:
                why = f"Latest and online follow once, with the run of {newest}: the newest day of the same backfill that was delivered."
                report.skip()
                context.log.info(why)
                context.log_event(dg.AssetObservation(context.asset_key, description=why, metadata={"skipped": why}))
                return
            move = move_latest(platform, contract, actor=f"dagster run {run_id_of(context)}", log=context.log.info)
            metadata = _latest_metadata(platform, contract, move)
            report.add(version=move.version.version, uri=metadata[presentation.URI], rows=metadata[presentation.ROW_COUNT])
            yield dg.MaterializeResult(
                metadata={**metadata, "seconds": report.elapsed_s},
                data_version=dg.DataVersion(f"{move.version.version}@{move.sequence}"),
            )

    return latest


def _latest_metadata(platform: Platform, contract: Contract, move: LatestMove) -> dict[str, Any]:
    facts = platform.feature_sets.metadata(contract.feature_set, move.version.version)
    return {
        presentation.ROW_COUNT: facts.row_count,
        presentation.COLUMN_SCHEMA: presentation.contract_schema(contract_of(platform, contract, move.version)),
        presentation.URI: platform.feature_sets.layout(contract.feature_set).latest,
        "version": move.version.version,
        "sequence": move.sequence,
        "previous": move.previous or "",
        "has_moved": move.has_moved,
        "as_of": facts.document["as_of"],
        "schema_hash": facts.schema_hash,
        "content_hash": facts.content_hash,
        "bytes": facts.size_bytes,
        "missing_partitions": ", ".join(facts.missing_partitions) or "none",
        "changed_days": presentation.changed_days(look_at(platform, contract, move.version.version)),
        "refused": presentation.table([{"refused": line} for line in move.refused]) if move.refused else "none",
    }
