"""Assets of a raw source: the raw objects of a day, and its validated events. What a feature set does with them does not belong here."""

import time
from collections.abc import Sequence

import dagster as dg

from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawManifest
from feature_platform.defs import presentation
from feature_platform.defs.failures import Retry
from feature_platform.defs.ownership import owners_of
from feature_platform.defs.partitions import partitions_of, result_metadata
from feature_platform.defs.summary import reported
from feature_platform.use_cases.validate import validate
from feature_platform.wiring import Platform

GROUP = "sources"


def raw_key(source: str) -> dg.AssetKey:
    """``raw_events`` for source ``events``."""
    return dg.AssetKey(f"raw_{source}")


def validated_key(source: str) -> dg.AssetKey:
    """``validated_events`` for source ``events``."""
    return dg.AssetKey(f"validated_{source}")


def raw_asset(source: SourceContract, *, partitions: dg.PartitionsDefinition, retry: Retry) -> dg.AssetsDefinition:
    """The raw objects of a day: checked to exist, recorded by URI, ETag, size and rows. Copies nothing."""

    @dg.asset(
        key=raw_key(source.source),
        group_name=GROUP,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        kinds={"s3"},
        owners=owners_of(source.owner),
        description=f"Raw objects of source `{source.source}`, owned by upstream. {source.description}",
    )
    def raw(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
        with reported(context, feature_set=source.source, retry=retry) as report:
            started = time.monotonic()
            manifests = [platform.raw.discover(source, partition) for partition in partitions_of(context)]
            report.add(uri=platform.raw.uri, objects=sum(len(manifest.objects) for manifest in manifests))
            for manifest in manifests:
                if manifest.unknown_columns:
                    named = ", ".join(manifest.unknown_columns)
                    context.log.warning(f"{source.source} {manifest.partition}: columns that the source contract does not name: {named}")
            told = result_metadata(context, {manifest.partition: presentation.raw_day(manifest) for manifest in manifests})
            return dg.MaterializeResult(
                metadata={**told, "seconds": round(time.monotonic() - started, 3)}, data_version=dg.DataVersion(_etags(manifests))
            )

    return raw


def validated_asset(source: SourceContract, *, partitions: dg.PartitionsDefinition, retry: Retry) -> dg.AssetsDefinition:
    """A day's good events; the bad ones go to quarantine with a reason each. Rows in = rows kept + rows quarantined."""

    @dg.asset(
        key=validated_key(source.source),
        deps=[raw_key(source.source)],
        group_name=GROUP,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        kinds={"duckdb", "parquet"},
        owners=owners_of(source.owner),
        description=f"Validated events of source `{source.source}`. Rejected rows lie in quarantine with a reason code each.",
    )
    def validated(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
        with reported(context, feature_set=source.source, retry=retry) as report:
            started = time.monotonic()
            days = []
            for partition in partitions_of(context):
                days.append(validate(platform, source, partition))
                context.log.info(f"{source.source} {partition}: kept {days[-1].kept} of {days[-1].rows_in} rows, {dict(days[-1].rejected)}")
            report.add(uri=platform.settings.work_uri, rows=sum(day.kept for day in days))
            told = result_metadata(context, {day.partition: presentation.validated_day(source, day) for day in days})
            return dg.MaterializeResult(
                metadata={**told, "seconds": round(time.monotonic() - started, 3)},
                data_version=dg.DataVersion("+".join(file.sha256[:16] for day in days for file in day.files)[:200]),
            )

    return validated


def _etags(manifests: Sequence[RawManifest]) -> str:
    return "+".join(item.etag.strip('"')[:12] for manifest in manifests for item in manifest.objects)[:200]
