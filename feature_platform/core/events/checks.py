"""The checks of a raw day, evaluated from the manifest of its validation alone; no row is read again.

What makes a single row invalid does not belong here (``core.compute.validation_sql``), nor the share of such rows that refuses a whole day.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final

from feature_platform.core.contract.documents import duration
from feature_platform.core.contract.source import SourceChecks, SourceContract
from feature_platform.core.deviation import CheckResult, expectation
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.core.layout import as_of

ROWS: Final = "rows"
REJECTED_RATIO: Final = "rejected_ratio"
FRESHNESS: Final = "freshness"
COLUMNS: Final = "columns"
VOLUME: Final = "volume"
DESCRIPTIONS: Final = {
    ROWS: "At least `checks.min_rows` rows were kept.",
    REJECTED_RATIO: "At most `checks.max_rejected_ratio` of the rows were rejected, and no unusual share after the last 28 days.",
    FRESHNESS: "The last raw object was written within `checks.max_delay` of the end of the day.",
    COLUMNS: "Raw objects have each column of the source contract (`checks.every_column`), and no other (`checks.known_columns_only`).",
    VOLUME: "As many rows came as on the same weekday of the last 28 days, within `checks.max_deviation` spreads.",
}
_WARNING: Final = frozenset({FRESHNESS, COLUMNS})
"""What warns unless the contract says otherwise: a correction is late by nature, and a column that nobody reads harms nobody."""


def evaluate(source: SourceContract, day: ValidatedDay, *, before: Mapping[str, ValidatedDay]) -> list[CheckResult]:
    """Every check of one day, in the order of :data:`DESCRIPTIONS`; none where the contract asks for none.

    Args:
        day: What validation wrote of it.
        before: The days before it that were validated, by partition; those of the last 28 count.
    """
    asked = source.checks
    if asked is None:
        return []
    ratio = day.quarantined / day.rows_in if day.rows_in else 0.0
    few = [f"{day.kept} rows were kept, expected at least {asked.min_rows}"] if day.kept < asked.min_rows else []
    bad = (
        [f"{ratio:.2%} of rows were rejected, expected at most {asked.max_rejected_ratio:.2%}"] if ratio > asked.max_rejected_ratio else []
    )
    ratios = {date.fromisoformat(key): each.quarantined / each.rows_in for key, each in before.items() if each.rows_in}
    volumes = {date.fromisoformat(key): float(each.rows_in) for key, each in before.items()}
    today, unjudged = date.fromisoformat(day.partition), ""
    usual, usual_ratio = expectation(volumes, today, is_relative=True), expectation(ratios, today, is_relative=False)
    unusual: list[str] = []
    if asked.max_deviation is not None and usual and usual_ratio:
        unusual = usual.fault("number of rows", day.rows_in, limit=asked.max_deviation)
        # Fewer rejected rows than usual are no fault.
        bad += usual_ratio.fault("rejected ratio", ratio, limit=asked.max_deviation) if ratio > usual_ratio.median else []
    elif asked.max_deviation is not None:
        unjudged = f"not judged by history: only {len(volumes)} earlier days are known"
    found = {ROWS: few, REJECTED_RATIO: bad, FRESHNESS: _late(asked, day), COLUMNS: _columns(asked, day), VOLUME: unusual}
    notes = dict.fromkeys((REJECTED_RATIO, VOLUME), unjudged)
    figures = {ROWS: {"rows": float(day.kept)}, REJECTED_RATIO: {"rejected_ratio": ratio}, VOLUME: {"rows_in": float(day.rows_in)}}
    severity = {name: "warn" if name in _WARNING else "block" for name in found}
    severity.update(asked.severity.items())
    return [
        CheckResult(name, tuple(faults), notes.get(name, ""), figures.get(name, {}), is_blocking=severity[name] == "block")
        for name, faults in found.items()
    ]


def _late(asked: SourceChecks, day: ValidatedDay) -> list[str]:
    if asked.max_delay is None or not day.raw.objects:
        return []
    delay = max(item.modified_at for item in day.raw.objects) - as_of(day.partition)
    late = max(delay, timedelta()) > duration(asked.max_delay)
    return [f"its last raw object was written {delay} after the end of the day, expected within {asked.max_delay}"] if late else []


def _columns(asked: SourceChecks, day: ValidatedDay) -> list[str]:
    missing = [f"no row has columns that the source contract names: {', '.join(day.missing_columns)}"] if day.missing_columns else []
    names = day.raw.unknown_columns if asked.known_columns_only else []
    unknown = [f"raw objects have columns that the source contract does not name: {', '.join(names)}"] if names else []
    return (missing if asked.every_column else []) + unknown
