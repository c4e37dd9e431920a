"""Assets of a raw source: the raw objects of a day, and its validated events. What a feature set does with them does not belong here."""

from collections.abc import Iterator, Sequence

import dagster as dg

from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawManifest
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.defs import presentation
from feature_platform.defs.failures import Retry
from feature_platform.defs.partitions import SourceDays, each_day, leaves_finished_days, partitions_of, result_metadata
from feature_platform.defs.presentation import owners_of
from feature_platform.defs.summary import reported
from feature_platform.errors import NotFoundError
from feature_platform.use_cases.validate import discover, validate
from feature_platform.use_cases.validate import validated as validated_now
from feature_platform.wiring import Platform

GROUP = "sources"


def raw_key(source: str) -> dg.AssetKey:
    """``raw_events`` for source ``events``."""
    return dg.AssetKey(f"raw_{source}")


def validated_key(source: str) -> dg.AssetKey:
    """``validated_events`` for source ``events``."""
    return dg.AssetKey(f"validated_{source}")


def raw_asset(source: SourceContract, *, days: SourceDays, retry: Retry) -> dg.AssetsDefinition:
    """The raw objects of a day: checked to exist, recorded by URI, ETag, size and rows. Copies nothing.

    Where a run covers no day that upstream delivered, nothing is materialized and Dagster skips what rests on the source, and nothing else.
    """

    @dg.asset(
        key=raw_key(source.source),
        group_name=GROUP,
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
        output_required=False,
        kinds={"s3"},
        owners=owners_of(source.owner),
        description=f"Raw objects of source `{source.source}`, owned by upstream. {source.description}",
    )
    def raw(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Iterator[dg.MaterializeResult[None]]:
        found = None
        with reported(context, feature_set=source.source, retry=retry) as report:
            report.add(uri=platform.raw.uri)
            try:
                found = _raw_days(context, source, platform, days)
                report.add(objects=sum(len(manifest.objects) for manifest in found.values()))
            except NotFoundError as error:
                report.skip()
                _say_skipped(context, str(error))
        if found:
            told = result_metadata(context, {partition: presentation.raw_day(manifest) for partition, manifest in found.items()})
            yield dg.MaterializeResult(
                metadata={**told, "seconds": report.elapsed_s}, data_version=dg.DataVersion(_etags(list(found.values())))
            )

    return raw


def _raw_days(context: dg.AssetExecutionContext, source: SourceContract, platform: Platform, days: SourceDays) -> dict[str, RawManifest]:
    manifests = each_day(context, days, lambda partition: discover(platform, source, partition))
    for partition, manifest in manifests.items():
        if manifest.unknown_columns:
            named = ", ".join(manifest.unknown_columns)
            context.log.warning(f"{source.source} {partition}: columns that the source contract does not name: {named}")
    return manifests


def _say_skipped(context: dg.AssetExecutionContext, why: str) -> None:
    """Report it in the log and, as an observation of the asset, in its history."""
    context.log.warning(f"Skipped, and with it what rests on this source: {why}")
    covered = partitions_of(context)
    partition = covered[0] if len(covered) == 1 else None
    context.log_event(dg.AssetObservation(context.asset_key, partition=partition, description=why, metadata={"skipped": why}))


def validated_asset(source: SourceContract, *, days: SourceDays, retry: Retry) -> dg.AssetsDefinition:
    """A day's good events; the bad ones go to quarantine with a reason each. Rows in = rows kept + rows quarantined."""

    @dg.asset(
        key=validated_key(source.source),
        deps=[raw_key(source.source)],
        group_name=GROUP,
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
        kinds={"duckdb", "parquet"},
        owners=owners_of(source.owner),
        description=f"Validated events of source `{source.source}`. Rejected rows lie in quarantine with a reason code each.",
    )
    def validated(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
        with reported(context, feature_set=source.source, retry=retry) as report:

            def validated_day(partition: str) -> ValidatedDay:
                found = validated_now(platform, source, partition, on_validated=lambda _: None) if leaves_finished_days(context) else None
                day = found or validate(platform, source, partition)
                context.log.info(f"{source.source} {partition}: kept {day.kept} of {day.rows_in} rows, {dict(day.rejected)}")
                return day

            done = each_day(context, days, validated_day)
            report.add(uri=platform.settings.work_uri, rows=sum(day.kept for day in done.values()))
            told = result_metadata(context, {partition: presentation.validated_day(source, day) for partition, day in done.items()})
            return dg.MaterializeResult(
                metadata={**told, "seconds": report.elapsed_s},
                data_version=dg.DataVersion("+".join(file.sha256[:16] for day in done.values() for file in day.files)[:200]),
            )

    return validated


def _etags(manifests: Sequence[RawManifest]) -> str:
    return "+".join(item.etag.strip('"')[:12] for manifest in manifests for item in manifest.objects)[:200]
