"""``feature-platform deployment …``: commands that the jobs of a deployment call, before and after its pods change.

Each looks at every feature set, may run any number of times, and succeeds in an environment in which nothing is published yet.
Looking at one feature set by hand does not belong here (``status``, ``verify``, ``doctor``), nor what is looked at (``use_cases.deploy``).
"""

from pathlib import Path
from typing import Annotated

import typer

from feature_platform.cli.output import FINDING, AsJson, command, say, show, show_one
from feature_platform.wiring import feature_server_at, open_platform

app = typer.Typer(help="Commands for the jobs of a deployment; each looks at every feature set.", no_args_is_help=True)


@app.command()
@command
def migrate() -> None:
    """Migrate the tables of Dagster's storage to the schema that this image expects; create them where there are none.

    `dagster instance migrate` does the same, but also prints the run launcher and therefore fails in a pod without a token of the cluster.
    """
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        instance.upgrade(say)


@app.command()
@command
def apply(as_json: AsJson = False) -> None:
    """Apply the contracts to Feast's registry; a changed contract is applied only with the first version that is built from it.

    Until then readers need the old description of the old online values; the online asset changes both together.
    """
    from feature_platform.use_cases.deploy import apply_ready

    platform = open_platform()
    rows = [
        {
            "feature_set": name,
            "schema_hash": platform.catalog.contract(name).schema_hash,
            "registry": "applied" if is_applied else "waits for its data",
        }
        for name, is_applied in apply_ready(platform).items()
    ]
    show(rows, as_json=as_json, title=f"Registry of {platform.project}")


@app.command()
@command
def verify(
    server: Annotated[str | None, typer.Option("--server", help="URL of a feature server, whose answers are checked as well.")] = None,
    tokens: Annotated[
        Path | None, typer.Option("--tokens", help="The server's file of bearer tokens; the first one is sent.", dir_okay=False)
    ] = None,
    ca: Annotated[Path | None, typer.Option("--ca", help="CA certificate that the server's is checked by, PEM.", dir_okay=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Prove everything that is served: files, latest, registry, online values, a server's answers. Exits 1 on a finding."""
    from feature_platform.core.versions.findings import documents
    from feature_platform.use_cases.deploy import verify_deployment

    platform = open_platform()
    asked = feature_server_at(server, tokens=tokens, authority=ca) if server else None
    deployed, health = verify_deployment(platform, server=asked)
    rows = [{"feature_set": one.feature_set, "state": one.state, "findings": len(one.findings)} for one in deployed]
    findings = documents(health) + [
        {"feature_set": one.feature_set, **document} for one in deployed for document in documents(one.findings)
    ]
    if as_json:
        show_one({"feature_sets": rows, "findings": findings}, as_json=True)
    else:
        show(rows, as_json=False, title=f"Environment {platform.settings.env}")
        show(findings, as_json=False, title="Findings", empty="Proved: what is served is what was published.")
    if findings:
        raise typer.Exit(FINDING)
