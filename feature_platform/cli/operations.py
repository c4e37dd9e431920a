"""Commands of an operator: status, verify, rollback, pins, retention. What they decide lives in ``core``."""

import getpass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from feature_platform.cli.output import FINDING, AsJson, FeatureSet, command, say, show, show_one

Version = Annotated[str, typer.Argument(help="A version id, v_YYYYMMDDTHHMMSS.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why; kept in the log.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    for function in (status, verify, reproduce, doctor, rollback, pin, unpin, gc):
        app.command()(function)


@command
def status(
    feature_set: Annotated[str | None, typer.Argument(help="One feature set; all where left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Per feature set: newest version, latest, what is online, age, rows, hash, and whether all agree. Exits 1 where they do not."""
    from feature_platform.use_cases.inspect import feature_set_status
    from feature_platform.wiring import open_platform

    platform = open_platform()
    names = [platform.catalog.contract(feature_set).feature_set] if feature_set else sorted(platform.catalog.contracts)
    rows = [feature_set_status(platform, name, now=datetime.now(UTC)) for name in names]
    show(rows, as_json=as_json, title=f"Environment {platform.settings.env}")
    if any(row["agreement"] != "ok" for row in rows):
        raise typer.Exit(FINDING)


@command
def verify(
    feature_set: FeatureSet,
    version: Annotated[str | None, typer.Option("--version", help="A version id; latest and what is online where left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Prove a version: four files, sizes, hashes, contract, rows; for latest also registry and online values. Exits 1 on a finding."""
    from feature_platform.use_cases.inspect import verify_feature_set
    from feature_platform.wiring import open_platform

    report = verify_feature_set(open_platform(), feature_set, version=version)
    if as_json:
        show_one(report, as_json=True)
    else:
        show(report["checks"], as_json=False, title=f"{feature_set} {report['version']}")
        show(report["findings"], as_json=False, title="Findings", empty=f"Proved: {report['version']} is what was published.")
    if report["findings"]:
        raise typer.Exit(FINDING)


@command
def reproduce(feature_set: FeatureSet, version: Version, as_json: AsJson = False) -> None:
    """Rebuild a version in memory from the raw objects its metadata names, and compare. Exits 1 when it differs or a source changed."""
    from dataclasses import asdict

    from feature_platform.use_cases import reproduce as reproduction
    from feature_platform.wiring import open_platform

    platform = open_platform()
    contract = platform.catalog.contract(feature_set)
    source = platform.catalog.source_of(contract)
    report = reproduction.reproduce(platform.feature_sets, feature_set, version, contract=contract, source=source)
    if as_json:
        show_one(asdict(report), as_json=True)
    else:
        rows = [asdict(finding) for finding in report.findings]
        show(rows, as_json=False, title="Findings", empty=f"Reproduced: the same rows follow from the recorded sources of {version}.")
    if report.findings:
        raise typer.Exit(FINDING)


@command
def doctor(
    feature_set: Annotated[str | None, typer.Argument(help="One feature set; all where left out.")] = None,
    heal: Annotated[bool, typer.Option("--heal", help="Make latest/ show the log's head first; always safe.")] = False,
    as_json: AsJson = False,
) -> None:
    """Name every drift between contract, log, latest/, registry and online store. Exits 1 when there is one."""
    from feature_platform.use_cases.inspect import drifts
    from feature_platform.wiring import open_platform

    platform = open_platform()
    names = [platform.catalog.contract(feature_set).feature_set] if feature_set else sorted(platform.catalog.contracts)
    if heal:
        for name in names:
            _, writes = platform.feature_sets.heal(name)
            say(f"{name}: latest/ {'was healed, ' + str(writes) + ' file(s) written' if writes else 'shows the head'}.")
    found = [drift for name in names for drift in drifts(platform, name)]
    show(found, as_json=as_json, title="Drifts", empty="Contract, log, latest, registry and online store agree.")
    if found:
        raise typer.Exit(FINDING)


@command
def rollback(feature_set: FeatureSet, version: Version, reason: Reason, as_json: AsJson = False) -> None:
    """Move latest to a version by name, whatever its age. Builds of the moment rolled back from do not undo it; newer moments do."""
    from feature_platform.wiring import open_platform

    platform = open_platform()
    platform.catalog.contract(feature_set)
    move = platform.feature_sets.rollback(feature_set, version, actor=_actor(), reason=reason)
    row = {"feature_set": feature_set, "from": move.previous, "to": move.head.version, "record": move.sequence, "moved": move.has_moved}
    show_one(row, as_json=as_json, title="latest")
    say(f"Load it online: dagster asset materialize --select {feature_set}_online -m feature_platform.definitions")


@command
def pin(
    feature_set: FeatureSet, version: Version, name: Annotated[str, typer.Argument(help="The pin's name.")], reason: Reason = ""
) -> None:
    """Keep a version from retention until it is unpinned."""
    from feature_platform.wiring import open_platform

    is_new = open_platform().feature_sets.pin(feature_set, version, name=name, actor=_actor(), reason=reason)
    say(f"{version} is {'now' if is_new else 'already'} pinned as {name!r}.")


@command
def unpin(feature_set: FeatureSet, version: Version, name: Annotated[str, typer.Argument(help="The pin's name.")]) -> None:
    """Remove a pin."""
    from feature_platform.wiring import open_platform

    open_platform().feature_sets.unpin(feature_set, version, name=name)
    say(f"{version} is no longer pinned as {name!r}.")


@command
def gc(
    feature_set: FeatureSet,
    keep: Annotated[int, typer.Option("--keep", min=1, help="Newest versions to keep.")] = 14,
    keep_days: Annotated[int, typer.Option("--keep-days", min=0, help="Keep versions whose as-of is within so many days.")] = 30,
    grace_s: Annotated[float, typer.Option("--grace", min=0, help="Seconds between the expire record and the deletion.")] = 900.0,
    delete: Annotated[bool, typer.Option("--delete", help="Really delete; without it nothing is written.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete what nothing needs: versions beyond the policy and leftovers of crashed builds. A dry run unless --delete is given."""
    from feature_platform.core.publishing.retention import Policy, describe
    from feature_platform.use_cases.inspect import online_versions
    from feature_platform.wiring import open_platform

    platform = open_platform()
    platform.catalog.contract(feature_set)
    policy = Policy(keep_newest=keep, keep_days=keep_days, grace_s=grace_s, leftover_age=timedelta(days=1))
    if not delete:
        found = platform.feature_sets.survey(feature_set, policy=policy, protected=online_versions(platform, feature_set))
        show([describe(c) for c in found], as_json=as_json, title="Would be deleted", empty="Nothing to delete.")
        return
    say(f"Expiring, then waiting {grace_s:.0f} s for readers and pins before deleting.")
    sweep = platform.feature_sets.collect(
        feature_set, policy=policy, actor=_actor(), protected=lambda: online_versions(platform, feature_set)
    )
    rows: list[dict[str, Any]] = [{**describe(c), "outcome": "deleted"} for c in sweep.deleted]
    rows += [{"version": v, "reason": why, "objects": "", "bytes": "", "outcome": "kept"} for v, why in sweep.spared.items()]
    show(rows, as_json=as_json, title="Collected", empty="Nothing to delete.")


def _actor() -> str:
    return getpass.getuser()
