"""The work of a deployment's jobs: apply the contracts to the registry, and prove everything that is served.

Both may run any number of times, and succeed in an environment in which nothing is published yet. Looking at one feature set by hand
does not belong here (``use_cases.inspect``).
"""

from dataclasses import dataclass
from typing import Final

import pyarrow.parquet as pq

from feature_platform.core.online.load import OnlineLoad
from feature_platform.core.versions.findings import LOAD, Finding
from feature_platform.ports.feature_server import FeatureServer
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.contracts import contracts_to_register
from feature_platform.use_cases.inspect import prove, readable
from feature_platform.use_cases.serve import published_head

READ_ENTITIES: Final = 20
_AS_JSON_SAYS_IT: Final = frozenset({"int32", "int64", "bool", "string"})
"""Types whose JSON form is the value itself, whoever writes it."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """One feature set of a deployment: its state in words, and what is wrong with it."""

    feature_set: str
    state: str
    findings: tuple[Finding, ...]


def apply_ready(platform: Platform) -> dict[str, bool]:
    """Apply a contract of every feature set to the registry; feature set → whether it is the deployed one.

    A changed contract is applied only with the first version that is built from it: until then readers need the old description of the old
    online values, and the online asset changes both together.
    """
    described = contracts_to_register(platform)
    platform.registry.apply(described)
    return {one.feature_set: one.schema_hash == platform.catalog.contract(one.feature_set).schema_hash for one in described}


def verify_deployment(platform: Platform, *, server: FeatureServer | None) -> tuple[list[Deployed], list[Finding]]:
    """Look at every feature set, and at a server's answers where one is given.

    Returns:
        Each feature set, and the findings of the server itself.
    """
    health = [] if server is None else list(readable("server", lambda: _health(server)))
    return [_verify_one(platform, name, server=server) for name in sorted(platform.catalog.contracts)], health


def _verify_one(platform: Platform, name: str, *, server: FeatureServer | None) -> Deployed:
    contract, history = platform.catalog.contract(name), platform.feature_sets.history(name)
    if history.head is None:
        # The first run comes after the first deployment; until then both stores must be reachable and the contract be known.
        found = [*readable("registry", lambda: platform.registry.findings(contract)), *readable("online", lambda: _reached(platform, name))]
        return Deployed(name, "nothing is published yet", tuple(found))
    version = history.head.version
    is_changed = history.versions[version].schema_hash != contract.schema_hash
    state = f"{version}; the contract has changed since, and waits for the first build" if is_changed else version
    found = list(prove(platform, contract, version=None).findings)
    if server is not None:
        found += readable("server", lambda: _answer_findings(platform, name, server))
    return Deployed(name, state, tuple(found))


def _health(server: FeatureServer) -> list[Finding]:
    server.health()
    return []


def _reached(platform: Platform, name: str) -> list[Finding]:
    platform.online.marker(project=platform.project, view=name)
    return []


def _answer_findings(platform: Platform, name: str, server: FeatureServer) -> list[Finding]:
    """What the server answers for the first entities of the head's file, against what Feast's SDK reads."""
    with published_head(platform.feature_sets, name, project=platform.project) as head:
        keys = _first_keys(head.load)
    contract = head.load.contract
    columns = [column.name for column in contract.feature_columns if column.type in _AS_JSON_SAYS_IT]
    if not keys or not columns:
        return []
    served = server.read(contract, keys, columns)
    expected = platform.registry.read(contract, keys)
    wrong = sum(served[column][place] != row[column] for place, row in enumerate(expected) for column in columns)
    return [Finding("mismatched", server.address, "what Feast's SDK reads", f"{wrong} other values", LOAD)] if wrong else []


def _first_keys(load: OnlineLoad) -> list[dict[str, object]]:
    with load.open_features() as file, pq.ParquetFile(file) as parquet:
        first = next(parquet.iter_batches(READ_ENTITIES, columns=list(load.contract.primary_keys)), None)
    rows: list[dict[str, object]] = [] if first is None else first.to_pylist()
    return rows
