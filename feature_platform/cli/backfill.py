"""``feature-platform backfill``: a version for every day of a range. Which days are built does not belong here (``use_cases.backfill``)."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated
from uuid import uuid4

import typer

from feature_platform.adapters.machine.account import actor
from feature_platform.cli.output import FINDING, AsJson, command, say, show
from feature_platform.errors import ConfigurationError
from feature_platform.wiring import open_platform


@command
def backfill(
    feature_set: Annotated[str, typer.Argument(help="The feature set.")],
    first: Annotated[str, typer.Argument(help="First day, YYYY-MM-DD.")],
    last: Annotated[str | None, typer.Argument(help="Last day; yesterday where left out.", show_default=False)] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be built, read and served.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build each day of a range that has no version from the present contract and raw objects; move latest and load online once at the end.

    If it was interrupted, run it again: it continues with the days that are left. Dagster's own backfills do the same, one run per day.
    """
    from feature_platform.use_cases.backfill import backfill as build
    from feature_platform.use_cases.backfill import plan_backfill

    begin, end = _range(first, last)
    platform = open_platform()
    contract = platform.catalog.contract(feature_set)
    planned = plan_backfill(platform, contract, first=begin, last=end)
    say(f"{len(planned.to_build)} of {len(planned.days)} days to build; {planned.raw_bytes:,} bytes of raw objects in their windows.")
    say(f"Reads {planned.reads}. Latest: {planned.latest}.")
    if plan:
        rows = [
            {
                "partition": day.partition,
                "version": day.version or "none",
                "outcome": f"would be built: {day.why}" if day.is_to_build else "not delivered" if day.why else "stands",
            }
            for day in planned.days
        ]
        show(rows, as_json=as_json, title=f"Backfill of {feature_set}", empty="No day.")
        return
    done = build(platform, contract, planned, run_id=f"backfill-{uuid4().hex}", actor=actor(), log=say)
    built = [{"partition": one.partition, "version": one.version or "none", "outcome": one.fault or "built"} for one in done]
    show(built, as_json=as_json, title=f"Backfill of {feature_set}", empty="Every delivered day of the range has its version already.")
    if any(one.fault for one in done):
        raise typer.Exit(FINDING)


def _range(first: str, last: str | None) -> tuple[date, date]:
    try:
        begin, end = date.fromisoformat(first), date.fromisoformat(last) if last else datetime.now(UTC).date() - timedelta(days=1)
    except ValueError as error:
        raise ConfigurationError(f"FIRST and LAST: expected days as YYYY-MM-DD, found {first!r} {last or ''} ({error}).") from error
    if begin > end or end >= datetime.now(UTC).date():
        raise ConfigurationError(f"FIRST and LAST: expected FIRST not after LAST, and LAST before today (UTC); found {begin} to {end}.")
    return begin, end
