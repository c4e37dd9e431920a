"""``feature-platform online …``: read, load and repair what is served. How it is loaded does not belong here (``use_cases.serve``)."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from feature_platform.cli.output import FINDING, AsJson, FeatureSet, command, say, show, show_one
from feature_platform.errors import ConfigurationError, NotFoundError
from feature_platform.wiring import open_platform

app = typer.Typer(help="Read, load and repair what is served.", no_args_is_help=True)


@app.command()
@command
def get(
    feature_set: FeatureSet,
    key: Annotated[list[str], typer.Option("--key", "-k", help="column=value, once for each key column; repeat for more entities.")],
    as_json: AsJson = False,
) -> None:
    """Read entities as a service does, through Feast. Exits 1 when an entity is not served."""
    from feature_platform.use_cases.contracts import contract_in_service

    platform = open_platform()
    contract = platform.catalog.contract(feature_set)
    keys = parse_keys(key, types={c.name: c.type for c in contract.all_columns if c.name in contract.primary_keys})
    contract = contract_in_service(platform, contract)
    rows = platform.registry.read(contract, keys)
    show(rows, as_json=as_json, title=f"{feature_set} online")
    absent = [row for row in rows if all(row[column.name] is None for column in contract.feature_columns)]
    if not absent:
        return
    head = platform.feature_sets.history(feature_set).head_version
    old = head is not None and datetime.now(UTC) - head.as_of > contract.ttl_duration
    why = (
        f"the online version is past the ttl of {contract.ttl}; build and load a newer day"
        if old
        else "the online version lacks them, or they are past the ttl"
    )
    say(f"{len(absent)} of {len(rows)} entities have no value: {why}.")
    raise typer.Exit(FINDING)


@app.command()
@command
def version(feature_set: FeatureSet, as_json: AsJson = False) -> None:
    """Which version and contract are served, and since when. Exits 1 when none is, or when a load has not finished.

    Also works for a feature set without a contract.
    """
    from feature_platform.use_cases.decommission import known

    platform = open_platform()
    marker = platform.online.marker(project=platform.project, view=known(platform, feature_set))
    if marker is None:
        remedy = (
            f"materialize {feature_set}_online" if feature_set in platform.catalog.contracts else "nothing serves it, as no contract does"
        )
        raise NotFoundError(f"{feature_set} is not online; {remedy}.")
    target = marker.target
    row = {
        "feature_set": feature_set,
        "state": marker.state,
        "version": target.version,
        "schema_hash": target.schema_hash,
        "content_hash": target.content_hash,
        "rows": target.row_count,
        "record": target.sequence,
        "since": marker.since,
    }
    show_one(row, as_json=as_json, title="online")
    if marker.state != "online":
        raise typer.Exit(FINDING)


@app.command()
@command
def load(
    feature_set: FeatureSet,
    full: Annotated[bool, typer.Option("--full", help="Write every row, also those that are online already.")] = False,
    as_json: AsJson = False,
) -> None:
    """Load latest: only the rows that differ from the online version, or every row where it is not certain what is online."""
    from feature_platform.use_cases.serve import serve

    platform = open_platform()
    name = platform.catalog.contract(feature_set).feature_set
    served = serve(platform, name, is_full=full)
    report = served.load
    row = {
        "feature_set": feature_set,
        "version": report.version,
        "rows": report.rows,
        "written": report.written,
        "removed": report.removed + report.swept,
        "every_row_because": report.full_because,
        "elapsed_s": served.elapsed_s,
    }
    show_one(row, as_json=as_json, title="loaded")


@app.command()
@command
def repair(feature_set: FeatureSet, as_json: AsJson = False) -> None:
    """Scan the whole online store and remove values that the online version lacks; for a store that others may have written to."""
    from feature_platform.use_cases import serve

    platform = open_platform()
    report = serve.repair(platform, platform.catalog.contract(feature_set).feature_set)
    row = {"feature_set": feature_set, "version": report.marker.target.version, "scanned": report.scanned, "removed": report.removed}
    show_one(row, as_json=as_json, title="repaired")


def parse_keys(given: list[str], *, types: dict[str, str]) -> list[dict[str, Any]]:
    """Entities from ``column=value`` options; a column that is given again begins the next entity.

    Raises:
        ConfigurationError: A column is not a key column, a value does not fit its type, or an entity lacks a key column.
    """

    entities: list[dict[str, Any]] = [{}]
    faults = []
    for item in given:
        name, separator, value = item.partition("=")
        if not separator or name not in types:
            faults.append(f"--key {item}: expected column=value with a column of {', '.join(types)}")
            continue
        if name in entities[-1]:
            entities.append({})
        entities[-1][name] = None
        try:
            entities[-1][name] = _value(value, types[name])
        except ValueError:
            faults.append(f"--key {item}: expected a value of type {types[name]}")
    faults += (
        [f"--key: an entity lacks {', '.join(sorted(set(types) - set(e)))}" for e in entities if set(e) != set(types)] if not faults else []
    )
    if faults:
        raise ConfigurationError("The keys are wrong:", faults)
    return entities


def _value(text: str, kind: str) -> str | int:
    if kind == "string":
        return text
    number, bits = int(text), int(kind.removeprefix("int"))
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise ValueError
    return number
