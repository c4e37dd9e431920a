"""``feature-platform refresh``: rebuild versions whose raw data changed. Which ones does not belong here (``core.versions.currency``)."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from feature_platform.adapters.machine.account import actor
from feature_platform.cli.output import FINDING, MOST_DAYS, AsJson, command, say, show
from feature_platform.wiring import open_platform

if TYPE_CHECKING:
    from feature_platform.core.versions.currency import Outdated


@command
def refresh(
    feature_set: Annotated[str | None, typer.Argument(help="One feature set; all where left out.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be rebuilt and why; exits 1 where something would.")] = False,
    days: Annotated[
        int | None,
        typer.Option("--days", min=1, max=MOST_DAYS, help="Days to look back, else FEATURE_PLATFORM_LOOK_BACK_DAYS.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild published versions whose window has a day that upstream changed, oldest first; then move latest and load online once."""
    from feature_platform.use_cases.currency import look
    from feature_platform.use_cases.refresh import refresh as rebuild

    platform = open_platform()
    names = [platform.catalog.contract(feature_set).feature_set] if feature_set else platform.catalog.in_build_order()
    rows: list[dict[str, Any]] = []
    faults = False
    for name in names:
        contract, today = platform.catalog.contract(name), datetime.now(UTC).date()
        found = look(platform, contract, today=today, days=days or platform.look_back_days)
        if plan:
            rows += [
                _row(name, item, "would be rebuilt" if item.is_buildable else "its own day has no raw data") for item in found.to_build
            ]
            continue
        done = rebuild(platform, contract, found, run_id=f"refresh-{uuid4().hex}", actor=actor(), log=say)
        outcomes = [one.fault or f"rebuilt as {one.version}" for one in done.rebuilt]
        rows += [_row(name, item, outcome) for item, outcome in zip(found.to_build, outcomes, strict=True)]
        faults = faults or bool(done.faults)
    show(rows, as_json=as_json, title="Refresh", empty="Every version rests on the raw data as it is now.")
    if faults or (plan and rows):
        raise typer.Exit(FINDING)


def _row(feature_set: str, item: "Outdated", outcome: str) -> dict[str, Any]:
    return {
        "feature_set": feature_set,
        "partition": item.partition,
        "version": item.version or "never built",
        "changed": item.why,
        "outcome": outcome,
    }
