"""Small pictures of versions as SVG text: how a column's values are spread, and how a number went from version to version.

They say what ``metadata.json`` says and nothing more; what is shown where does not belong here (``defs.presentation``,
``adapters.report``).
"""

from collections.abc import Sequence
from html import escape
from typing import Final

from feature_platform.core.versions.version_metadata import ColumnSummary

WIDTH: Final = 320
HEIGHT: Final = 90
_FOOT: Final = 16
_NOW: Final = "#2563eb"
_BEFORE: Final = "#9ca3af"
_TEXT: Final = "#6b7280"


def distribution(name: str, now: ColumnSummary, before: ColumnSummary | None) -> str:
    """The share of values up to each value, of a version and of the one before it (grey); empty where a column has no numbers."""
    curves = [(summary.quantiles, colour) for summary, colour in ((before, _BEFORE), (now, _NOW)) if summary and len(summary.quantiles) > 1]
    if not curves or len(now.quantiles) < 2:
        return ""
    low, high = min(values[0] for values, _ in curves), max(values[-1] for values, _ in curves)
    lines = [
        _line([(_share(value, low, high), place / (len(values) - 1)) for place, value in enumerate(values)], colour)
        for values, colour in curves
    ]
    told = f"{name}: from {_number(now.quantiles[0])} to {_number(now.quantiles[-1])}, half of the values up to {_number(_median(now))}"
    if before and len(before.quantiles) > 1:
        told += f"; before it was {_number(_median(before))}"
    return _picture(told, lines, left=_number(low), right=_number(high))


def course(name: str, points: Sequence[tuple[str, float]]) -> str:
    """A number from version to version, oldest first, from zero up; empty where there are fewer than two."""
    if len(points) < 2:
        return ""
    high = max(value for _, value in points) or 1.0
    line = _line([(place / (len(points) - 1), value / high) for place, (_, value) in enumerate(points)], _NOW)
    told = f"{name}: {_number(points[0][1])} in {points[0][0]}, {_number(points[-1][1])} in {points[-1][0]}, at most {_number(high)}"
    return _picture(told, [line], left=points[0][0], right=f"{points[-1][0]}: {_number(points[-1][1])}")


def _picture(told: str, lines: Sequence[str], *, left: str, right: str) -> str:
    """One picture; ``told`` is its text for screen readers."""
    text = f'font-size="10" font-family="sans-serif" fill="{_TEXT}" y="{HEIGHT - 3}"'
    base = HEIGHT - _FOOT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">'
        f"<title>{escape(told)}</title>"
        f'<path d="M0 {base}H{WIDTH}" stroke="{_BEFORE}" stroke-width="0.5"/>{"".join(lines)}'
        f'<text x="0" {text}>{escape(left)}</text><text x="{WIDTH}" text-anchor="end" {text}>{escape(right)}</text></svg>'
    )


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    """A line through points of the unit square, y upward."""
    base = HEIGHT - _FOOT
    spelled = " ".join(f"{2 + x * (WIDTH - 4):.1f},{base - y * (base - 4):.1f}" for x, y in points)
    return f'<polyline points="{spelled}" fill="none" stroke="{colour}" stroke-width="1.8"/>'


def _share(value: float, low: float, high: float) -> float:
    return 0.5 if high <= low else (value - low) / (high - low)


def _median(summary: ColumnSummary) -> float:
    return summary.quantiles[len(summary.quantiles) // 2]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
