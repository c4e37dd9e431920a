"""``feature-platform contract …``: check contracts, compare them with each other and with what is published, print their hashes."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from feature_platform.cli.output import FINDING, AsJson, FeatureSet, command, say, show, show_one
from feature_platform.errors import ConfigurationError, FeaturePlatformError, UnknownNameError
from feature_platform.settings import contracts_dir, load_settings
from feature_platform.wiring import Platform, open_platform, s3_at

if TYPE_CHECKING:
    from feature_platform.core.contract.catalog import Catalog
    from feature_platform.core.contract.compatibility import ContractDiff
    from feature_platform.core.contract.feature_set import Contract

_IN_A_TABLE: Final = ("contract", "kind", "version", "columns", "schema_hash", "change")
app = typer.Typer(help="Check, compare and identify contracts.", no_args_is_help=True)
Directory = Annotated[
    Path | None,
    typer.Option("--dir", help="Directory of contracts; FEATURE_PLATFORM_CONTRACTS_DIR where left out.", exists=True, file_okay=False),
]


def _directory(given: Path | None) -> Path:
    return given or contracts_dir()


@app.command()
@command
def check(directory: Directory = None, as_json: AsJson = False) -> None:
    """Read every contract, render every template, bind every SQL transform, and list all faults. Exits 2 when there is one.

    Nothing but the directory is needed. Where the environment is set and answers, each contract is compared with what is published, too,
    and one that breaks it under the same `version` is a fault.
    """
    from feature_platform.adapters.contract_check import check_catalog
    from feature_platform.use_cases.contracts import require_announced

    catalog = check_catalog(_directory(directory))
    platform, found = _against_what_is_published(catalog)
    rows = [
        {
            "contract": name,
            "kind": "feature set",
            "version": c.version,
            "columns": len(c.all_columns),
            "schema_hash": c.schema_hash,
            "change": found[name].kind if name in found else None,
            "changes": [str(change) for change in found[name].changes] if name in found else [],
        }
        for name, c in catalog.contracts.items()
    ]
    rows += [
        {"contract": name, "kind": "source", "version": s.version, "columns": len(s.columns), "schema_hash": s.schema_hash, "change": None}
        for name, s in catalog.sources.items()
    ]
    unannounced = any(difference.breaking for difference in found.values())
    show(rows, as_json=as_json, title="Contracts" if unannounced else "No faults", columns=_IN_A_TABLE)
    for name, difference in found.items():
        if difference.changes and not as_json:
            _show_diff(difference, title=f"{name}: against what is published")
    for contract in catalog.contracts.values():
        if platform is not None and contract.feature_set in found:
            require_announced(platform, contract)


def _against_what_is_published(catalog: "Catalog") -> "tuple[Platform | None, Mapping[str, ContractDiff]]":
    """How each contract differs from the published one; nothing where no environment is set, or where it does not answer at once."""
    from feature_platform.use_cases.contracts import changes_since

    try:
        settings = load_settings()
    except ConfigurationError:
        return None, {}
    platform = Platform(settings=settings, catalog=catalog, objects=s3_at(patience_s=2))
    try:
        return platform, {name: changes_since(platform, contract) for name, contract in catalog.contracts.items()}
    except FeaturePlatformError as error:
        say(f"Not compared with what is published: {error}")
        return None, {}


@app.command()
@command
def diff(
    old: Annotated[str, typer.Argument(help="A contract file, or <feature_set>[@version] as published.", show_default=False)],
    new: Annotated[str | None, typer.Argument(help="The same; the deployed contract where left out.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two contracts of a feature set: what changed, of which kind, and where it shows. Exits 1 when readers would notice."""
    from feature_platform.core.contract.compatibility import compare

    (before, before_sql), (after, after_sql) = _side(old), _side(new) if new else _deployed(old)
    found = compare(before, after, old_sql_hash=before_sql, new_sql_hash=after_sql)
    if as_json:
        changes = [asdict(change) for change in found.changes]
        show_one({"feature_set": after.feature_set, "kind": found.kind, "changes": changes, "effects": found.effects}, as_json=True)
    else:
        _show_diff(found, title=f"{after.feature_set}: {found.kind}")
    if found.breaking:
        raise typer.Exit(FINDING)


