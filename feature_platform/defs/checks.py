"""Asset checks: Dagster shows the checks of a version; one that fails and blocks keeps the version out of latest.

The rules do not belong here (``core.versions.checks``). Promotion evaluates them again, so that no selection of assets avoids them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import dagster as dg

from feature_platform.core import layout
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.deviation import CheckResult
from feature_platform.core.events import checks as source_checks
from feature_platform.core.versions import checks
from feature_platform.core.versions.log import History, Version
from feature_platform.defs.failures import Retry, as_dagster_failures, attempts_before
from feature_platform.defs.partitions import partitions_of
from feature_platform.defs.presentation import table
from feature_platform.defs.source_assets import validated_key
from feature_platform.errors import ConflictError, NotFoundError
from feature_platform.use_cases.promote import judge, judge_day
from feature_platform.use_cases.serve import compare
from feature_platform.wiring import Platform


def version_checks(contract: Contract, *, retry: Retry) -> dg.AssetChecksDefinition:
    """The checks of a feature set's versions; latest waits for those that block. A missing day is named and does not block."""
    specs = [
        dg.AssetCheckSpec(
            name,
            asset=contract.feature_set,
            blocking=dict(contract.checks.severity).get(name) != "warn",
            description=checks.DESCRIPTIONS[name],
        )
        for name in checks.NAMES
    ]
    specs.append(dg.AssetCheckSpec(checks.MISSING_DAYS, asset=contract.feature_set, description=checks.MISSING_DAYS_DESCRIPTION))

    @dg.multi_asset_check(name=f"{contract.feature_set}_checks", specs=specs)
    def check_versions(context: dg.AssetCheckExecutionContext, platform: dg.ResourceParam[Platform]) -> Iterator[dg.AssetCheckResult]:
        retry.pause(context)
        with as_dagster_failures():
            store, name = platform.feature_sets, contract.feature_set
            history = store.history(name)
            judged = _judged_versions(history, contract, partitions=partitions_of(context))
            results = {version.version: judge(platform, contract, history, version) for version in judged}
            lacking = {version: checks.missing_days(contract, store.metadata(name, version)) for version in results}
        for position, check in enumerate(checks.NAMES):
            yield _told(dg.AssetKey(name), check, {version: of[position] for version, of in results.items()})
        yield _told(dg.AssetKey(name), checks.MISSING_DAYS, lacking)

    return check_versions


def day_checks(source: SourceContract, *, retry: Retry) -> dg.AssetChecksDefinition:
    """The checks of a source's days. None stops a run: one that blocks keeps the day's versions out of latest (check ``source_day``)."""
    key, names = validated_key(source.source), list(source_checks.DESCRIPTIONS)
    specs = [dg.AssetCheckSpec(name, asset=key, description=source_checks.DESCRIPTIONS[name]) for name in names]

    @dg.multi_asset_check(name=f"{key.to_user_string()}_checks", specs=specs)
    def check_days(context: dg.AssetCheckExecutionContext, platform: dg.ResourceParam[Platform]) -> Iterator[dg.AssetCheckResult]:
        retry.pause(context)
        with as_dagster_failures():
            judged = {day: judge_day(platform, source, day) for day in partitions_of(context)}
        for position, check in enumerate(names):
            yield _told(key, check, {day: of[position] for day, of in judged.items() if of})

    return check_days


def _told(asset: dg.AssetKey, check: str, results: Mapping[str, CheckResult]) -> dg.AssetCheckResult:
    """One check over the versions or days of a run; one that could not be judged says why."""
    faults = [f"{version}: {fault}" for version, result in results.items() for fault in result.faults]
    notes = [f"{version}: {result.note}" for version, result in results.items() if result.note]
    is_blocking = any(result.is_blocking for result in results.values())
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=check,
        passed=not faults,
        severity=dg.AssetCheckSeverity.ERROR if is_blocking else dg.AssetCheckSeverity.WARN,
        description="; ".join([*faults, *notes]) or None,
        metadata={"judged": ", ".join(results), **_figures(list(results.values()))},
    )


def parity_check(contract: Contract, *, asset: dg.AssetKey, retry: Retry) -> dg.AssetChecksDefinition:
    """The check that online values equal the published ones and none is missing; it blocks."""

    @dg.asset_check(asset=asset, name="parity", blocking=True, description="Online values equal the published file.")
    def check_parity(context: dg.AssetCheckExecutionContext, platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
        retry.pause(context)
        with as_dagster_failures():
            report = compare(platform, contract.feature_set)
            marker = platform.online.marker(project=platform.project, view=contract.feature_set)
            if not report.exact and marker and marker.target.version != report.version and not attempts_before(context):
                # Runs of other days move latest and load online between this run's steps.
                told = f"{marker.target.version} is online, {report.version} was latest; the next attempt compares them again"
                raise ConflictError(f"{contract.feature_set}: {told}.")
        counts = {"entities": report.entities, "mismatched": report.mismatched, "missing": report.missing, "past_ttl": report.past_ttl}
        rows = [{"feature": name, **asdict(counted)} for name, counted in report.features.items()]
        return dg.AssetCheckResult(
            passed=report.exact and report.entities > 0,
            metadata={"version": report.version, "rows": report.rows, **counts, "extra": report.extra or 0, "features": table(rows)},
        )

    return check_parity


def _judged_versions(history: History, contract: Contract, *, partitions: Sequence[str]) -> list[Version]:
    """The newest version of each partition of the run; outside partitions, the newest of all.

    Raises:
        NotFoundError: There is none to check.
    """
    chosen = [history.newest_of(layout.as_of(partition)) for partition in partitions] if partitions else list(history.live[-1:])
    found = [version for version in chosen if version is not None]
    if not found:
        raise NotFoundError(f"{contract.feature_set} has no version to check; materialize it first.")
    return found


def _figures(results: list[CheckResult]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in results[-1].figures.items()} if results else {}
