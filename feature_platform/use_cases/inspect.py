"""Compare all parts of a feature set: raw data, log, ``latest/``, contract, registry and online store.

Changing anything does not belong here, nor what each part must be (``core``).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.deviation import failures
from feature_platform.core.online.marker import Marker
from feature_platform.core.online.parity import ParityReport
from feature_platform.core.publishing.decisions import head_of, newest_promotable
from feature_platform.core.versions.currency import Outdated
from feature_platform.core.versions.findings import CORRECT, HEAL, LOAD, LOOK_AGAIN, MATERIALIZE, REBUILD, Code, Finding, refresh_remedy
from feature_platform.core.versions.log import History, Version
from feature_platform.core.versions.version_metadata import VersionMetadata
from feature_platform.errors import FeaturePlatformError
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.contracts import contract_of
from feature_platform.use_cases.currency import look
from feature_platform.use_cases.promote import judge
from feature_platform.use_cases.serve import compare
from feature_platform.use_cases.verify import verify_latest, verify_version


@dataclass(frozen=True, slots=True)
class Status:
    """Newest version, latest and online of one feature set.

    ``findings`` say where they disagree; ``notes`` say what is not wrong but worth knowing: latest, and so what is served, was built by
    another contract than the deployed one.
    """

    contract: Contract
    history: History
    newest: Version | None
    latest: Version | None
    metadata: VersionMetadata | None
    online: Marker | None
    age: timedelta | None
    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """One part that was looked at, how many seconds it took, and what was found."""

    what: str
    elapsed_s: float
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """The version that was looked at, and every probe of it; it is proved where no probe has a finding."""

    feature_set: str
    version: str
    probes: tuple[Probe, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for probe in self.probes for finding in probe.findings)


def status(platform: Platform, contract: Contract, *, now: datetime, history: History | None = None) -> Status:
    """Newest version, latest and online of one feature set, whether they agree, and whether they were built from the present raw data.

    The registry is not read. ``history`` is the state of the log, where it was read already.
    """
    store, name = platform.feature_sets, contract.feature_set
    history = history or store.history(name)
    head = history.head_version
    marker, findings = _online(platform, name, history)
    if not history.live:
        findings.append(Finding("not_committed", "versions", "a version", "none", MATERIALIZE))
    findings += readable("raw data", lambda: _currency(platform, contract, history, marker, today=now.date()))
    findings += readable("versions", lambda: _held_back(platform, contract, history))
    return Status(
        contract=contract,
        history=history,
        newest=history.live[-1] if history.live else None,
        latest=head,
        metadata=store.metadata(name, head.version) if head else None,
        online=marker if marker and marker.state == "online" else None,
        age=now - head.as_of if head else None,
        findings=(*_latest(platform, name, history), *findings),
        notes=tuple(_contract(contract, head)),
    )


def drifts(platform: Platform, contract: Contract, *, today: date) -> list[Finding]:
    """Every place where raw data, contract, log, ``latest/``, registry and online store disagree; empty when all say the same.

    A part that cannot be read is a finding of its own, so that one broken server does not hide another drift.
    """
    name = contract.feature_set
    history = platform.feature_sets.history(name)
    found = [*readable("log", lambda: _log(platform, name)), *_latest(platform, name, history), *_contract(contract, history.head_version)]
    if not history.versions:
        return [*found, Finding("not_committed", "versions", "a version", "none", MATERIALIZE)]
    found += readable("registry", lambda: registered(platform, contract, history.head_version))
    marker = None
    if history.head is not None:
        marker, findings = _online(platform, name, history)
        found += findings
    return found + list(readable("raw data", lambda: _currency(platform, contract, history, marker, today=today)))


def prove(platform: Platform, contract: Contract, *, version: str | None) -> Proof:
    """Prove one version, or latest with everything that serves it.

    Raises:
        NotFoundError: There is no such version, or nothing is latest.
    """
    store, name = platform.feature_sets, contract.feature_set
    history = store.history(name)
    proved = head_of(history, name).version if version is None else store.readable(name, version).version
    is_current = proved in history.versions and history.versions[proved].schema_hash == contract.schema_hash
    looks: list[tuple[str, Callable[[], Sequence[Finding]]]] = [
        ("log", lambda: _log(platform, name)),
        ("four files", lambda: verify_version(store, name, proved, contract=contract if is_current else None)),
    ]
    if version is None:
        looks += [
            ("latest", lambda: verify_latest(store, name)),
            ("registry", lambda: registered(platform, contract, history.head_version)),
            ("online values", lambda: counted(compare(platform, name, limit=None, is_through_registry=False), where="online")),
            ("read by Feast", lambda: counted(compare(platform, name), where="read by Feast")),
        ]
    return Proof(name, proved, tuple(_probed(what, look) for what, look in looks))


def _probed(what: str, look: Callable[[], Sequence[Finding]]) -> Probe:
    started = time.monotonic()
    findings = tuple(readable(what, look))
    return Probe(what, round(time.monotonic() - started, 2), findings)


def readable(what: str, look: Callable[[], Sequence[Finding]]) -> Sequence[Finding]:
    """The findings of a look; where a part cannot be read, that is the finding."""
    try:
        return look()
    except FeaturePlatformError as error:
        return [Finding("unreachable", what, "readable", str(error), LOOK_AGAIN)]


def _log(platform: Platform, name: str) -> list[Finding]:
    """Read every record again: only that shows that one was lost since the last read or since the checkpoint."""
    platform.feature_sets.audit(name)
    return []


def _latest(platform: Platform, name: str, history: History) -> list[Finding]:
    """Where ``latest/`` does not show the log's head."""
    if history.head is None:
        return [Finding("not_promoted", "latest", "a promoted version", "none", MATERIALIZE)] if history.live else []
    try:
        shown = platform.feature_sets.latest_metadata(name).version
    except FeaturePlatformError as error:
        return [Finding("unreachable", "latest", "latest/metadata.json", f"latest/metadata.json: {error}", HEAL)]
    return [] if shown == history.head.version else [Finding("latest_differs", "latest", history.head.version, shown, HEAL)]


