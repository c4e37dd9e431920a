"""The command tree. Each group of commands has a module of its own."""

import typer

from feature_platform.cli import contracts, deployment, local, online, operations, versions

app = typer.Typer(
    name="feature-platform",
    help="Versioned feature sets: see what is published and served, prove it, and move it on purpose.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
local.register(app)
operations.register(app)
app.add_typer(versions.app, name="versions")
app.add_typer(online.app, name="online")
app.add_typer(contracts.app, name="contract")
app.add_typer(deployment.app, name="deployment")
