"""What ``status``, ``verify`` and ``doctor`` look at: the log, ``latest/``, the registry and the online store, side by side.

What each must be is decided in ``core``; changing anything does not belong here.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from feature_platform.adapters.feature_set_store.feature_sets import ObjectFeatureSetStore
from feature_platform.core.online.marker import Marker
from feature_platform.core.online.parity import ParityReport
from feature_platform.core.versions.log import History
from feature_platform.errors import FeaturePlatformError, NotFoundError
from feature_platform.use_cases.serve import parity
from feature_platform.wiring import Platform


def online_marker(platform: Platform, feature_set: str) -> Marker | None:
    """What the online store says it serves."""
    return platform.online.marker(project=platform.settings.feast_project, view=feature_set)


def online_versions(platform: Platform, feature_set: str) -> list[str]:
    """Versions that the online store names and that retention must therefore keep."""
    marker = online_marker(platform, feature_set)
    return [version.version for version in marker.leftovers] if marker else []


def feature_set_status(platform: Platform, name: str, *, now: datetime) -> dict[str, Any]:
    """Newest version, latest and online of one feature set, and whether they agree."""
    contract, store = platform.catalog.contract(name), platform.feature_sets
    history = store.history(name)
    newest = history.live[-1] if history.live else None
    head = history.head_version
    drifts = latest_drifts(store, name, history)
    online, since, problems = _online(platform, name, history)
    drifts += problems
    if head is not None and head.schema_hash != contract.schema_hash:
        drifts.append(f"latest was built by contract {head.schema_hash[:12]}, the contract is {contract.schema_hash[:12]}")
    if newest is None:
        drifts.append("nothing is published")
    facts = store.metadata(name, head.version) if head else {}
    return {
        "feature_set": name,
        "newest": newest.version if newest else None,
        "latest": head.version if head else None,
        "online": online,
        "online_since": since,
        "age": str(now - head.as_of).split(".")[0] if head else None,
        "rows": facts.get("row_count"),
        "schema_hash": contract.schema_hash[:12],
        "content_hash": head.content_hash[:12] if head else None,
        "agreement": "; ".join(drifts) or "ok",
    }


def latest_drifts(store: ObjectFeatureSetStore, name: str, history: History) -> list[str]:
    """Where ``latest/`` does not show the log's head."""
    if history.head is None:
        return ["nothing was promoted"] if history.live else []
    try:
        shown = store.latest_metadata(name)["version"]
    except FeaturePlatformError as error:
        return [f"latest/metadata.json: {error}"]
    return [] if shown == history.head.version else [f"latest/ shows {shown}, the log's head is {history.head.version}"]


def _online(platform: Platform, name: str, history: History) -> tuple[str | None, str | None, list[str]]:
    """Which version is online, since when, and what is wrong with that."""
    try:
        marker = online_marker(platform, name)
    except FeaturePlatformError as error:
        return None, None, [f"online store: {error}"]
    if marker is None:
        return None, None, ["nothing is online"]
    version, head = marker.target, history.head
    if marker.state != "online":
        return None, None, [f"a load of {version.version} began at {marker.since} and has not finished"]
    if head is None or (version.version, version.sequence) != (head.version, head.sequence):
        return version.version, marker.since, [f"online is {version.version}, latest is {head.version if head else 'nothing'}"]
    return version.version, marker.since, []


def drifts(platform: Platform, name: str) -> list[dict[str, Any]]:
    """Every place where contract, log, ``latest/``, registry and online store disagree; empty when all say the same.

    A part that cannot be read is a finding of its own, so that one broken server does not hide another drift.
    """
    store, contract = platform.feature_sets, platform.catalog.contract(name)
    history = store.history(name)
    found = [{"part": "latest", "drift": drift} for drift in latest_drifts(store, name, history)]
    if not history.versions:
        found.append({"part": "versions", "drift": "nothing is published; materialize a partition"})
    head = history.head_version
    if head is not None and head.schema_hash != contract.schema_hash:
        found.append({"part": "contract", "drift": f"latest was built by {head.schema_hash}, the contract is {contract.schema_hash}"})
    try:
        registry = registry_findings(platform, name) if history.versions else []
        found += [{"part": "registry", "drift": f"{f['code']}: expected {f['expected']}, found {f['found']}"} for f in registry]
    except FeaturePlatformError as error:
        found.append({"part": "registry", "drift": str(error)})
    if history.head is not None:
        found += [{"part": "online", "drift": problem} for problem in _online(platform, name, history)[2]]
    return [{"feature_set": name, **finding} for finding in found]


