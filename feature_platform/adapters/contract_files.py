"""Contracts read from the directory that GitOps mounts: ``*.schema.json``, ``*.source.json``, ``*.sql`` and ``*.metadata.json.j2``.

Their meaning does not belong here (``core.contract``), nor faults that show only when a template is rendered or a transform is bound
(``adapters.contract_check``).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from feature_platform.core.contract import documents
from feature_platform.core.contract.catalog import Catalog
from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.core.contract.source import SourceContract, cross_faults, load_source_contract
from feature_platform.core.versions.proof import contract_of
from feature_platform.errors import ContractError

SHARED_TEMPLATE: Final = "metadata.json.j2"
MAX_FILE_BYTES: Final = 1 << 20
T = TypeVar("T")


def load_catalog(directory: Path) -> Catalog:
    """Read every contract of a directory.

    Raises:
        ContractError: Naming every fault of every file; or that there is no contract at all.
    """
    catalog, faults = read_catalog(directory)
    require_no_faults(directory, faults)
    return catalog


def require_no_faults(directory: Path, faults: Sequence[str]) -> None:
    """Report all faults of a directory together.

    Raises:
        ContractError: There is one.
    """
    if faults:
        raise ContractError(f"Contracts in {directory} have {len(faults)} fault(s):", faults)


def read_catalog(directory: Path) -> tuple[Catalog, list[str]]:
    """The contracts of a directory that can be read, and every fault of every file."""
    faults: list[str] = []
    contracts = _read_all(directory, ".schema.json", _contract, faults)
    sources = _read_all(directory, ".source.json", _source, faults)
    unread = {path.name.removesuffix(".source.json") for path in directory.glob("*.source.json")} - set(sources)
    for name, contract in contracts.items():
        for part in contract.parts:
            if part.source in sources:
                faults += [f"{name}.schema.json: {fault}" for fault in cross_faults(part, sources[part.source])]
            elif part.source not in unread:
                faults.append(f"{name}.schema.json: source {part.source!r} has no contract; expected {part.source}.source.json beside it")
    templates: dict[str, str] = {}
    for name in contracts:
        try:
            templates[name] = _template(directory, name)
        except ContractError as error:
            faults += [fault for fault in error.faults if fault not in faults]
    if not contracts and not faults:
        faults.append("expected at least one <feature_set>.schema.json, found none")
    catalog = Catalog(contracts=contracts, sources=sources, templates=templates)
    return catalog, faults + catalog.input_faults()


def _read_all(directory: Path, suffix: str, load: Callable[[Path, str], T], faults: list[str]) -> dict[str, T]:
    """Every file with a suffix, by the name before it; what is wrong with any is added to ``faults``."""
    found = {}
    for path in sorted(directory.glob(f"*{suffix}")):
        name = path.name.removesuffix(suffix)
        try:
            found[name] = load(path, name)
        except ContractError as error:
            faults += [f"{path.name}: {fault}" for fault in error.faults or [error.subject]]
    return found


def read_contract(path: Path) -> Contract:
    """The contract of one file: of a directory of contracts, where its SQL transform lies beside it, or a version's ``schema.json``.

    Raises:
        ContractError: With one sentence for each fault.
    """
    name = path.name.removesuffix(".schema.json")
    if name != path.name:
        return _contract(path, name)
    text = _text(path)
    named = documents.parse_object(text, file=path.name).get("feature_set")
    return contract_of(text.encode(), feature_set=str(named))


def _contract(path: Path, name: str) -> Contract:
    sql = path.with_name(f"{name}.sql")
    text = _text(sql) if _is_there(sql) else None
    return load_contract(_text(path), file=path.name, expected_name=name, sql=text)


def _source(path: Path, name: str) -> SourceContract:
    return load_source_contract(_text(path), file=path.name, expected_name=name)


def _template(directory: Path, feature_set: str) -> str:
    names = (f"{feature_set}.{SHARED_TEMPLATE}", SHARED_TEMPLATE)
    found = [directory / name for name in names if _is_there(directory / name)]
    if not found:
        raise ContractError("No template", [f"{feature_set}: expected {names[0]} or {names[1]}, found neither"])
    return _text(found[0])


def _is_there(path: Path) -> bool:
    """Whether a directory has an entry of this name. A link to nothing counts: it is a fault to report, not a file left out."""
    return path.is_symlink() or path.exists()


def _text(path: Path) -> str:
    """A small file of UTF-8 text.

    Raises:
        ContractError: It is no regular file, cannot be read, is too large, or is not UTF-8.
    """
    try:
        found = _obstacle(path)
        text = "" if found else path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        found = str(error)
    if found:
        fault = f"{path.name}: found {found}; expected a file of UTF-8 text, at most {MAX_FILE_BYTES} bytes"
        raise ContractError(f"{path.name} cannot be read:", [fault])
    return text


def _obstacle(path: Path) -> str:
    """Why a file is not opened; empty where it can be."""
    if path.is_symlink() and not path.exists():
        return "a link to nothing"
    if not path.is_file():
        return "a directory" if path.is_dir() else "no regular file"
    size = path.stat().st_size
    return f"{size} bytes" if size > MAX_FILE_BYTES else ""
