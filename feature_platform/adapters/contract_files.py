"""Contracts read from the directory that GitOps mounts: ``*.schema.json``, ``*.source.json``, ``*.sql`` and ``*.metadata.json.j2``.

Their meaning does not belong here (``core.contract.feature_set``, ``core.contract.source``).
"""

from pathlib import Path
from typing import Final

from feature_platform.core.contract.catalog import Catalog
from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.core.contract.source import SourceContract, cross_faults, load_source_contract
from feature_platform.errors import ContractError

SHARED_TEMPLATE: Final = "metadata.json.j2"


def load_catalog(directory: Path) -> Catalog:
    """Read every contract of a directory.

    Raises:
        ContractError: Naming every fault of every file; or that there is no contract at all.
    """
    faults: list[str] = []
    contracts: dict[str, Contract] = {}
    sources: dict[str, SourceContract] = {}
    for path in sorted(directory.glob("*.schema.json")):
        name, sql = path.name.removesuffix(".schema.json"), path.with_name(path.name.replace(".schema.json", ".sql"))
        try:
            text = sql.read_text(encoding="utf-8") if sql.is_file() else None
            contracts[name] = load_contract(path.read_bytes(), file=path.name, expected_name=name, sql=text)
        except ContractError as error:
            faults += [f"{path.name}: {fault}" for fault in error.faults]
    for path in sorted(directory.glob("*.source.json")):
        name = path.name.removesuffix(".source.json")
        try:
            sources[name] = load_source_contract(path.read_bytes(), file=path.name, expected_name=name)
        except ContractError as error:
            faults += [f"{path.name}: {fault}" for fault in error.faults]
    unread = {path.name.removesuffix(".source.json") for path in directory.glob("*.source.json")} - set(sources)
    for name, contract in contracts.items():
        if contract.source in sources:
            faults += [f"{name}.schema.json: {fault}" for fault in cross_faults(contract, sources[contract.source])]
        elif contract.source not in unread:
            faults.append(
                f"{name}.schema.json: source {contract.source!r} has no contract; expected {contract.source}.source.json beside it"
            )
    templates = {name: _template(directory, name) for name in contracts}
    faults += [
        f"{name}: expected {name}.{SHARED_TEMPLATE} or {SHARED_TEMPLATE}, found neither" for name, text in templates.items() if not text
    ]
    if not contracts and not faults:
        faults.append("expected at least one <feature_set>.schema.json, found none")
    if faults:
        raise ContractError(f"Contracts in {directory} have {len(faults)} fault(s):", faults)
    return Catalog(contracts=contracts, sources=sources, templates=templates)


def _template(directory: Path, feature_set: str) -> str:
    for name in (f"{feature_set}.{SHARED_TEMPLATE}", SHARED_TEMPLATE):
        if (directory / name).is_file():
            return (directory / name).read_text(encoding="utf-8")
    return ""
