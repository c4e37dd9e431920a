"""What ``deployment apply`` and ``deployment verify`` look at: every contract of the environment beside what is published and served.

Changing anything does not belong here.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import pyarrow.parquet as pq

from feature_platform.cli.asked_server import AskedServer
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.versions.log import History
from feature_platform.errors import FeaturePlatformError
from feature_platform.use_cases import inspect as inspection
from feature_platform.use_cases.published_head import PublishedHead, published_head
from feature_platform.use_cases.serve import PARITY_ROWS
from feature_platform.wiring import Platform

READ_ENTITIES: Final = 20
_AS_JSON_SAYS_IT: Final = frozenset({"int32", "int64", "bool", "string"})
"""Types whose JSON form is the value itself, whoever writes it."""

Findings = list[dict[str, Any]]


def waits_for_its_data(platform: Platform) -> frozenset[str]:
    """Feature sets that the registry describes by an earlier contract, which is that of the version that is latest."""
    known = {view.name for view in platform.feast_store.registry.list_feature_views(platform.settings.feast_project)}
    return frozenset(
        name
        for name, contract in platform.catalog.contracts.items()
        if name in known and not _is_built_by(platform.feature_sets.history(name), contract)
    )


def verify_deployment(platform: Platform, *, server: AskedServer | None) -> dict[str, Any]:
    """Look at every feature set.

    Args:
        platform: The environment.
        server: A feature server whose answers are looked at too.

    Returns:
        ``feature_sets`` (each with its state and number of findings) and ``findings`` (empty when all is proved).
    """
    findings: Findings = [] if server is None else _found("server", lambda: _health(server))
    rows = []
    for name in sorted(platform.catalog.contracts):
        state, found = _verify_one(platform, name, server=server)
        rows.append({"feature_set": name, "state": state, "findings": len(found)})
        findings += [{"feature_set": name, **finding} for finding in found]
    return {"feature_sets": rows, "findings": findings}


def _is_built_by(history: History, contract: Contract) -> bool:
    """Whether what is latest was built by this contract; true where nothing is latest."""
    return history.head_version is None or history.head_version.schema_hash == contract.schema_hash


def _verify_one(platform: Platform, name: str, *, server: AskedServer | None) -> tuple[str, Findings]:
    """What one feature set is in, and what is wrong with it."""
    history = platform.feature_sets.history(name)
    if history.head is None:
        # The first run comes after the first deployment; until then both stores must be reachable and the contract be known.
        found = _found("registry", lambda: inspection.registry_findings(platform, name))
        return "nothing is published yet", found + _found("online store", lambda: _reach_online_store(platform, name))
    version = history.head.version
    if _is_built_by(history, platform.catalog.contract(name)):
        state, found = version, list(inspection.verify_feature_set(platform, name, version=None)["findings"])
    else:
        state = f"{version}; the contract has changed since, and waits for the first build"
        found = list(inspection.verify_feature_set(platform, name, version=version)["findings"])
        found += _found("online values", lambda: _online_findings(platform, name))
    if server is not None:
        found += _found("server", lambda: _answer_findings(platform, name, server=server))
    return state, found


def _found(what: str, probe: Callable[[], Findings]) -> Findings:
    """What a probe finds; that it could not look is a finding too."""
    try:
        return probe()
    except FeaturePlatformError as error:
        return [{"code": type(error).__name__, "file": what, "expected": "readable", "found": str(error)}]


def _reach_online_store(platform: Platform, name: str) -> Findings:
    inspection.online_marker(platform, name)
    return []


def _head(platform: Platform, name: str) -> PublishedHead:
    return published_head(platform.feature_sets, name, project=platform.settings.feast_project)


def _online_findings(platform: Platform, name: str) -> Findings:
    """The stored bytes of a sample against the head's file, by the contract that the head was built by."""
    report = platform.online.parity(_head(platform, name).load, limit=PARITY_ROWS, now_us=time.time_ns() // 1000)
    return inspection.parity_findings(report, where="online")


def _health(server: AskedServer) -> Findings:
    server.health()
    return []


def _answer_findings(platform: Platform, name: str, *, server: AskedServer) -> Findings:
    """What the server answers for the first entities of the head's file, against what Feast's SDK reads."""
    from feature_platform.adapters.feast.reading import read_online

    load = _head(platform, name).load
    contract = load.contract
    with load.source() as file, pq.ParquetFile(file) as parquet:
        first = next(parquet.iter_batches(READ_ENTITIES, columns=list(contract.primary_keys)), None)
    keys = [] if first is None else first.to_pylist()
    columns = [column.name for column in contract.feature_columns if column.type in _AS_JSON_SAYS_IT]
    if not keys or not columns:
        return []
    entities = {key: [row[key] for row in keys] for key in contract.primary_keys}
    served = server.features([f"{name}:{column}" for column in columns], entities)
    expected = read_online(platform.feast_store, contract, keys)
    wrong = sum(served[column][place] != row[column] for place, row in enumerate(expected) for column in columns)
    return [{"code": "answer", "file": server.url, "expected": "what Feast's SDK reads", "found": f"{wrong} other values"}] if wrong else []
