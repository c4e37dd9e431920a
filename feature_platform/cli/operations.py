"""Commands of an operator: status, verify, rollback, pins, retention. Decisions do not belong here (``core``, ``use_cases``)."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from feature_platform.adapters.machine.account import actor
from feature_platform.cli.output import FINDING, MOST_DAYS, AsJson, FeatureSet, command, say, show, show_one
from feature_platform.wiring import open_platform

if TYPE_CHECKING:
    from feature_platform.use_cases.decommission import Retired
    from feature_platform.use_cases.inspect import Status

DECOMMISSION: Final = "take it out of service: feature-platform decommission <feature_set> --remove"

_LOAD_IT: Final = "Load it online: dagster asset materialize --select {}_online -m feature_platform.definitions"

Version = Annotated[str, typer.Argument(help="A version id, v_YYYYMMDDTHHMMSS.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why; kept in the log.", show_default=False)]


@command
def status(
    feature_set: Annotated[str | None, typer.Argument(help="One feature set; all where left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Per feature set: newest version, latest, online, age, rows, hashes; whether they and the raw data agree. Exits 1 where not."""
    from feature_platform.use_cases import inspect
    from feature_platform.use_cases.decommission import retired

    platform = open_platform()
    names = [platform.catalog.contract(feature_set).feature_set] if feature_set else sorted(platform.catalog.contracts)
    found = [inspect.status(platform, platform.catalog.contract(name), now=datetime.now(UTC)) for name in names]
    left = retired(platform) if feature_set is None else []
    rows = [*(_status_row(status) for status in found), *(_retired_row(one) for one in left)]
    show(rows, as_json=as_json, title=f"Environment {platform.settings.env}")
    if any(status.findings for status in found) or any(one.online for one in left):
        raise typer.Exit(FINDING)


def _status_row(status: "Status") -> dict[str, Any]:
    latest, online = status.latest, status.online
    agreement = "; ".join(finding.sentence for finding in status.findings) or "ok"
    return {
        "feature_set": status.contract.feature_set,
        "newest": status.newest.version if status.newest else None,
        "latest": latest.version if latest else None,
        "online": online.target.version if online else None,
        "online_since": online.since if online else None,
        "age": str(status.age).split(".")[0] if status.age is not None else None,
        "rows": status.metadata.row_count if status.metadata else None,
        "missing_days": ", ".join(status.metadata.missing_partitions) if status.metadata else None,
        "schema_hash": status.contract.schema_hash,
        "content_hash": latest.content_hash if latest else None,
        "agreement": agreement + "".join(f" (latest is {note.sentence})" for note in status.notes),
        "remedy": " ".join(dict.fromkeys(finding.remedy for finding in status.findings)) or None,
    }


def _retired_row(left: "Retired") -> dict[str, Any]:
    said = f"no contract, and {left.online} is still served; {DECOMMISSION}" if left.online else "no contract; not in service"
    shown = {"feature_set": left.feature_set, "newest": left.newest, "latest": left.latest, "online": left.online}
    absent = dict.fromkeys(("online_since", "age", "rows", "missing_days", "schema_hash", "content_hash", "remedy"))
    return {**shown, **absent, "agreement": said}


