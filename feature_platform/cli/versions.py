"""``feature-platform versions …``: committed versions and their metadata. Moving latest does not belong here (``operations``)."""

from typing import Annotated

import typer

from feature_platform.cli.output import AsJson, FeatureSet, command, show, show_document
from feature_platform.wiring import open_platform

_IN_A_TABLE = ("version", "latest", "committed_at", "content_hash", "pins")

app = typer.Typer(help="List and show committed versions.", no_args_is_help=True)


@app.command(name="list")
@command
def list_versions(
    feature_set: FeatureSet,
    newest: Annotated[int, typer.Option("--newest", "-n", min=1, help="How many to list, newest first.")] = 20,
    before: Annotated[str | None, typer.Option("--before", help="Only versions older than this one, which follow it in the list.")] = None,
    as_json: AsJson = False,
) -> None:
    """Committed versions, newest first. Also works for a feature set without a contract."""
    from feature_platform.core.publishing.decisions import committed
    from feature_platform.use_cases.decommission import known

    platform = open_platform()
    history = platform.feature_sets.history(known(platform, feature_set))
    older = [v for v in reversed(history.live) if before is None or v.order < committed(history, before).order]
    pins = platform.feature_sets.pins(feature_set)
    head = history.head.version if history.head else None
    rows = [
        {
            "version": v.version,
            "as_of": v.as_of.isoformat(),
            "record": v.sequence,
            "latest": "latest" if v.version == head else "",
            "committed_at": v.committed_at.isoformat(timespec="seconds"),
            "actor": v.actor,
            "schema_hash": v.schema_hash,
            "content_hash": v.content_hash,
            "pins": ", ".join(pins.get(v.version, ())),
        }
        for v in older[:newest]
    ]
    empty = f"{feature_set} has no versions older than {before}." if before else f"{feature_set} has no versions yet."
    show(rows, as_json=as_json, title=f"Versions of {feature_set}", empty=empty, columns=_IN_A_TABLE)


@command
def show_version(
    feature_set: FeatureSet,
    version: Annotated[str, typer.Argument(help="A version id, or 'latest'.", show_default=False)] = "latest",
    as_json: AsJson = False,
) -> None:
    """One version's metadata: hashes, sources, statistics, and the log records that name it."""
    from feature_platform.core.publishing.decisions import committed, head_of
    from feature_platform.use_cases.decommission import known

    platform = open_platform()
    history = platform.feature_sets.history(known(platform, feature_set))
    if version == "latest":
        version = head_of(history, feature_set).version
    found = committed(history, version)
    records = [
        {"record": r.seq, "op": r.op, "at": r.at.isoformat(), "actor": r.actor, "reason": r.reason, "from": r.from_version}
        for r in history.records
        if version in {r.version, r.from_version}
    ]
    show_document({**platform.feature_sets.metadata(feature_set, found.version).document, "log": records}, as_json=as_json)


app.command(name="show")(show_version)
