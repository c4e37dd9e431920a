"""``feature-platform deployment …``: what the jobs of a deployment call, before and after its pods change.

They look at every feature set at once, may run any number of times, and are content with an environment in which nothing is published yet.
Looking at one feature set by hand does not belong here (``status``, ``verify``, ``doctor``), nor what is looked at (``deployment_checks``).
"""

from pathlib import Path
from typing import Annotated

import typer

from feature_platform.cli.output import FINDING, AsJson, command, say, show, show_one

app = typer.Typer(help="What the jobs of a deployment call, for every feature set.", no_args_is_help=True)


@app.command()
@command
def migrate() -> None:
    """Bring the tables of Dagster's storage to the form that this image expects; create them where there are none.

    As `dagster instance migrate` does, which also prints the run launcher and so fails in a pod that holds no token of the cluster.
    """
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        instance.upgrade(say)


@app.command()
@command
def apply(as_json: AsJson = False) -> None:
    """Tell Feast's registry about the contracts; a changed one waits for the first version that is built by it.

    Readers of what is online need its description, and the online asset changes both together.
    """
    from feature_platform.adapters.feast.repository import apply_contracts
    from feature_platform.cli.deployment_checks import waits_for_its_data
    from feature_platform.wiring import open_platform

    platform = open_platform()
    waiting = waits_for_its_data(platform)
    ready = [contract for name, contract in platform.catalog.contracts.items() if name not in waiting]
    if ready:
        apply_contracts(platform.feast_store, ready, settings=platform.settings)
    rows = [
        {"feature_set": name, "contract": contract.schema_hash[:12], "registry": "waits for its data" if name in waiting else "applied"}
        for name, contract in sorted(platform.catalog.contracts.items())
    ]
    show(rows, as_json=as_json, title=f"Registry of {platform.settings.feast_project}")


@app.command()
@command
def verify(
    server: Annotated[str | None, typer.Option("--server", help="URL of a feature server to read from, too.")] = None,
    tokens: Annotated[
        Path | None, typer.Option("--tokens", help="Its file of bearer tokens; the first one is sent.", dir_okay=False)
    ] = None,
    ca: Annotated[Path | None, typer.Option("--ca", help="Certificate of the authority that signed the server's.", dir_okay=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Prove everything that is served: files, latest, registry, online values, a server's answers. Exits 1 on a finding."""
    from feature_platform.cli.asked_server import AskedServer
    from feature_platform.cli.deployment_checks import verify_deployment
    from feature_platform.wiring import open_platform

    platform = open_platform()
    report = verify_deployment(platform, server=None if server is None else AskedServer.of(server, tokens=tokens, authority=ca))
    if as_json:
        show_one(report, as_json=True)
    else:
        show(report["feature_sets"], as_json=False, title=f"Environment {platform.settings.env}")
        show(report["findings"], as_json=False, title="Findings", empty="Proved: what is served is what was published.")
    if report["findings"]:
        raise typer.Exit(FINDING)
