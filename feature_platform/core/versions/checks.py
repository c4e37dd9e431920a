"""The checks of a version, evaluated from its metadata and that of versions before it: row count, nulls, bounds, drift, and missing days.

Because they need only ``metadata.json``, every promotion evaluates them again, so no version becomes latest without them. Rules that hold
for every version whatever its contract asks (sorted, unique, finite) do not belong here (``core.contract.row_rules``).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise, takewhile
from statistics import median
from typing import Final

from feature_platform.core.contract import types
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.deviation import DAYS, FEWEST, CheckResult, expectation, failures
from feature_platform.core.versions.log import History, Version
from feature_platform.core.versions.version_metadata import ColumnSummary, VersionMetadata

ROW_COUNT: Final = "row_count"
NULL_RATIO: Final = "null_ratio"
VALUE_BOUNDS: Final = "value_bounds"
UNIQUENESS: Final = "uniqueness"
DRIFT: Final = "drift"
HISTORY: Final = "history"
SOURCE_DAY: Final = "source_day"
NAMES: Final = (ROW_COUNT, NULL_RATIO, VALUE_BOUNDS, UNIQUENESS, DRIFT, HISTORY, SOURCE_DAY)
DESCRIPTIONS: Final = {
    ROW_COUNT: "The version has at least `checks.min_rows` rows.",
    NULL_RATIO: "No column has more nulls than `checks.max_null_ratio` allows.",
    VALUE_BOUNDS: "Every value lies within its column's `checks.min` and `checks.max`.",
    UNIQUENESS: "Of a column's values at least `checks.min_distinct_ratio` are different.",
    DRIFT: "No numeric column moved from the version before by more than `checks.max_drift_psi` or `checks.max_mean_shift` allow.",
    HISTORY: "Rows, nulls, means and distributions are those of the same weekday in the last 28 days, within `checks.max_deviation`.",
    SOURCE_DAY: "The raw day itself passes the checks of its source that block.",
}
MISSING_DAYS: Final = "missing_days"
MISSING_DAYS_DESCRIPTION: Final = (
    "No day of the window is missing since the source's first day; `missing_days` says what then becomes of it."
)

_NOTHING: Final = ColumnSummary(nulls=0)
_BINS: Final = 10
_SMALLEST_SHARE: Final = 1e-4
"""A smaller share counts as this one: an empty bin must not make the index infinite."""


def evaluate(
    contract: Contract,
    metadata: VersionMetadata,
    *,
    reference: VersionMetadata | None,
    before: Sequence[VersionMetadata] = (),
    source_faults: Sequence[str] = (),
) -> list[CheckResult]:
    """Every check of a version, in the order of :data:`NAMES`.

    Args:
        reference: Metadata of an earlier moment's version that passed, for drift; None when there is none.
        before: Metadata of one version of each moment of the last 28 days, for its history.
        source_faults: What checks of its raw day found that block.
    """
    results = [
        _row_count(contract, metadata),
        _null_ratio(contract, metadata),
        _value_bounds(contract, metadata),
        _uniqueness(contract, metadata),
        _drift(contract, metadata, reference),
        _history(contract, metadata, before),
        CheckResult(SOURCE_DAY, tuple(source_faults)),
    ]
    severity = dict.fromkeys(NAMES, "block")
    severity.update(contract.checks.severity.items())
    return [replace(result, is_blocking=severity[result.name] == "block") for result in results]


def missing_days(contract: Contract, metadata: VersionMetadata) -> CheckResult:
    """Whether the window lacks days that its source could have had; never blocks, and passes where the contract allows it."""
    if not metadata.missing_partitions or contract.missing_days == "allow":
        return CheckResult(MISSING_DAYS, is_blocking=False)
    read, lacking = len(metadata.partitions), metadata.missing_partitions
    told = f"the window lacks {', '.join(lacking)}; the rows rest on {read} of {read + len(lacking)} days"
    return CheckResult(MISSING_DAYS, (told,), is_blocking=False)


def reference_of(history: History, version: Version) -> Version | None:
    """What a version's drift is measured against: the newest version of the latest earlier moment, wherever latest is now."""
    return max((v for v in history.live if v.as_of < version.as_of), key=lambda v: v.order, default=None)