def _held_back(platform: Platform, contract: Contract, history: History) -> list[Finding]:
    """The newest version that latest could move to, where checks hold it back."""
    for version in newest_promotable(history)[:1]:
        if faults := failures(judge(platform, contract, history, version)):
            return [Finding("held_back", "versions", "latest", f"{version.version} stays out of latest: {'; '.join(faults)}", CORRECT)]
    return []


def registered(platform: Platform, contract: Contract, head: Version | None) -> Sequence[Finding]:
    """Where the registry does not describe the contract of what is latest."""
    return platform.registry.findings(contract_of(platform, contract, head) if head else contract)


def _currency(platform: Platform, contract: Contract, history: History, marker: Marker | None, *, today: date) -> list[Finding]:
    """Which versions, among them latest and online, were built from raw data that has changed or vanished."""
    shown, head = marker.target.version if marker else None, history.head.version if history.head else None
    found = look(platform, contract, today=today, days=platform.look_back_days, also=[shown] if shown else [], history=history)
    as_it_is, remedy = "the raw data as it is now", refresh_remedy(contract.feature_set)
    findings = []
    if stale := [item for item in found.outdated if item.is_current]:
        days = ", ".join(sorted({str(change) for item in stale for change in item.changes}))
        told = f"{', '.join(str(item.version) for item in stale)} rest on raw data that is other now: {days}"
        findings.append(Finding("stale_versions", "versions", as_it_is, told, remedy))
    parts: list[tuple[Code, str, str | None]] = [("stale_latest", "latest", head), ("stale_online", "online", shown)]
    for code, part, version in parts:
        if item := found.of(version):
            told = f"{item.version} rests on raw data that is other now: {item.why}"
            findings.append(Finding(code, part, as_it_is, told, _remedy(contract.feature_set, item, history)))
    if history.versions and found.never_built:
        told = f"{', '.join(item.partition for item in found.never_built)} arrived and was never built"
        findings.append(Finding("never_built", "versions", "a version of every day", told, remedy))
    return findings


def _remedy(feature_set: str, item: Outdated, history: History) -> str:
    """The remedy for latest or online: rebuild, unless the day's raw data is gone or a rollback keeps a correction back."""
    if not item.is_buildable:
        back = f"feature-platform rollback {feature_set} VERSION --reason 'why'"
        return f"Have upstream deliver {item.partition} again, or go back to another version by `{back}`."
    if item.is_current or item.version is None:
        return refresh_remedy(feature_set)
    newest = history.newest_of(history.versions[item.version].as_of)
    correction = newest.version if newest else "VERSION"
    move = f"feature-platform rollback {feature_set} {correction} --reason 'why'"
    return f"Its correction is there: move latest to it by `{move}`, then load it by `feature-platform online load {feature_set}`."


def _contract(contract: Contract, head: Version | None) -> list[Finding]:
    if head is None or head.schema_hash == contract.schema_hash:
        return []
    return [Finding("contract_differs", "contract", contract.schema_hash, head.schema_hash, REBUILD)]


def _online(platform: Platform, name: str, history: History) -> tuple[Marker | None, list[Finding]]:
    """The online store's marker, and what is wrong with it."""
    try:
        marker = platform.online.marker(project=platform.project, view=name)
    except FeaturePlatformError as error:
        return None, [Finding("unreachable", "online", "the online store", f"online store: {error}", LOOK_AGAIN)]
    return marker, _judged(marker, history)


def _judged(marker: Marker | None, history: History) -> list[Finding]:
    def finding(code: Code, expected: str, found: str) -> list[Finding]:
        return [Finding(code, "online", expected, found, LOAD)]

    if marker is None:
        return finding("not_online", "latest", "nothing")
    version, head = marker.target, history.head
    if marker.state != "online":
        return finding("load_unfinished", version.version, marker.since)
    if head is None or (version.version, version.sequence) != (head.version, head.sequence):
        return finding("online_differs", head.version if head else "nothing", version.version)
    return []


def counted(report: ParityReport, *, where: str) -> list[Finding]:
    """What a comparison with the published file found, counted by kind."""
    counts: dict[Code, int] = {"mismatched": report.mismatched, "missing": report.missing, "extra": report.extra or 0}
    return [Finding(code, where, "0 entities", f"{count} entities", LOAD) for code, count in counts.items() if count]
