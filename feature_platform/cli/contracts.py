"""``feature-platform contract …``: check contracts and sign them."""

from pathlib import Path
from typing import Annotated

import typer

from feature_platform.cli.output import AsJson, command, show

app = typer.Typer(help="Check contracts and show their hashes.", no_args_is_help=True)
Directory = Annotated[
    Path | None,
    typer.Option("--dir", help="Directory of contracts; FEATURE_PLATFORM_CONTRACTS_DIR where left out.", exists=True, file_okay=False),
]


def _directory(given: Path | None) -> Path:
    from feature_platform.settings import contracts_dir

    return given or contracts_dir()


@app.command()
@command
def check(directory: Directory = None, as_json: AsJson = False) -> None:
    """Read every contract, render every template, bind every SQL transform, and list all faults. Exits 2 when there is one.

    Nothing but the directory is read: no data, no network, no other setting.
    """
    from feature_platform.adapters.contract_check import check_catalog

    catalog = check_catalog(_directory(directory))
    rows = [
        {"contract": name, "kind": "feature set", "version": c.version, "columns": len(c.all_columns), "schema_hash": c.schema_hash}
        for name, c in catalog.contracts.items()
    ]
    rows += [
        {"contract": name, "kind": "source", "version": s.version, "columns": len(s.columns), "schema_hash": s.schema_hash}
        for name, s in catalog.sources.items()
    ]
    show(rows, as_json=as_json, title="No faults")


@app.command(name="hash")
@command
def show_hash(
    feature_set: Annotated[str | None, typer.Argument(help="One feature set; all where left out.")] = None,
    directory: Directory = None,
    as_json: AsJson = False,
) -> None:
    """The schema hash that signs a contract: SHA-256 of its canonical JSON."""
    from feature_platform.adapters.contract_files import load_catalog

    catalog = load_catalog(_directory(directory))
    chosen = [catalog.contract(feature_set)] if feature_set else list(catalog.contracts.values())
    if as_json:
        show([{"feature_set": c.feature_set, "schema_hash": c.schema_hash} for c in chosen], as_json=True)
        return
    for contract in chosen:
        print(contract.schema_hash if feature_set else f"{contract.schema_hash}  {contract.feature_set}")  # noqa: T201  as sha256sum does
