"""The asset ``platform_health``: the state of every feature set at one moment, for who looks at Dagster.

Telling people does not belong here: Dagster cannot tell of its own death (``feature-platform watch``).
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import dagster as dg

from feature_platform.core.contract.catalog import Catalog
from feature_platform.defs.failures import Retry, as_dagster_failures
from feature_platform.defs.jobs import HEALTH
from feature_platform.defs.presentation import owners_of, table
from feature_platform.defs.serving_assets import online_key
from feature_platform.use_cases.health import health
from feature_platform.wiring import Platform


def health_asset(catalog: Catalog, *, retry: Retry, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> dg.AssetsDefinition:
    """One row for each feature set; a check of its name fails where the set is failing."""
    names = sorted(catalog.contracts)

    @dg.asset(
        key=HEALTH,
        deps=[online_key(name) for name in names],
        group_name="platform",
        backfill_policy=dg.BackfillPolicy.single_run(),  # `dagster asset materialize --partition-range` asks it of every asset selected
        kinds={"s3", "redis"},
        owners=sorted({owner for contract in catalog.contracts.values() for owner in owners_of(contract.owner)}),
        description="Each feature set from raw data to what is online: healthy, late, degraded or failing, why, and the remedy.",
        check_specs=[dg.AssetCheckSpec(name, asset=HEALTH, description=f"Readers of {name} get what was published.") for name in names],
    )
    def platform_health(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        retry.pause(context)
        with as_dagster_failures():
            states = [health(platform, platform.catalog.contract(name), now=clock()) for name in names]
        yield dg.MaterializeResult(metadata={"states": table([state.row() for state in states])})
        for state in states:
            told = f"{state.state}: {state.why}" if state.problems else state.state
            yield dg.AssetCheckResult(check_name=state.feature_set, passed=state.state != "failing", description=told)

    return platform_health
