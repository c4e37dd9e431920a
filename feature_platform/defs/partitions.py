"""Time: daily UTC partitions, and which partitions a run covers. How a partition names a version does not belong here (``core.layout``)."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg


def daily_partitions(start_date: date) -> dg.DailyPartitionsDefinition:
    """One partition for each whole UTC day since ``start_date``."""
    return dg.DailyPartitionsDefinition(start_date=start_date.isoformat(), timezone="UTC")


def partitions_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Sequence[str]:
    """The partitions that a step covers, oldest first; none for a step outside partitions."""
    if not context.has_partition_key and not context.has_partition_key_range:
        return ()
    return sorted(context.partition_keys)


def result_metadata(context: dg.AssetExecutionContext, by_partition: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """What a step returns as its metadata: that of its one partition; of several, each is attached to its own partition."""
    if len(by_partition) == 1:
        return next(iter(by_partition.values()))
    for partition, metadata in by_partition.items():
        context.add_asset_metadata(metadata, partition_key=partition)
    return {}
