"""``feature-platform training-set …``: make, verify, list, show and delete training sets. How does not belong here (``training``)."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feature_platform.cli.output import MOST_DAYS, AsJson, command, say, show, show_document, show_one
from feature_platform.errors import ConfigurationError, InvalidDataError, UnknownNameError
from feature_platform.wiring import open_platform

if TYPE_CHECKING:
    from feature_platform.core.training.manifest import TrainingManifest
    from feature_platform.core.training.split import Split
    from feature_platform.ports.platform import Platform

app = typer.Typer(help="Features as they were known at each label's moment.", invoke_without_command=True)
Name = Annotated[str, typer.Argument(help="The training set's name.", show_default=False)]


@app.callback()
@command
def make(
    context: typer.Context,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="A .parquet or .csv file with join keys, a moment, and any other columns.", exists=True)
    ] = None,
    features: Annotated[str, typer.Option("--features", help="<feature_set>:<feature>,… or <feature_set> for all of its features.")] = "",
    known_at: Annotated[
        str, typer.Option("--known-at", help="publication: what was published then; event: what was true.")
    ] = "publication",
    ttl_days: Annotated[
        float | None,
        typer.Option("--ttl-days", min=0, max=MOST_DAYS, help="Oldest age of a value; the contract's ttl where left out, 0 for any age."),
    ] = None,
    timestamp: Annotated[str, typer.Option("--timestamp", help="The labels' column with their moments.")] = "event_timestamp",
    split: Annotated[str, typer.Option("--split", help="train=0.8,test=0.2 by key, or train=2026-02-01T00:00:00Z,test= by time.")] = "",
    seed: Annotated[int, typer.Option("--seed", help="Seed of a split by key.")] = 0,
    full_names: Annotated[bool, typer.Option("--full-names", help="Call columns <feature_set>__<feature>.")] = False,
    out: Annotated[
        str | None, typer.Option("--out", help="URI of the directory for <name>/ with the files; beside the feature sets where left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a training set, or find the one that was made before from the same labels, features and versions."""
    if context.invoked_subcommand:
        return
    if labels is None or not features or known_at not in {"publication", "event"}:
        raise typer.BadParameter("expected --labels FILE, --features LIST and, if given, --known-at publication or event; see --help")
    from feature_platform.training import training_set

    _require_usable(labels, timestamp=timestamp, out=out)
    ttl = None if ttl_days is None else timedelta(days=ttl_days)
    platform, asked = open_platform(), [item.strip() for item in features.split(",")]
    try:
        made = training_set(
            labels,
            asked,
            known_at="event" if known_at == "event" else "publication",
            ttl=ttl,
            timestamp=timestamp,
            split=_split(split, seed),
            full_names=full_names,
            out=out,
            platform=platform,
        ).manifest
    except InvalidDataError as error:
        if _misnamed(platform, asked):
            raise UnknownNameError(str(error)) from error
        raise
    show_one(_told(made), as_json=as_json, title="Training set")


@app.command()
@command
def verify(name: Name, as_json: AsJson = False) -> None:
    """Make a training set again from its labels and versions, and compare it with what is kept."""
    from feature_platform.use_cases.training import verify as verify_training_set

    show_one(_told(verify_training_set(open_platform(), name)), as_json=as_json, title="The same bytes again")


@app.command(name="list")
@command
def list_training_sets(as_json: AsJson = False) -> None:
    """Every training set."""
    store = open_platform().training_sets
    rows = [_told(store.manifest(name)) for name in store.names()]
    empty = "There is no training set yet."
    show(
        rows,
        as_json=as_json,
        title="Training sets",
        empty=empty,
        columns=("training_set", "made_at", "rows", "feature_sets", "content_hash"),
    )


@app.command(name="show")
@command
def show_training_set(name: Name, as_json: AsJson = False) -> None:
    """A training set's manifest."""
    show_document(open_platform().training_sets.manifest(name).model_dump(mode="json"), as_json=as_json)


@app.command()
@command
def delete(name: Name) -> None:
    """Delete a training set, and the pins that keep its versions from retention."""
    from feature_platform.use_cases.training import delete as delete_training_set

    removed = delete_training_set(open_platform(), name)
    say(f"Removed {removed.data.uri}, its labels and its manifest; retention may now expire its versions.")


def _told(made: "TrainingManifest") -> dict[str, Any]:
    return {
        "training_set": made.training_set,
        "rows": made.data.rows,
        "known_at": made.known_at,
        "feature_sets": ", ".join(item.feature_set for item in made.feature_sets),
        "statuses": {item.feature_set: dict(item.statuses) for item in made.feature_sets},
        "uri": made.data.uri,
        "content_hash": made.content_hash,
        "made_by": made.made_by,
        "made_at": made.made_at.isoformat(timespec="seconds"),
    }


def _require_usable(labels: Path, *, timestamp: str, out: str | None) -> None:
    """Refuse options that name nothing before anything is read or written.

    Raises:
        ConfigurationError: ``out`` is no place for files, or the labels have no such column.
        InvalidDataError: The labels cannot be read.
    """
    from feature_platform.adapters.training.label_files import rows_of

    if out is not None and not re.match(r"s3://[^/]+/", f"{out}/"):
        raise ConfigurationError(f"--out {out}: expected s3://bucket/prefix.")
    columns = rows_of(labels, types={}).schema.names
    if timestamp not in columns:
        raise ConfigurationError(f"--timestamp {timestamp}: {labels} has no such column; it has {', '.join(columns)}.")


def _misnamed(platform: "Platform", asked: list[str]) -> bool:
    """Whether a feature is named twice, or one that its set's contract does not have."""
    contracts = {text: platform.catalog.contract(text.partition(":")[0]) for text in asked}
    names = {f"{contract.feature_set}:{column.name}" for contract in contracts.values() for column in contract.feature_columns}
    return len(contracts) < len(asked) or any(":" in text and text not in names for text in asked)


def _split(text: str, seed: int) -> "Split | None":
    from feature_platform.core.training.split import split_by_key, split_by_time

    if not text:
        return None
    parts = dict(part.partition("=")[::2] for part in text.split(","))
    try:
        if any("T" in value for value in parts.values()):
            return split_by_time({name: datetime.fromisoformat(value) if value else None for name, value in parts.items()})
        return split_by_key({name: float(value) for name, value in parts.items()}, seed=seed)
    except (ValueError, InvalidDataError) as error:
        raise ConfigurationError(f"--split {text!r} cannot be read: {error}; see --help for how it is written.") from error
