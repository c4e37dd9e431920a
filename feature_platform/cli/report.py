"""``feature-platform report``: the catalogue as one HTML file. What it shows does not belong here (``use_cases.catalogue``)."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from feature_platform.cli.output import command, say
from feature_platform.errors import ConfigurationError, UnknownNameError
from feature_platform.wiring import open_platform


@command
def report(
    version: Annotated[
        str | None, typer.Argument(help="A version id, shown instead of its feature set's latest.", show_default=False)
    ] = None,
    html: Annotated[Path, typer.Option("--html", help="File to write; it needs no other file.")] = Path("report.html"),
) -> None:
    """Write one page for people: each feature set's state, lineage, columns, distributions, versions over time, and online version."""
    from feature_platform.adapters.report import page
    from feature_platform.use_cases.catalogue import catalogue

    platform, now = open_platform(), datetime.now(UTC)
    entries = catalogue(platform, now=now, version=version, progress=lambda name: say(f"Looking at {name}."))
    if version and not any(version in {each.version for each in entry.committed} for entry in entries):
        raise UnknownNameError(
            f"No feature set has a version {version}; `feature-platform versions list FEATURE_SET` shows those that exist."
        )
    try:
        html.write_text(page(entries, environment=platform.settings.env, now=now), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{html} cannot be written; choose another file by --html:", [str(error)]) from error
    say(f"Wrote {html}.")
