"""The asset that serves a feature set: applies latest's own contract to Feast, loads its rows. Loading belongs to ``use_cases.serve``."""

import time
from collections.abc import Callable
from typing import Final

import dagster as dg

from feature_platform.core.contract.feature_set import Contract
from feature_platform.defs import presentation
from feature_platform.defs.failures import Retry
from feature_platform.defs.feature_assets import latest_key, serving_pool
from feature_platform.defs.presentation import owners_of
from feature_platform.defs.summary import reported
from feature_platform.use_cases.currency import look_at
from feature_platform.use_cases.serve import serve
from feature_platform.wiring import Platform

PROGRESS_S: Final = 5.0


def online_key(feature_set: str) -> dg.AssetKey:
    """``user_features_online`` for ``user_features``."""
    return dg.AssetKey(f"{feature_set}_online")


def online_asset(contract: Contract, *, retry: Retry) -> dg.AssetsDefinition:
    """The asset after whose materialization online values equal the published file."""

    @dg.asset(
        key=online_key(contract.feature_set),
        deps=[latest_key(contract.feature_set)],
        group_name=contract.feature_set,
        pool=serving_pool(contract.feature_set),
        backfill_policy=dg.BackfillPolicy.single_run(),  # `dagster asset materialize --partition-range` asks it of every asset selected
        kinds={"feast", "redis"},
        owners=owners_of(contract.owner),
        description=f"{contract.feature_set} as Feast serves it from Redis: the rows of `latest/`, all of them and no others.",
    )
    def online(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
        with reported(context, feature_set=contract.feature_set, retry=retry) as report:
            served = serve(platform, contract.feature_set, progress=_told(context))
            load = served.load
            report.add(version=load.version, uri=f"redis {platform.project}:{contract.feature_set}", rows=load.rows)
            return dg.MaterializeResult(
                metadata={
                    presentation.ROW_COUNT: load.rows,
                    presentation.COLUMN_SCHEMA: presentation.contract_schema(served.contract),
                    presentation.URI: platform.settings.redis.split(",", 1)[0],
                    "version": load.version,
                    "sequence": load.sequence,
                    "schema_hash": load.marker.target.schema_hash,
                    "served_since": load.marker.since,
                    "changed_days": presentation.changed_days(look_at(platform, contract, load.version)),
                    "rows_written": load.written,
                    "every_row_because": load.full_because or "",
                    "entities_removed": load.removed + load.swept,
                    "seconds": served.elapsed_s,
                },
                data_version=dg.DataVersion(f"{load.version}@{load.sequence}"),
            )

    return online


def _told(context: dg.AssetExecutionContext) -> Callable[[int, int], None]:
    """Progress in the run's log, at most once every few seconds."""
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_S:
            last = time.monotonic()
            context.log.info(f"loaded {done:,} of {total:,} rows")

    return tell
