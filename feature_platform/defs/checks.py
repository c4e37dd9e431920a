"""Asset checks: what the contract asks of a version, shown by Dagster; what blocks keeps the version from latest.

The rules are ``core.versions.checks``; promotion evaluates them again, so that no way of running assets goes around them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import dagster as dg

from feature_platform.core import layout
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.versions import checks
from feature_platform.core.versions.log import History, Version
from feature_platform.defs.failures import Retry, as_dagster_failures
from feature_platform.defs.partitions import partitions_of
from feature_platform.defs.presentation import table
from feature_platform.errors import NotFoundError
from feature_platform.use_cases.promote import judge
from feature_platform.use_cases.serve import compare
from feature_platform.wiring import Platform


def version_checks(contract: Contract, *, retry: Retry) -> dg.AssetChecksDefinition:
    """The checks of a feature set's versions; latest waits for those that block. A missing day is named and does not block."""
    specs = [
        dg.AssetCheckSpec(name, asset=contract.feature_set, blocking=True, description=checks.DESCRIPTIONS[name]) for name in checks.NAMES
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
            yield _told(name, check, {version: of[position] for version, of in results.items()})
        yield _told(name, checks.MISSING_DAYS, lacking, severity=dg.AssetCheckSeverity.WARN)

    return check_versions


def _told(
    name: str, check: str, results: Mapping[str, checks.CheckResult], *, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
) -> dg.AssetCheckResult:
    """One check over the versions of a run; a version that could not be judged says why."""
    faults = [f"{version}: {fault}" for version, result in results.items() for fault in result.faults]
    notes = [f"{version}: {result.note}" for version, result in results.items() if result.note]
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(name),
        check_name=check,
        passed=not faults,
        severity=severity,
        description="; ".join([*faults, *notes]) or None,
        metadata={"versions": ", ".join(results), **_figures(list(results.values()))},
    )


def parity_check(contract: Contract, *, asset: dg.AssetKey, retry: Retry) -> dg.AssetChecksDefinition:
    """Blocking: what is online equals what was published, value for value, nothing missing."""

    @dg.asset_check(asset=asset, name="parity", blocking=True, description="Online values equal the published file.")
    def check_parity(context: dg.AssetCheckExecutionContext, platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
        retry.pause(context)
        with as_dagster_failures():
            report = compare(platform, contract.feature_set)
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


def _figures(results: list[checks.CheckResult]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in results[-1].figures.items()} if results else {}
