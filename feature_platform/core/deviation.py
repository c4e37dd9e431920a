"""The result of a check, and whether a day's figure is unusual compared with those of the days before it.

Which checks a version or a raw day has does not belong here (``core.versions.checks``, ``core.events.checks``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from statistics import median
from typing import Final

DAYS: Final = 28
"""Days of history before a day: four of each weekday; it also bounds how much a check reads."""

FEWEST: Final = 21
"""With fewer days of history than this nothing is judged."""

_WEEK: Final = timedelta(days=7)

_LEAST_SPREAD: Final = 0.01
"""Smallest spread, as a share of a day's figure or of a ratio: where all days are equal, a tiny difference must not count as unusual."""

_TO_DEVIATION: Final = 1.4826
"""Factor from the median absolute deviation to the standard deviation of normally distributed values."""


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
    """The median of a day's weekday, and how far days commonly lie from the median of their weekday, as a standard deviation."""

    median: float
    spread: float

    def fault(self, what: str, value: float, *, limit: float) -> list[str]:
        """One sentence where a value lies more than ``limit`` spreads from the median; none otherwise."""
        if abs(value - self.median) <= limit * self.spread:
            return []
        low, high = self.median - limit * self.spread, self.median + limit * self.spread
        return [f"{what} is {value:,.6g}, expected {low:,.6g} to {high:,.6g} after the same weekday of the last {DAYS} days"]


def expectation(before: Mapping[date, float], day: date, *, is_relative: bool) -> Expectation | None:
    """What a figure of a day should be, or None where the days before it say too little.

    The expected value is the median of the day's own weekday, so that weekly seasons are no fault, after each figure was moved on by the
    median growth from week to week. The spread is the median distance of each of the 28 days from the other days of its weekday: the error
    that the same rule would have made on those days.

    Args:
        before: Figures by day; only those of the 28 days before ``day`` are used.
        day: The day whose figure is judged.
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
