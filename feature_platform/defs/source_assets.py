"""Assets of a raw source: the raw objects of a day, and its validated events. What a feature set does with them does not belong here."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from feature_platform.adapters.events.raw_files import discover_raw
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawManifest
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.defs import presentation
from feature_platform.defs.partitions import partitions_of
from feature_platform.defs.summary import reported
from feature_platform.wiring import Platform

GROUP = "sources"


def raw_key(source: str) -> dg.AssetKey:
    """``raw_events`` for source ``events``."""
    return dg.AssetKey(f"raw_{source}")


def validated_key(source: str) -> dg.AssetKey:
    """``validated_events`` for source ``events``."""
    return dg.AssetKey(f"validated_{source}")


def raw_asset(source: SourceContract, *, partitions: dg.PartitionsDefinition, retry: dg.RetryPolicy) -> dg.AssetsDefinition:
    """The raw objects of a day: checked to exist, recorded by URI, ETag, size and rows. Copies nothing."""

    @dg.asset(
        key=raw_key(source.source),
        group_name=GROUP,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=retry,
        kinds={"s3"},
        owners=_owners(source.owner),
        description=f"Raw objects of source `{source.source}`, owned by upstream. {source.description}",
    )
    def raw(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
        with reported(context, feature_set=source.source) as report:
            started = time.monotonic()
            manifests = [
                discover_raw(platform.objects, platform.settings.raw_uri, source, partition=partition)
                for partition in partitions_of(context)
            ]
            rows = sum(manifest.rows for manifest in manifests)
            report.add(uri=platform.settings.raw_uri, rows=rows)
            for manifest in manifests:
                context.add_asset_metadata(_raw_metadata(manifest), partition_key=manifest.partition)
            return dg.MaterializeResult(
                metadata={"seconds": round(time.monotonic() - started, 3)}, data_version=dg.DataVersion(_etags(manifests))
            )

    return raw


def validated_asset(source: SourceContract, *, partitions: dg.PartitionsDefinition, retry: dg.RetryPolicy) -> dg.AssetsDefinition:
    """A day's good events; the bad ones go to quarantine with a reason each. Rows in = rows kept + rows quarantined."""

    @dg.asset(
        key=validated_key(source.source),
        deps=[raw_key(source.source)],
        group_name=GROUP,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=retry,
        kinds={"duckdb", "parquet"},
        owners=_owners(source.owner),
        description=f"Validated events of source `{source.source}`. Rejected rows lie in quarantine with a reason code each.",
    )
    def validated(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
        with reported(context, feature_set=source.source) as report:
            started = time.monotonic()
            days = []
            for partition in partitions_of(context):
                manifest = discover_raw(platform.objects, platform.settings.raw_uri, source, partition=partition)
                days.append(platform.engine.validate(source, manifest))
                context.log.info(f"{source.source} {partition}: kept {days[-1].kept} of {days[-1].rows_in} rows, {dict(days[-1].rejected)}")
            report.add(uri=platform.settings.work_uri, rows=sum(day.kept for day in days))
            for day in days:
                context.add_asset_metadata(validated_metadata(source, day), partition_key=day.partition)
            return dg.MaterializeResult(
                metadata={"seconds": round(time.monotonic() - started, 3)},
                data_version=dg.DataVersion("+".join(file.sha256[:16] for day in days for file in day.files)[:200]),
            )

    return validated


def validated_metadata(source: SourceContract, day: ValidatedDay) -> dict[str, Any]:
    """What the UI shows of a validated day."""
    return {
        presentation.ROW_COUNT: day.kept,
        presentation.COLUMN_SCHEMA: presentation.source_schema(source),
        presentation.URI: day.files[0].uri.rsplit("/", 1)[0] if day.files else "",
        "rows_in": day.rows_in,
        "rows_kept": day.kept,
        "rows_quarantined": day.quarantined,
        "rejected_ratio": day.quarantined / day.rows_in if day.rows_in else 0.0,
        "quarantined_by_reason": presentation.table([{"reason": reason, "rows": count} for reason, count in day.rejected.items()]),
        "source_hash": source.schema_hash,
        "bytes": sum(file.size_bytes for file in day.files),
        "files": presentation.table([{"uri": file.uri, "rows": file.rows, "sha256": file.sha256} for file in day.files]),
        "quarantine": presentation.table([{"uri": file.uri, "rows": file.rows} for file in day.quarantine]),
    }


def _raw_metadata(manifest: RawManifest) -> Mapping[str, Any]:
    objects = manifest.objects
    return {
        presentation.ROW_COUNT: manifest.rows,
        presentation.URI: objects[0].uri.rsplit("/", 1)[0] if objects else "",
        "objects": len(objects),
        "bytes": manifest.size_bytes,
        "ignored": ", ".join(manifest.ignored) or "none",
        "sources": presentation.table(
            [{"uri": o.uri, "etag": o.etag, "bytes": o.size_bytes, "rows": o.rows, "modified_at": o.modified_at} for o in objects]
        ),
    }


def _etags(manifests: Sequence[RawManifest]) -> str:
    return "+".join(item.etag.strip('"')[:12] for manifest in manifests for item in manifest.objects)[:200]


def _owners(owner: str) -> list[str] | None:
    """Dagster knows people by address and teams by name."""
    return None if not owner else [owner if "@" in owner else f"team:{owner}"]
