"""Pictures say what the metadata says, in text too, and are drawn where there is something to draw."""

import xml.etree.ElementTree as ET

import pytest

from feature_platform.core.versions.charts import HEIGHT, WIDTH, course, distribution
from feature_platform.core.versions.version_metadata import ColumnSummary

SVG = "{http://www.w3.org/2000/svg}"


def summary(*quantiles: float) -> ColumnSummary:
    return ColumnSummary(nulls=0, quantiles=quantiles)


def lines(svg: str) -> list[list[tuple[float, float]]]:
    return [
        [(float(x), float(y)) for x, y in (point.split(",") for point in line.attrib["points"].split())]
        for line in ET.fromstring(svg).iter(f"{SVG}polyline")
    ]


def title(svg: str) -> str:
    return ET.fromstring(svg).findtext(f"{SVG}title") or ""


def test_a_distribution_goes_from_the_least_to_the_greatest_value_beside_the_one_before() -> None:
    svg = distribution("f <a>", summary(0, 5, 10), summary(5, 5, 20))
    before, now = lines(svg)
    assert now[0][0] < now[1][0] < now[2][0] < before[2][0] <= WIDTH
    assert before[0][0] == before[1][0] == pytest.approx(2 + 5 / 20 * (WIDTH - 4), abs=0.1)
    assert all(0 <= y <= HEIGHT for _, y in [*now, *before])
    assert [y for _, y in now] == sorted((y for _, y in now), reverse=True)
    assert title(svg) == "f <a>: from 0 to 10, half of the values up to 5; before it was 5"


@pytest.mark.parametrize("quantiles", [(), (3.0,)])
def test_nothing_is_drawn_of_a_column_without_numbers(quantiles: tuple[float, ...]) -> None:
    assert distribution("f", ColumnSummary(nulls=2, quantiles=quantiles), summary(1, 2)) == ""


def test_values_that_are_all_equal_and_a_version_without_a_predecessor_are_drawn() -> None:
    (line,) = lines(distribution("f", summary(7, 7, 7), None))
    assert {x for x, _ in line} == {WIDTH / 2}


def test_a_course_goes_from_the_oldest_to_the_newest_from_zero_up() -> None:
    svg = course("Rows", [("2026-01-01", 50.0), ("2026-01-02", 100.0), ("2026-01-03", 1200.0)])
    ((first, second, third),) = lines(svg)
    assert first[1] > second[1] > third[1]
    assert title(svg) == "Rows: 50 in 2026-01-01, 1,200 in 2026-01-03, at most 1,200"
    assert course("Rows", [("2026-01-01", 50.0)]) == ""
    assert len(lines(course("Nulls", [("a", 0.0), ("b", 0.0)]))) == 1