@app.command(name="try")
@command
def try_build(
    feature_set: FeatureSet,
    day: Annotated[str, typer.Option("--day", help="The partition to build, YYYY-MM-DD.", show_default=False)],
    rows: Annotated[int, typer.Option("--rows", min=1, help="How many rows to show.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Build one day in memory by the deployed contract and show its rows and checks. Nothing is written, nothing is published."""
    from feature_platform.use_cases.preview import preview

    platform = open_platform()
    contract = platform.catalog.contract(feature_set)
    found = preview(platform, contract, day_of(day))
    first = found.table.slice(0, rows).to_pylist()
    days = [
        {"source": one.source, "day": one.partition, "rows": one.rows_in, "kept": one.kept, "rejected": dict(one.rejected)}
        for one in found.days
    ]
    if as_json:
        nulls, missing = dict(found.nulls), list(found.missing)
        show_one({"rows": found.table.num_rows, "nulls": nulls, "days": days, "missing": missing, "first": first}, as_json=True)
        return
    show(days, as_json=False, title=f"Events of {', '.join(contract.source_names)}")
    show(first, as_json=False, title=f"{feature_set} {day}: {found.table.num_rows} rows", empty="No rows.")
    empty = [f"{name} in {count} of {found.table.num_rows} rows" for name, count in found.nulls.items() if count]
    say(f"Nothing was published. Days without data: {', '.join(found.missing) or 'none'}. Nulls: {', '.join(empty) or 'none'}.")


def day_of(text: str) -> str:
    """The text, where it is a day as in a partition key.

    Raises:
        ConfigurationError: It is no such day, or one whose window reaches beyond the years that Python's dates have.
    """
    try:
        day = date.fromisoformat(text)
        if day.isoformat() == text and 1900 <= day.year < 3000:
            return text
    except ValueError:
        pass
    raise ConfigurationError(f"--day {text}: expected a day as YYYY-MM-DD, from 1900 to 2999.")


def _show_diff(found: "ContractDiff", *, title: str) -> None:
    changes = [{"change": change.where, "kind": change.kind, "what": change.reason} for change in found.changes]
    show(changes, as_json=False, title=title, empty="Both say the same.")
    if changes:
        show([{"part": part, "effect": effect} for part, effect in found.effects.items()], as_json=False, title="What the change does")


def _side(text: str) -> "tuple[Contract, str | None]":
    """A contract by its file or as it was published, with the hash of its SQL transform where that is known."""
    from feature_platform.adapters.contract_files import read_contract
    from feature_platform.core.publishing.decisions import committed

    if Path(text).is_file():
        contract = read_contract(Path(text))
        return contract, contract.sql_hash if contract.sql else None
    name, _, version = text.partition("@")
    store = open_platform().feature_sets
    history = store.history(name)
    found = committed(history, version) if version not in {"", "latest"} else history.head_version
    if found is None:
        raise UnknownNameError(f"{text!r} is neither a file nor a feature set with a latest.")
    return store.contract_of(name, found.version), store.metadata(name, found.version).sql_hash


def _deployed(text: str) -> "tuple[Contract, str | None]":
    from feature_platform.adapters.contract_files import load_catalog

    name = Path(text).name.removesuffix(".schema.json").partition("@")[0]
    contract = load_catalog(_directory(None)).contract(name)
    return contract, contract.sql_hash


@app.command(name="hash")
@command
def show_hash(
    feature_set: Annotated[str | None, typer.Argument(help="One feature set; all where left out.")] = None,
    directory: Directory = None,
    as_json: AsJson = False,
) -> None:
    """The schema hash that names a contract: SHA-256 of its canonical JSON."""
    from feature_platform.adapters.contract_files import load_catalog

    catalog = load_catalog(_directory(directory))
    chosen = [catalog.contract(feature_set)] if feature_set else list(catalog.contracts.values())
    if as_json:
        show([{"feature_set": c.feature_set, "schema_hash": c.schema_hash} for c in chosen], as_json=True)
        return
    for contract in chosen:
        print(contract.schema_hash if feature_set else f"{contract.schema_hash}  {contract.feature_set}")  # noqa: T201  as sha256sum does
