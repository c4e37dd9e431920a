"""The project's only ``Definitions``. Importing this does nothing; Dagster calls :func:`defs` when it loads the code location."""

import warnings
from collections.abc import Sequence

import dagster as dg

from feature_platform.defs import automation, checks, feature_assets, serving_assets, source_assets
from feature_platform.defs.failures import RETRY_DELAY_S, Retry
from feature_platform.defs.io_manager import S3FeatureSetIOManager
from feature_platform.defs.partitions import daily_partitions
from feature_platform.wiring import Platform, open_platform


def build_definitions(platform: Platform, *, retry_delay_s: float = RETRY_DELAY_S) -> dg.Definitions:
    """Everything Dagster knows, derived from one platform's contracts.

    Args:
        platform: The environment; tests pass one of their own.
        retry_delay_s: Pause before the one retry of a step.
    """
    settings, catalog = platform.settings, platform.catalog
    job = automation.features_job()
    with warnings.catch_warnings():
        # Single-run backfills and windows that begin before the first partition are marked beta in the Dagster that uv.lock pins; the
        # tests of the main job hold both, so the note at every load helps nobody.
        warnings.simplefilter("ignore", dg.BetaWarning)
        assets = _assets(platform, retry=Retry(retry_delay_s))
    return dg.Definitions(
        assets=assets,
        asset_checks=_checks(platform, retry=Retry(retry_delay_s)),
        jobs=[job],
        schedules=[automation.daily_schedule(job, settings=settings)],
        sensors=[automation.raw_sensor(catalog, job=job, settings=settings), *automation.slack_sensors(settings)],
        # Steps follow one another, and each new process would import Dagster, Arrow and Feast again (ten seconds a step); on Kubernetes a
        # run has a pod of its own.
        executor=dg.in_process_executor,
        resources={"platform": platform, feature_assets.IO_MANAGER_KEY: S3FeatureSetIOManager(platform)},
    )


def _assets(platform: Platform, *, retry: Retry) -> Sequence[dg.AssetsDefinition]:
    catalog, partitions = platform.catalog, daily_partitions(platform.settings.start_date)
    assets: list[dg.AssetsDefinition] = []
    for source in catalog.sources.values():
        assets += [
            source_assets.raw_asset(source, partitions=partitions, retry=retry),
            source_assets.validated_asset(source, partitions=partitions, retry=retry),
        ]
    for contract in catalog.contracts.values():
        assets += [
            feature_assets.features_asset(contract, catalog.source_of(contract), partitions=partitions, retry=retry),
            feature_assets.latest_asset(contract, retry=retry),
            serving_assets.online_asset(contract, retry=retry),
        ]
    return assets


def _checks(platform: Platform, *, retry: Retry) -> Sequence[dg.AssetChecksDefinition]:
    return [
        check
        for contract in platform.catalog.contracts.values()
        for check in (
            checks.version_checks(contract, retry=retry),
            checks.parity_check(contract, asset=serving_assets.online_key(contract.feature_set), retry=retry),
        )
    ]


@dg.definitions
def defs() -> dg.Definitions:
    """The code location of the environment that the variables name.

    Raises:
        ConfigurationError: Settings are missing or wrong; every fault is listed.
        ContractError: A contract is wrong; every fault is listed.
    """
    return build_definitions(open_platform())
