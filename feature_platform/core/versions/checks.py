"""The checks of a version, evaluated from its metadata alone: row count, nulls, bounds and drift, which block, and missing days.

Because they need nothing but ``metadata.json``, whoever promotes can evaluate them again; no path to latest avoids them. What holds for
every version whatever its author asked (sorted, unique, finite) does not belong here (``core.contract.row_rules``).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from feature_platform.core.contract import types
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.versions.log import History, Version
from feature_platform.core.versions.version_metadata import ColumnSummary, VersionMetadata

ROW_COUNT: Final = "row_count"
NULL_RATIO: Final = "null_ratio"
VALUE_BOUNDS: Final = "value_bounds"
DRIFT: Final = "drift"
NAMES: Final = (ROW_COUNT, NULL_RATIO, VALUE_BOUNDS, DRIFT)
DESCRIPTIONS: Final = {
    ROW_COUNT: "The version has at least `checks.min_rows` rows.",
    NULL_RATIO: "No column has more nulls than `checks.max_null_ratio` allows.",
    VALUE_BOUNDS: "Every value lies within its column's `checks.min` and `checks.max`.",
    DRIFT: "No numeric column moved from the moment before by more than `checks.max_drift_psi` (population stability index).",
}
MISSING_DAYS: Final = "missing_days"
MISSING_DAYS_DESCRIPTION: Final = (
    "No day of the window is missing since the source's first day; `missing_days` says what then becomes of it."
)

_NOTHING: Final = ColumnSummary(nulls=0)
_BINS: Final = 10
_SMALLEST_SHARE: Final = 1e-4
"""Shares below this count as this much: an empty bin must not make the index infinite."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check: what was found that should not be, and the figures it was judged by.

    ``note`` says why nothing could be judged, where that is so: a check that is off must not look like one that passed.
    """

    name: str
    faults: tuple[str, ...] = ()
    note: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


def evaluate(contract: Contract, metadata: VersionMetadata, *, reference: VersionMetadata | None) -> list[CheckResult]:
    """Every blocking check of a version.

    Args:
        contract: What it must satisfy.
        metadata: The version's ``metadata.json``.
        reference: Metadata of the newest version of an earlier moment (:func:`reference_of`), for drift; None when there is none.
    """
    return [
        _row_count(contract, metadata),
        _null_ratio(contract, metadata),
        _value_bounds(contract, metadata),
        _drift(contract, metadata, reference),
    ]


def missing_days(contract: Contract, metadata: VersionMetadata) -> CheckResult:
    """Whether the window lacks days that its source could have had; never blocks, and passes where the contract allows it."""
    if not metadata.missing_partitions or contract.missing_days == "allow":
        return CheckResult(MISSING_DAYS)
    read, lacking = len(metadata.partitions), metadata.missing_partitions
    return CheckResult(MISSING_DAYS, (f"the window lacks {', '.join(lacking)}; the rows rest on {read} of {read + len(lacking)} days",))


def reference_of(history: History, version: Version) -> Version | None:
    """What a version's drift is measured against: the newest version of the latest earlier moment, wherever latest is now."""
    return max((v for v in history.live if v.as_of < version.as_of), key=lambda v: v.order, default=None)


def failures(results: Sequence[CheckResult]) -> list[str]:
    """One sentence for each fault of all checks."""
    return [f"{result.name}: {fault}" for result in results for fault in result.faults]


def _row_count(contract: Contract, metadata: VersionMetadata) -> CheckResult:
    rows, least = metadata.row_count, contract.checks.min_rows
    faults = (f"found {rows} rows, expected at least {least}",) if rows < least else ()
    return CheckResult(ROW_COUNT, faults, figures={"rows": rows})


def _null_ratio(contract: Contract, metadata: VersionMetadata) -> CheckResult:
    rows = metadata.row_count
    faults, figures = [], {}
    for column, allowed in contract.checks.max_null_ratio.items():
        if column not in metadata.statistics:
            faults.append(f"column {column!r} is not in the version, which another contract built; expected it")
            continue
        ratio = metadata.statistics[column].nulls / rows if rows else 0.0
        figures[column] = ratio
        if ratio > allowed:
            faults.append(f"column {column!r} is null in {ratio:.1%} of rows, expected at most {allowed:.1%}")
    return CheckResult(NULL_RATIO, tuple(faults), figures=figures)


def _value_bounds(contract: Contract, metadata: VersionMetadata) -> CheckResult:
    faults = []
    for column in contract.columns:
        found = metadata.statistics.get(column.name, _NOTHING)
        low, high = column.checks.min, column.checks.max
        if low is not None and found.min is not None and found.min < low:
            faults.append(f"column {column.name!r} has minimum {found.min}, expected at least {low}")
        if high is not None and found.max is not None and found.max > high:
            faults.append(f"column {column.name!r} has maximum {found.max}, expected at most {high}")
    return CheckResult(VALUE_BOUNDS, tuple(faults))


def _drift(contract: Contract, metadata: VersionMetadata, reference: VersionMetadata | None) -> CheckResult:
    limit = contract.checks.max_drift_psi
    if limit is None:
        return CheckResult(DRIFT)
    if reference is None:
        return CheckResult(DRIFT, note="not judged: there is no version of an earlier moment")
    for facts in (metadata, reference):
        # A window that is filled only in part is not comparable to a whole one.
        if lacking := (*facts.earlier_partitions, *facts.missing_partitions):
            return CheckResult(DRIFT, note=f"not judged: the window of {facts.version} lacks {', '.join(lacking)}")
    faults, figures = [], {}
    for column in contract.feature_columns:
        before = reference.statistics.get(column.name, _NOTHING).quantiles
        now = metadata.statistics.get(column.name, _NOTHING).quantiles
        if column.type not in types.NUMERIC or not before or not now:
            continue
        figures[column.name] = psi = stability_index(before, now)
        if psi > limit:
            faults.append(f"column {column.name!r} has index {psi:.3f} against {reference.version}, expected at most {limit}")
    return CheckResult(DRIFT, tuple(faults), figures=figures)


def stability_index(reference: Sequence[float], current: Sequence[float]) -> float:
    """The population stability index between two distributions given by evenly spaced quantiles.

    Ten bins at most, cut at the reference's deciles (equal ones, as counts have, make one bin). 0 is no change; above 0.25 is commonly
    read as a significant shift.

    >>> stability_index([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    0.0

    Source: Siddiqi, "Credit Risk Scorecards" (2006), chapter 8.
    """
    step = max((len(reference) - 1) // _BINS, 1)
    edges = sorted(set(reference[step:-1:step]))
    expected = _shares(reference, edges)
    actual = _shares(current, edges)
    return math.fsum((a - e) * math.log(a / e) for e, a in zip(expected, actual, strict=True))


def _shares(quantiles: Sequence[float], edges: Sequence[float]) -> list[float]:
    """How much of a distribution lies in each bin between edges, the outer bins open."""
    below = [0.0, *(_cumulative(quantiles, edge) for edge in edges), 1.0]
    return [max(high - low, _SMALLEST_SHARE) for low, high in pairwise(below)]


def _cumulative(quantiles: Sequence[float], value: float) -> float:
    """The share of values at or below ``value``, linear between quantiles."""
    last = len(quantiles) - 1
    reached = sum(1 for quantile in quantiles if quantile <= value) - 1
    if reached < 0:
        return 0.0
    if reached == last:
        return 1.0
    low, high = quantiles[reached], quantiles[reached + 1]
    return (reached + (value - low) / (high - low)) / last