def since_served(history: History, version: Version) -> list[Version]:
    """What a version's drift may be measured against, oldest first: the last version before it that was served, and those since then.

    At most 28. Versions that were held back may be among them, and :func:`last_passing` leaves them out: a bad day must neither make the
    day after it look bad, nor be the reference of a second bad day.
    """
    served = {record.version for record in history.records if record.op in {"promote", "rollback"}}
    earlier = [each for each in reversed(history.newest_of_each_moment) if each.as_of < version.as_of]
    since = list(takewhile(lambda each: each.version not in served, earlier))
    return earlier[: len(since) + 1][:DAYS][::-1]


def last_passing(contract: Contract, candidates: Sequence[VersionMetadata]) -> VersionMetadata | None:
    """What drift is measured against, of :func:`since_served`: the first as it is, or a later one that passes beside the one before it."""
    reference = None
    for facts in candidates:
        if reference is None or not failures(evaluate(contract, facts, reference=reference)):
            reference = facts
    return reference


def last_days(history: History, version: Version) -> list[Version]:
    """One version of each moment of the 28 days before a version, its corrections counted once."""
    return [each for each in history.newest_of_each_moment if 0 < (version.as_of - each.as_of).days <= DAYS]


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
        if (low, high) != (None, None) and isinstance(found.min, str):
            faults.append(f"column {column.name!r} holds no numbers in the version, which another contract built; expected them")
            continue
        if low is not None and found.min is not None and found.min < low:
            faults.append(f"column {column.name!r} has minimum {found.min}, expected at least {low}")
        if high is not None and found.max is not None and found.max > high:
            faults.append(f"column {column.name!r} has maximum {found.max}, expected at most {high}")
    return CheckResult(VALUE_BOUNDS, tuple(faults))


def _uniqueness(contract: Contract, metadata: VersionMetadata) -> CheckResult:
    faults, figures = [], {}
    for column in contract.columns:
        least, found = column.checks.min_distinct_ratio, metadata.statistics.get(column.name, _NOTHING)
        if least is None or found.distinct is None or metadata.row_count == found.nulls:
            continue
        # Above 4,096 different values their number is an estimate.
        figures[column.name] = ratio = min(found.distinct / (metadata.row_count - found.nulls), 1.0)
        if ratio < least:
            faults.append(f"column {column.name!r} has {found.distinct} different values ({ratio:.2%}), expected at least {least:.2%}")
    return CheckResult(UNIQUENESS, tuple(faults), figures=figures)


def _drift(contract: Contract, metadata: VersionMetadata, reference: VersionMetadata | None) -> CheckResult:
    limit, most = contract.checks.max_drift_psi, contract.checks.max_mean_shift
    if limit is None and most is None:
        return CheckResult(DRIFT)
    if reference is None:
        return CheckResult(DRIFT, note="not judged: no version of an earlier moment can be read")
    for facts in (metadata, reference):
        if lacking := _lacking(facts):
            return CheckResult(DRIFT, note=f"not judged: the window of {facts.version} lacks {', '.join(lacking)}")
    faults, figures = [], {}
    for name, now in _numeric(contract, metadata):
        before = reference.statistics.get(name, _NOTHING)
        if not before.quantiles:
            continue
        figures[name] = psi = stability_index(before.quantiles, now.quantiles)
        if limit is not None and psi > limit:
            faults.append(f"column {name!r} has index {psi:.3f} against {reference.version}, expected at most {limit}")
        if most is None or before.mean is None or now.mean is None:
            continue
        shift = abs(now.mean - before.mean) / (_spread(before.quantiles) or abs(before.mean) or 1.0)
        if shift > most:
            told = f"mean moved from {before.mean:.6g} to {now.mean:.6g} against {reference.version}"
            faults.append(f"column {name!r}: {told}, {shift:.2f} standard deviations, expected at most {most}")
    return CheckResult(DRIFT, tuple(faults), figures=figures)


