"""The project's only ``Definitions``; importing this does nothing. What assets, checks and jobs do does not belong here (``defs``)."""

import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import dagster as dg

from feature_platform.core.compute.tiles import has_tiles
from feature_platform.defs import automation, checks, feature_assets, health_asset, jobs, serving_assets, source_assets
from feature_platform.defs.contract_changes import changes_at_load
from feature_platform.defs.failures import RETRY_DELAY_S, Retry
from feature_platform.defs.io_manager import S3FeatureSetIOManager
from feature_platform.defs.partitions import days_since
from feature_platform.use_cases.validate import begins, first_day
from feature_platform.wiring import Platform, open_platform


def build_definitions(
    platform: Platform, *, retry_delay_s: float = RETRY_DELAY_S, changes: Mapping[str, str] = MappingProxyType({})
) -> dg.Definitions:
    """Everything Dagster knows, derived from one platform's contracts.

    Args:
        platform: The environment; tests pass one of their own.
        retry_delay_s: Pause before the one retry of a step.
        changes: Feature set → how its contract differs from what is published, for people to see.
    """
    settings, catalog = platform.settings, platform.catalog
    everything, parts, health = jobs.features_job(settings.start_date), jobs.jobs_of_parts(catalog), jobs.health_job()
    runs_by_itself = settings.env != "local"
    with warnings.catch_warnings():
        # Single-run backfills and windows that begin before the first partition are marked beta in the Dagster that uv.lock pins. The
        # tests of the main job cover both, so a warning at every load would help nobody.
        warnings.simplefilter("ignore", dg.BetaWarning)
        assets = _assets(platform, retry=Retry(retry_delay_s), changes=changes)
    return dg.Definitions(
        assets=assets,
        asset_checks=_checks(platform, retry=Retry(retry_delay_s)),
        jobs=[everything, *parts, health],
        # In dev and prod the schedule of everything is on. A person switches it on on a laptop, and those of parts everywhere.
        schedules=[
            jobs.daily_schedule(everything, is_running=runs_by_itself),
            *(jobs.daily_schedule(part, is_running=False) for part in parts),
            jobs.hourly_schedule(health, is_running=runs_by_itself),
        ],
        sensors=[automation.raw_sensor(catalog, job=everything, settings=settings), *automation.slack_sensors(settings)],
        # Steps follow one another, and each new process would import Dagster, Arrow and Feast again (ten seconds a step); on Kubernetes a
        # run has a pod of its own.
        executor=dg.in_process_executor,
        resources={"platform": platform, feature_assets.IO_MANAGER_KEY: S3FeatureSetIOManager(platform)},
    )


def _assets(platform: Platform, *, retry: Retry, changes: Mapping[str, str]) -> Sequence[dg.AssetsDefinition]:
    catalog = platform.catalog
    days = {name: days_since(first_day(platform, source)) for name, source in catalog.sources.items()}
    assets: list[dg.AssetsDefinition] = []
    for name, source in catalog.sources.items():
        assets += [
            source_assets.raw_asset(source, days=days[name], retry=retry),
            source_assets.validated_asset(source, days=days[name], retry=retry),
        ]
    for name, contract in catalog.contracts.items():
        own_days = days_since(begins(platform, contract))
        if has_tiles(contract):
            assets.append(feature_assets.tiles_asset(contract, days=own_days, retry=retry))
        sources = catalog.sources_of(contract)
        assets += [
            feature_assets.features_asset(contract, sources, days=own_days, retry=retry, change=changes.get(name, "none")),
            feature_assets.latest_asset(contract, retry=retry),
            serving_assets.online_asset(contract, retry=retry),
        ]
    return [*assets, health_asset.health_asset(catalog, retry=retry)]


def _checks(platform: Platform, *, retry: Retry) -> Sequence[dg.AssetChecksDefinition]:
    of_days = [checks.day_checks(source, retry=retry) for source in platform.catalog.sources.values() if source.checks]
    return of_days + [
        check
        for contract in platform.catalog.contracts.values()
        for check in (
            checks.version_checks(contract, retry=retry),
            checks.parity_check(contract, asset=serving_assets.online_key(contract.feature_set), retry=retry),
        )
    ]


@dg.definitions
def defs() -> dg.Definitions:
    """The code location of the environment that the variables name; Dagster calls this when it loads the location.

    Raises:
        ConfigurationError: Settings are missing or wrong; every fault is listed.
        ContractError: A contract is wrong; every fault is listed.
    """
    platform = open_platform()
    return build_definitions(platform, changes=changes_at_load(platform))