def verify_feature_set(platform: Platform, name: str, *, version: str | None) -> dict[str, Any]:
    """Prove one version, or latest with everything that serves it.

    Returns:
        ``version``, ``checks`` (what was looked at, how long it took) and ``findings`` (empty when proved).

    Raises:
        NotFoundError: There is no such version, or nothing is latest.
    """
    from feature_platform.use_cases.verify import verify_latest, verify_version

    contract, store = platform.catalog.contract(name), platform.feature_sets
    history = store.history(name)
    if version is None and history.head is None:
        raise NotFoundError(f"{name} has no latest yet; materialize {name}_latest first.")
    proved = version or (history.head.version if history.head else "")
    is_current = history.versions[proved].schema_hash == contract.schema_hash if proved in history.versions else False
    probes: list[tuple[str, Callable[[], Sequence[dict[str, Any]]]]] = [
        ("four files", lambda: _dicts(verify_version(store, name, proved, contract=contract if is_current else None).findings))
    ]
    if version is None:
        probes += [
            ("latest", lambda: _dicts(verify_latest(store, name).findings)),
            ("registry", lambda: registry_findings(platform, name)),
            ("online values", lambda: _parity_findings(platform, name)),
            ("read by Feast", lambda: _read_findings(platform, name)),
        ]
    checks, findings = [], []
    for what, probe in probes:
        started = time.monotonic()
        try:
            found = list(probe())
        except FeaturePlatformError as error:
            found = [{"code": type(error).__name__, "file": what, "expected": "readable", "found": str(error)}]
        checks.append(
            {"check": what, "result": "ok" if not found else f"{len(found)} finding(s)", "seconds": round(time.monotonic() - started, 2)}
        )
        findings += found
    return {"feature_set": name, "version": proved, "checks": checks, "findings": findings}


def _dicts(findings: Sequence[Any]) -> list[dict[str, Any]]:
    return [asdict(finding) for finding in findings]


def registry_findings(platform: Platform, name: str) -> list[dict[str, Any]]:
    """Where Feast's registry differs from the contract."""
    from feast.errors import FeatureViewNotFoundException

    store, contract = platform.feast_store, platform.catalog.contract(name)
    try:
        view = store.get_feature_view(name)
    except FeatureViewNotFoundException:
        return [
            {"code": "not_applied", "file": "registry", "expected": f"feature view {name}", "found": "none; materialize its online asset"}
        ]
    expected = [column.name for column in contract.feature_columns]
    found = [field.name for field in view.features]
    findings = []
    if found != expected:
        findings.append({"code": "features", "file": "registry", "expected": ", ".join(expected), "found": ", ".join(found)})
    if view.tags.get("schema_hash") != contract.schema_hash:
        findings.append(
            {"code": "schema_hash", "file": "registry", "expected": contract.schema_hash, "found": str(view.tags.get("schema_hash"))}
        )
    return findings


def _parity_findings(platform: Platform, name: str) -> list[dict[str, Any]]:
    """Every stored byte against the published file."""
    return parity_findings(parity(platform, platform.catalog.contract(name), limit=None, is_through_sdk=False), where="online")


def _read_findings(platform: Platform, name: str) -> list[dict[str, Any]]:
    """The same comparison through Feast's SDK, as a service reads; a sample above its limit."""
    return parity_findings(parity(platform, platform.catalog.contract(name)), where="read by Feast")


def parity_findings(report: ParityReport, *, where: str) -> list[dict[str, Any]]:
    """What a comparison with the published file found, counted by kind."""
    counts = {"mismatched": report.mismatched, "missing": report.missing, "extra": report.extra or 0}
    return [
        {"code": code, "file": where, "expected": "0 entities", "found": f"{count} entities"} for code, count in counts.items() if count
    ]