def _history(contract: Contract, metadata: VersionMetadata, before: Sequence[VersionMetadata]) -> CheckResult:
    limit, most = contract.checks.max_deviation, contract.checks.max_history_psi
    if limit is None and most is None:
        return CheckResult(HISTORY)
    if lacking := _lacking(metadata):
        return CheckResult(HISTORY, note=f"not judged: the window of {metadata.version} lacks {', '.join(lacking)}")
    whole = [each for each in before if not _lacking(each)]
    if len(whole) < FEWEST:
        return CheckResult(HISTORY, note=f"not judged: only {len(whole)} earlier days have a whole window, expected {FEWEST} or more")
    faults = [] if limit is None else list(_unusual(contract, metadata, whole, limit=limit))
    figures, same = {}, [each for each in whole if each.as_of.weekday() == metadata.as_of.weekday()]
    for name, now in _numeric(contract, metadata):
        known = [known for each in same if len(known := each.statistics.get(name, _NOTHING).quantiles) == len(now.quantiles)]
        if known:
            figures[name] = psi = stability_index([median(values) for values in zip(*known, strict=True)], now.quantiles)
            if most is not None and psi > most:
                told = f"against the same weekday of the last {DAYS} days, expected at most {most}"
                faults.append(f"column {name!r} has index {psi:.3f} {told}")
    return CheckResult(HISTORY, tuple(faults), figures=figures)


def _unusual(contract: Contract, metadata: VersionMetadata, before: Sequence[VersionMetadata], *, limit: float) -> Iterator[str]:
    """Rows, null ratios and means that are unusual by the days before."""

    def judged(what: str, figure: Callable[[VersionMetadata], float | None], *, is_relative: bool) -> list[str]:
        value, known = figure(metadata), {each.as_of.date(): found for each in before if (found := figure(each)) is not None}
        usual = expectation(known, metadata.as_of.date(), is_relative=is_relative)
        return usual.fault(what, value, limit=limit) if usual and value is not None else []

    yield from judged("number of rows", lambda facts: float(facts.row_count), is_relative=True)
    for column in contract.feature_columns:
        yield from judged(f"null ratio of column {column.name!r}", partial(_nulls, column=column.name), is_relative=False)
    for name, _ in _numeric(contract, metadata):
        yield from judged(f"mean of column {name!r}", partial(_mean, column=name), is_relative=True)


def _nulls(facts: VersionMetadata, *, column: str) -> float | None:
    return facts.statistics[column].nulls / facts.row_count if facts.row_count and column in facts.statistics else None


def _mean(facts: VersionMetadata, *, column: str) -> float | None:
    return facts.statistics.get(column, _NOTHING).mean


def _lacking(facts: VersionMetadata) -> tuple[str, ...]:
    """Days that its window lacks: a window that is filled only in part cannot be compared with a whole one."""
    return (*facts.earlier_partitions, *facts.missing_partitions)


def _numeric(contract: Contract, metadata: VersionMetadata) -> list[tuple[str, ColumnSummary]]:
    found = [
        (column.name, metadata.statistics.get(column.name, _NOTHING)) for column in contract.feature_columns if column.type in types.NUMERIC
    ]
    return [(name, summary) for name, summary in found if summary.quantiles]


def _spread(quantiles: Sequence[float]) -> float:
    """The standard deviation estimated from evenly spaced quantiles, without the tails: half of the range of the middle 68%."""
    last = len(quantiles) - 1
    return (quantiles[round(0.84 * last)] - quantiles[round(0.16 * last)]) / 2


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
