"""The tree of commands. Each group of commands has its own module; what a command does does not belong here."""

from typing import Annotated, Final

import typer

from feature_platform.adapters.logs import configure_logs
from feature_platform.cli import (
    backfill,
    contracts,
    deployment,
    first_hour,
    local,
    online,
    operations,
    prove,
    refresh,
    report,
    serve,
    training,
    versions,
    watch,
)
from feature_platform.settings import logs_are_json


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        print(f"feature-platform {version('feature-platform')}")  # noqa: T201  the answer
        raise typer.Exit


app = typer.Typer(
    name="feature-platform",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def main(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")] = False,  # noqa: ARG001  its callback answers
) -> None:
    """Versioned feature sets: see which versions are published and served, prove them, and move latest by hand."""
    if logs_are_json():
        configure_logs(is_json=True)


_COMMANDS: Final = (
    local.up, local.down, local.demo, local.dev, first_hour.init, operations.status, operations.verify, operations.reproduce,
    operations.doctor, operations.promote, operations.rollback, operations.pin, operations.unpin, operations.gc, operations.decommission,
    watch.health, watch.watch, serve.serve, prove.prove, report.report, refresh.refresh, backfill.backfill,
)  # fmt: skip
for function in _COMMANDS:
    app.command()(function)
app.add_typer(first_hour.raw, name="raw")
app.add_typer(versions.app, name="versions")
app.add_typer(online.app, name="online")
app.add_typer(contracts.app, name="contract")
app.add_typer(training.app, name="training-set")
app.add_typer(deployment.app, name="deployment")
