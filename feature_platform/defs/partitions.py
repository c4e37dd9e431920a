"""Time: daily UTC partitions, and which partitions a run covers. How a partition names a version does not belong here (``core.layout``)."""

from collections.abc import Sequence
from datetime import date

import dagster as dg


def daily_partitions(start_date: date) -> dg.DailyPartitionsDefinition:
    """One partition for each whole UTC day since ``start_date``."""
    return dg.DailyPartitionsDefinition(start_date=start_date.isoformat(), timezone="UTC")


def partitions_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Sequence[str]:
    """The partitions that a step covers, oldest first; none for a step outside partitions."""
    if not context.has_partition_key and not context.has_partition_key_range:
        return ()
    return sorted(context.partition_keys)
