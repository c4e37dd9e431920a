"""The command tree. Each group of commands has a module of its own."""

import typer

from feature_platform.cli import contracts, local, online, operations, prove, serve, versions

app = typer.Typer(
    name="feature-platform",
    help="Versioned feature sets: see what is published and served, prove it, and move it on purpose.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
local.register(app)
operations.register(app)
app.command()(serve.serve)
app.command()(prove.prove)
app.add_typer(versions.app, name="versions")
app.add_typer(online.app, name="online")
app.add_typer(contracts.app, name="contract")
