"""``feature-platform report``: the catalogue of every feature set as one HTML file. What is on it lives in ``use_cases.catalogue``."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from feature_platform.cli.output import command, say


@command
def report(
    version: Annotated[
        str | None, typer.Argument(help="A version id, shown instead of its feature set's latest.", show_default=False)
    ] = None,
    html: Annotated[Path, typer.Option("--html", help="File to write; it needs nothing beside it.")] = Path("report.html"),
) -> None:
    """One page for people: each feature set's state, lineage, columns, distributions, versions over time, and what is online."""
    from feature_platform.adapters.report import page
    from feature_platform.errors import ConfigurationError, UnknownNameError
    from feature_platform.use_cases.catalogue import catalogue
    from feature_platform.wiring import open_platform

    platform, now = open_platform(), datetime.now(UTC)
    entries = catalogue(platform, now=now, version=version, progress=lambda name: say(f"Looks at {name}."))
    if version and not any(version in {each.version for each in entry.committed} for entry in entries):
        raise UnknownNameError(
            f"No feature set has a version {version}; `feature-platform versions list FEATURE_SET` shows those there are."
        )
    try:
        html.write_text(page(entries, environment=platform.settings.env, now=now), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{html} cannot be written:", [str(error)]) from error
    say(f"Wrote {html}.")
