"""``feature-platform up | down | demo | dev``: the embedded servers and the main job on them. Dev and prod do not belong here."""

import os
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from feature_platform.cli.environment import has_data, local_environment
from feature_platform.cli.output import AsJson, command, say, show_one
from feature_platform.settings import variable

Home = Annotated[Path, typer.Option("--home", envvar=variable("home"), help="Where the servers keep their state.")]
DEFAULT_HOME: Final = Path(".feature_platform")


@command
def up(
    home: Home = DEFAULT_HOME,
    start: Annotated[
        datetime | None,
        typer.Option("--start-date", formats=["%Y-%m-%d"], help="First daily partition; by default as before, or 30 days ago."),
    ] = None,
    contracts: Annotated[
        Path | None, typer.Option("--contracts", help="Directory of contracts; by default as before, or the project's.")
    ] = None,
    redis_reader: Annotated[bool, typer.Option("--redis-reader", help="Name a Redis user who can only read, for `feast serve`.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start the embedded S3 and Redis servers and print the environment to export.

    Use it as: eval "$(feature-platform up)"
    """
    environment = local_environment(home, start=start.date() if start else None, contracts=contracts, redis_read_only=redis_reader)
    if as_json:
        show_one(environment, as_json=True)
        return
    for name, value in environment.items():
        print(f"export {name}={shlex.quote(value)}")  # noqa: T201 the answer of the command
    say("# S3 and Redis are up. `feature-platform down` stops them and keeps their data.")


@command
def down(home: Home = DEFAULT_HOME) -> None:
    """Stop the embedded servers; their data stays."""
    from feature_platform.local.services import LocalServices

    LocalServices(home).down()
    say("S3 and Redis are down; their data is kept.")


@command
def demo(
    home: Home = DEFAULT_HOME,
    days: Annotated[int, typer.Option("--days", min=3, max=30, help="Days of raw events.")] = 9,
) -> None:
    """Run the main job on made-up events: raw files on S3 to features served from Redis, with a correction on the way."""
    from feature_platform.cli.demo import run_demo

    run_demo(home, days=days)


@command
def dev(
    home: Home = DEFAULT_HOME,
    host: Annotated[str, typer.Option("--host", help="Address the UI listens on. It has no login: keep it on this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port of the UI.")] = 3000,
) -> None:
    """Open the Dagster UI on the embedded servers; runs the demo first where neither it nor `up` ever ran. Ctrl-C stops only the UI."""
    from feature_platform.cli.demo import run_demo

    if not has_data(home):
        run_demo(home, days=9)
    environment = {**os.environ, **local_environment(home, start=None, contracts=None)}
    say(f"The Dagster UI opens on http://{host}:{port}; `feature-platform down` stops S3 and Redis afterwards.")
    superseded = "ignore:Function `dev_command` is superseded"  # by a command that expects another project layout
    program = [sys.executable, "-W", superseded, "-m", "dagster", "dev", "-m", "feature_platform.definitions", "-h", host, "-p", str(port)]
    os.execve(sys.executable, program, environment)  # noqa: S606 the UI takes this process's place, and its signals
