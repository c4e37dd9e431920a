"""What a check found, and whether a day's figure is unusual beside those of the days before it.

What is asked of a version or of a raw day does not belong here (``core.versions.checks``, ``core.events.checks``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from statistics import median
from typing import Final

DAYS: Final = 28
"""How many days before a day are its history: four of each weekday, and a bound on what a check reads."""

FEWEST: Final = 21
"""With a history of fewer days nothing is judged."""

_WEEK: Final = timedelta(days=7)

_LEAST_SPREAD: Final = 0.01
"""Of a day's figure, or of a ratio: days that are equal to the last row must not make the smallest difference unusual."""

_TO_DEVIATION: Final = 1.4826
"""From the median absolute deviation to the standard deviation, for values that are normally distributed."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check: what was found that should not be, and the figures it was judged by.

    ``note`` says why nothing could be judged, where that is so: a check that is off must not look like one that passed.
    ``is_blocking`` is False where the contract asks to be warned only.
    """

    name: str
    faults: tuple[str, ...] = ()
    note: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    is_blocking: bool = True


def failures(results: Sequence[CheckResult]) -> list[str]:
    """One sentence for each fault of the checks that block."""
    return [f"{result.name}: {fault}" for result in results for fault in result.faults if result.is_blocking]


def warnings(results: Sequence[CheckResult]) -> dict[str, str]:
    """Check → its faults, of the checks that failed and only warn."""
    return {result.name: "; ".join(result.faults) for result in results if result.faults and not result.is_blocking}


@dataclass(frozen=True, slots=True)
class Expectation:
    """The median of a day's weekday, and how far a day usually lies from that of the others of its weekday, as a standard deviation."""

    median: float
    spread: float

    def fault(self, what: str, value: float, *, limit: float) -> list[str]:
        """The one sentence about a value that lies further off than so many spreads; none about another."""
        if abs(value - self.median) <= limit * self.spread:
            return []
        low, high = self.median - limit * self.spread, self.median + limit * self.spread
        return [f"{what} is {value:,.6g}, expected {low:,.6g} to {high:,.6g} after the same weekday of the last {DAYS} days"]


def expectation(before: Mapping[date, float], day: date, *, is_relative: bool) -> Expectation | None:
    """What a figure of a day should be, or None where the days before it say too little.

    The middle is that of the day's own weekday, so that the weekly season is no fault, after each figure was moved on by the median growth
    from week to week. The spread is the median of how far each of the 28 days lies from the others of its weekday: what the same rule would
    have missed it by.

    Args:
        before: Figures by day; others than those of the 28 days before ``day`` are not looked at.
        day: Whose figure is judged.
        is_relative: Distances count as shares of the weekday's median (counts, means); otherwise as they are (ratios).

    >>> week = {date(2026, 1, 1 + place): 100.0 + place % 7 for place in range(28)}
    >>> expectation(week, date(2026, 1, 29), is_relative=True)
    Expectation(median=100.0, spread=1.0)
    """
    recent = {each: value for each, value in before.items() if 0 < (day - each).days <= DAYS}
    weekly = [(value, recent[each - _WEEK]) for each, value in recent.items() if each - _WEEK in recent]
    growth = median((value - earlier) / _unit(earlier, is_relative=is_relative) for value, earlier in weekly) if weekly else 0.0
    recent = {each: v + growth * _unit(v, is_relative=is_relative) * ((day - each) / _WEEK) for each, v in recent.items()}
    of_weekday = {each: [value for other, value in recent.items() if other.weekday() == each] for each in range(7)}
    if len(recent) < FEWEST or len(of_weekday[day.weekday()]) < FEWEST // 7:
        return None
    distances = []
    for values in of_weekday.values():
        for place, value in enumerate(values):
            if others := values[:place] + values[place + 1 :]:
                distances.append(abs(value - median(others)) / _unit(median(others), is_relative=is_relative))
    middle = median(of_weekday[day.weekday()])
    return Expectation(middle, max(_TO_DEVIATION * median(distances), _LEAST_SPREAD) * _unit(middle, is_relative=is_relative))


def _unit(middle: float, *, is_relative: bool) -> float:
    return abs(middle) or 1.0 if is_relative else 1.0
