"""``feature-platform init`` and ``raw put``: contracts and raw data from a file of your own.

How a contract is guessed does not belong here (``core.contract.draft``), nor how files are uploaded (``use_cases.deliver``).
"""

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_platform.cli.contracts import day_of
from feature_platform.cli.output import AsJson, command, say, show
from feature_platform.errors import ConfigurationError, InvalidDataError, UnknownNameError
from feature_platform.wiring import open_platform

if TYPE_CHECKING:
    from feature_platform.core.contract.draft import Draft

raw = typer.Typer(help="Upload raw data of your own.", no_args_is_help=True)


@command
def init(
    directory: Annotated[Path, typer.Argument(help="Directory for the contracts; created if needed.", file_okay=False, show_default=False)],
    sample: Annotated[Path, typer.Option("--sample", help="A raw file: CSV, JSON Lines or Parquet.", exists=True, dir_okay=False)],
    source: Annotated[str | None, typer.Option("--source", help="The source's name; from the file's name where left out.")] = None,
    event_time: Annotated[str | None, typer.Option("--event-time", help="Column that says when an event happened.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Column of the entity that features are about, e.g. user_id.")] = None,
) -> None:
    """Guess a source contract and a first feature contract from a sample, write them with a metadata template, and say what to check."""
    from feature_platform.adapters.contract_check import check_catalog
    from feature_platform.adapters.events.sample import read_sample
    from feature_platform.core.contract.documents import SAFE_NAME
    from feature_platform.core.contract.draft import draft

    name = source or _source_of(sample)
    if not re.fullmatch(SAFE_NAME, name):
        raise ConfigurationError(f"--source {name!r}: expected lower-case letters, digits and underscores, a letter first; at most 63.")
    rows = read_sample(sample)
    try:
        found = draft(rows, source=name, event_time=event_time, key=key)
    except InvalidDataError as error:
        if {event_time, key} - {None, *rows.column_names}:
            raise UnknownNameError(str(error)) from error
        raise
    with ExitStack() as undo:
        written = _write(directory, found, undo)
        check_catalog(directory)
        undo.pop_all()
    show([{"file": str(path)} for path in written], as_json=False, title="Written; contract check finds no faults")
    say("Check what was guessed, and edit:\n" + "\n".join(f"  - {line}" for line in found.to_check))
    feature_set = found.feature_set["feature_set"]
    say(
        "Then:\n"
        f'  eval "$(feature-platform up --contracts {directory} --start-date YYYY-MM-DD)"\n'
        f"  feature-platform raw put {sample} --source {name} --day YYYY-MM-DD\n"
        f"  feature-platform contract try {feature_set} --day YYYY-MM-DD"
    )


def _source_of(sample: Path) -> str:
    """A source's name from a file's: one day's file is called after its source and its day, so a date at the end is left out.

    >>> _source_of(Path("orders-2026-01-14.csv.gz"))
    'orders'
    """
    stem = re.sub(r"[-_]*\d{4}[-_]?\d\d[-_]?\d\d$", "", sample.name.split(".")[0])
    return re.sub(r"[^a-z0-9_]", "_", stem.lower()).lstrip("_0123456789")[:63] or "events"


def _write(directory: Path, found: "Draft", undo: ExitStack) -> list[Path]:
    """Write the two contracts, and the metadata template where there is none; no existing file is overwritten.

    Each file is added to ``undo``, which removes them again where the directory does not pass its check.

    Raises:
        ConfigurationError: A contract exists already, or the directory cannot be written.
    """
    from feature_platform.adapters.contract_files import SHARED_TEMPLATE
    from feature_platform.adapters.machine.spool import disk_errors
    from feature_platform.core.versions.metadata import REQUIRED

    texts = {
        f"{found.source['source']}.source.json": json.dumps(found.source, indent=2, ensure_ascii=False),
        f"{found.feature_set['feature_set']}.schema.json": json.dumps(found.feature_set, indent=2, ensure_ascii=False),
    }
    present = [name for name in texts if (directory / name).exists()]
    if present:
        raise ConfigurationError(f"{directory} has {' and '.join(present)} already; nothing was written. Choose another directory.")
    if not (directory / SHARED_TEMPLATE).exists():
        fields = ",\n".join(f'  "{name}": {{{{ {name} | tojson }}}}' for name in REQUIRED)
        texts[SHARED_TEMPLATE] = f"{{\n{fields}\n}}"
    with disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            undo.callback((directory / name).unlink, missing_ok=True)
            (directory / name).write_text(f"{text}\n", encoding="utf-8")
    return [directory / name for name in texts]


@raw.callback()
def _group() -> None:
    """Make ``raw`` a group: without a callback, typer drops the name ``put`` of a group's only command."""


@raw.command()
@command
def put(
    path: Annotated[Path, typer.Argument(help="A directory of dt=YYYY-MM-DD directories; with --day, a file or directory.", exists=True)],
    source: Annotated[str, typer.Option("--source", help="The source's name in its contract.", show_default=False)],
    day: Annotated[str | None, typer.Option("--day", help="The day of these files, YYYY-MM-DD.")] = None,
    as_json: AsJson = False,
) -> None:
    """Upload raw files to the source's raw data. A file whose name exists there is not written, so a second run changes nothing."""
    from feature_platform.use_cases import deliver

    platform = open_platform()
    sources = platform.catalog.sources
    if source not in sources:
        raise UnknownNameError(f"No contract for source {source!r}; there are: {', '.join(sorted(sources)) or 'none'}.")
    found = deliver.found_below(path, day=day_of(day) if day else None)
    done = [one for key, files in found.items() for one in deliver.deliver(platform, sources[source], key, files)]
    rows = [{"day": one.partition, "object": one.uri, "bytes": one.size_bytes, "outcome": one.outcome} for one in done]
    show(rows, as_json=as_json, title=f"Raw data of {source}")