@command
def verify(
    feature_set: FeatureSet,
    version: Annotated[str | None, typer.Option("--version", help="A version id; latest and what is online where left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Prove a version: its four files, sizes, hashes, contract, rows; for latest also registry and online values. Exits 1 on a finding."""
    from feature_platform.core.versions.findings import documents
    from feature_platform.use_cases.inspect import prove

    platform = open_platform()
    proof = prove(platform, platform.catalog.contract(feature_set), version=version)
    checks = [
        {"check": p.what, "result": f"{len(p.findings)} finding(s)" if p.findings else "ok", "seconds": p.elapsed_s} for p in proof.probes
    ]
    findings = documents(proof.findings)
    if as_json:
        show_one({"feature_set": feature_set, "version": proof.version, "checks": checks, "findings": findings}, as_json=True)
    else:
        show(checks, as_json=False, title=f"{feature_set} {proof.version}")
        show(findings, as_json=False, title="Findings", empty=f"Proved: {proof.version} is what was published.")
    if findings:
        raise typer.Exit(FINDING)


@command
def reproduce(feature_set: FeatureSet, version: Version, as_json: AsJson = False) -> None:
    """Rebuild a version in memory from the raw objects that its metadata names, and compare. Exits 1 where it or a raw object differs."""
    from feature_platform.core.versions.findings import documents
    from feature_platform.use_cases import reproduce as reproduction

    platform = open_platform()
    report = reproduction.reproduce(platform, platform.catalog.contract(feature_set), version)
    if as_json:
        show_one(report.document(), as_json=True)
    else:
        rows = documents(report.findings)
        show(rows, as_json=False, title="Findings", empty=f"Reproduced: the same rows follow from the recorded sources of {version}.")
    if report.findings:
        raise typer.Exit(FINDING)


@command
def doctor(
    feature_set: Annotated[str | None, typer.Argument(help="One feature set; all where left out.")] = None,
    heal: Annotated[bool, typer.Option("--heal", help="Make latest/ show the log's head first; always safe.")] = False,
    as_json: AsJson = False,
) -> None:
    """Name every drift: raw data, contract, log, latest/, registry or online store that disagree. Exits 1 when there is one."""
    from feature_platform.use_cases.decommission import retired
    from feature_platform.use_cases.inspect import drifts

    platform = open_platform()
    names = [platform.catalog.contract(feature_set).feature_set] if feature_set else sorted(platform.catalog.contracts)
    if heal:
        for name in names:
            _, writes = platform.feature_sets.heal(name)
            say(f"{name}: latest/ {'was healed, ' + str(writes) + ' file(s) written' if writes else 'shows the head'}.")
    found = [
        {"feature_set": name, "part": finding.file, "drift": finding.sentence, "remedy": finding.remedy}
        for name in names
        for finding in drifts(platform, platform.catalog.contract(name), today=datetime.now(UTC).date())
    ]
    found += [
        {"feature_set": one.feature_set, "part": "contract", "drift": f"none, and {one.online} is still served", "remedy": DECOMMISSION}
        for one in (retired(platform) if feature_set is None else [])
        if one.online
    ]
    show(found, as_json=as_json, title="Drifts", empty="Raw data, contract, log, latest, registry and online store agree.")
    if found:
        raise typer.Exit(FINDING)


@command
def promote(feature_set: FeatureSet, version: Version, reason: Reason, as_json: AsJson = False) -> None:
    """Move latest forward to a version that its checks hold back. The log records who did it, why, and which checks were overridden."""
    from feature_platform.use_cases.promote import override

    platform = open_platform()
    move, faults = override(platform, platform.catalog.contract(feature_set), version, actor=actor(), reason=reason)
    row = {"feature_set": feature_set, "from": move.previous, "to": move.head.version, "record": move.sequence, "moved": move.has_moved}
    show_one({**row, "overridden": "; ".join(faults) or None}, as_json=as_json, title="latest")
    say(_LOAD_IT.format(feature_set))


@command
def rollback(feature_set: FeatureSet, version: Version, reason: Reason, as_json: AsJson = False) -> None:
    """Move latest to any version by name. A new build of the day that was rolled back does not undo this; a build of a newer day does."""
    platform = open_platform()
    platform.catalog.contract(feature_set)
    move = platform.feature_sets.rollback(feature_set, version, actor=actor(), reason=reason)
    row = {"feature_set": feature_set, "from": move.previous, "to": move.head.version, "record": move.sequence, "moved": move.has_moved}
    show_one(row, as_json=as_json, title="latest")
    say(_LOAD_IT.format(feature_set))


@command
def pin(
    feature_set: FeatureSet, version: Version, name: Annotated[str, typer.Argument(help="The pin's name.")], reason: Reason = ""
) -> None:
    """Keep a version from retention until it is unpinned."""
    from feature_platform.use_cases.decommission import known

    platform = open_platform()
    is_new = platform.feature_sets.pin(known(platform, feature_set), version, name=name, actor=actor(), reason=reason)
    say(f"{version} is {'now' if is_new else 'already'} pinned as {name!r}.")


@command
def unpin(feature_set: FeatureSet, version: Version, name: Annotated[str, typer.Argument(help="The pin's name.")]) -> None:
    """Remove a pin."""
    from feature_platform.use_cases.decommission import known

    platform = open_platform()
    platform.feature_sets.unpin(known(platform, feature_set), version, name=name)
    say(f"{version} is no longer pinned as {name!r}.")


@command
def gc(
    feature_set: FeatureSet,
    keep: Annotated[int, typer.Option("--keep", min=1, help="Newest versions to keep.")] = 14,
    keep_days: Annotated[
        int, typer.Option("--keep-days", min=0, max=MOST_DAYS, help="Keep versions committed within this many days.")
    ] = 30,
    grace_s: Annotated[
        float, typer.Option("--grace", min=0, max=604_800, help="Seconds between the expire record and the deletion.")
    ] = 900.0,
    delete: Annotated[bool, typer.Option("--delete", help="Really delete; without it nothing is written.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete versions that nothing keeps (--keep, --keep-days, pins, latest, online), and leftovers of crashed builds.

    A dry run unless --delete is given. Also works for a feature set without a contract.
    """
    from feature_platform.core.publishing.retention import Policy, describe
    from feature_platform.use_cases import retain
    from feature_platform.use_cases.decommission import known

    platform = open_platform()
    known(platform, feature_set)
    policy = Policy(keep_newest=keep, keep_days=keep_days, grace_s=grace_s, leftover_age=timedelta(days=1))
    found = retain.survey(platform, feature_set, policy=policy)
    if not delete:
        show([describe(c) for c in found], as_json=as_json, title="Would be deleted", empty="Nothing to delete.")
        return
    if found:
        say(f"Expiring, then waiting {grace_s:.0f} s for readers and pins before deleting.")
    sweep = retain.collect(platform, feature_set, policy=policy, actor=actor())
    rows: list[dict[str, Any]] = [{**describe(c), "outcome": "deleted"} for c in sweep.deleted]
    rows += [{"version": v, "reason": why, "objects": "", "bytes": "", "outcome": "kept"} for v, why in sweep.spared.items()]
    show(rows, as_json=as_json, title="Collected", empty="Nothing to delete.")


@command
def decommission(
    feature_set: FeatureSet,
    remove: Annotated[bool, typer.Option("--remove", help="Really remove; without it nothing is written.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a feature set out of service: remove it from the registry and its online values; its versions stay. A dry run without --remove.

    Also works for a feature set without a contract.
    """
    from feature_platform.use_cases import decommission as use_case

    platform = open_platform()
    name = use_case.known(platform, feature_set)
    done = use_case.decommission(platform, name) if remove else use_case.plan(platform, name)
    rows = [{"what": item, "outcome": "removed" if remove else "would be removed"} for item in done.registered]
    rows += [{"what": f"online values of {done.online}", "outcome": "removed" if remove else "would be removed"}] if done.online else []
    show(rows, as_json=as_json, title=feature_set, empty=f"{feature_set} is neither registered nor online.")
    if rows and not remove:
        later = f" Materializing {name}_online later brings it back." if name in platform.catalog.contracts else ""
        say(f"Nothing was removed; add --remove.{later}")
