"""How commands print: tables for people, JSON for programs, and exit codes. What they print does not belong here."""

import functools
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, ParamSpec, TypeVar

import typer

from feature_platform.errors import ConfigurationError, ContractError, FeaturePlatformError, UnknownNameError
from feature_platform.settings import logs_are_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

FINDING: Final = 1
MISUSE: Final = 2
MOST_DAYS: Final = 36_500
"""Longest span of days that an option takes: a century; Python's dates end in an error much later."""
PIPED_WIDTH: Final = 80
_UNBOUNDED: Final = 10_000
_SHORT_HASH: Final = 12

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]
FeatureSet = Annotated[str, typer.Argument(help="The feature set's name, e.g. user_features.", show_default=False)]

_log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Turn the platform's errors into a sentence on stderr and an exit code.

    2 for settings, contracts and names that do not exist, which whoever calls corrects; 1 for everything else.
    """

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except FeaturePlatformError as error:
            _tell(f"feature-platform: {error}", level=logging.ERROR)
            raise typer.Exit(MISUSE if isinstance(error, ConfigurationError | ContractError | UnknownNameError) else FINDING) from error

    return guarded


def console() -> "Console":
    """The terminal; as wide as the narrowest usual one where output is piped and the width is unknown."""
    from rich.console import Console

    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=PIPED_WIDTH)


def show(
    rows: Sequence[Mapping[str, Any]], *, as_json: bool, title: str = "", empty: str = "Nothing to show.", columns: Sequence[str] = ()
) -> None:
    """Print rows as a table, or as a JSON list.

    Args:
        rows: Mappings that all have the same keys.
        as_json: Print JSON with every key and whole values; a table shows only the first characters of hashes.
        empty: Printed instead of a table where there are no rows.
        columns: The keys that the table shows; all where left out. Rows too wide for the terminal become one table each.
    """
    if as_json:
        print(json.dumps(list(rows), indent=2, ensure_ascii=False, default=str))  # noqa: T201
        return
    terminal = console()
    if not rows:
        terminal.print(empty)
        return
    shown = [{name: _cell(name, value) for name, value in row.items() if not columns or name in columns} for row in rows]
    table = _table(shown, title=title)
    if terminal.measure(table, options=terminal.options.update(max_width=_UNBOUNDED)).maximum <= terminal.width:
        terminal.print(table)
        return
    for number, row in enumerate(shown):
        pairs = [{"field": name, "value": value} for name, value in row.items() if value]
        terminal.print(_table(pairs, title="" if number else title))


def _table(rows: Sequence[Mapping[str, str]], *, title: str) -> "Table":
    from rich.table import Table

    table = Table(title=title or None, title_justify="left")
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    return table


def _cell(name: str, value: object) -> str:
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list | tuple) else str(value)
    return text[:_SHORT_HASH] if name.endswith("_hash") else text


def show_document(document: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a nested document: plain JSON for programs, coloured JSON for people."""
    if as_json:
        show_one(document, as_json=True)
        return
    console().print_json(data=dict(document), default=str)


def show_one(row: Mapping[str, Any], *, as_json: bool, title: str = "") -> None:
    """Print one flat thing: as a JSON object, or a table of its fields."""
    if as_json:
        print(json.dumps(dict(row), indent=2, ensure_ascii=False, default=str))  # noqa: T201
        return
    show([{"field": name, "value": _cell(name, value)} for name, value in row.items()], as_json=False, title=title)


def say(text: str) -> None:
    """Print a note for the person at the terminal on stderr, so that stdout can be piped."""
    _tell(text, level=logging.INFO)


def _tell(text: str, *, level: int) -> None:
    if logs_are_json():
        _log.log(level, "%s", text)
    else:
        print(text, file=sys.stderr)  # noqa: T201
