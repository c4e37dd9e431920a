"""The catalogue as one HTML page without scripts, fonts or requests. What it shows does not belong here (``use_cases.catalogue``)."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2

from feature_platform.core.versions.charts import course, distribution
from feature_platform.use_cases.catalogue import Entry

_TEMPLATE = Path(__file__).with_name("report.html.j2")


def page(entries: Sequence[Entry], *, environment: str, now: datetime) -> str:
    """The page, for a browser of any width and for a screen reader."""
    engine = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    engine.filters["brief"] = _brief
    template = engine.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(entries=[_shown(entry) for entry in entries], environment=environment, now=now)


def _shown(entry: Entry) -> dict[str, Any]:
    shown, statistics = entry.shown, entry.shown.statistics if entry.shown else {}
    earlier = entry.before.statistics if entry.before else {}
    features = entry.contract.feature_columns
    columns = [
        {
            "column": column,
            "summary": statistics.get(column.name),
            "picture": distribution(column.name, statistics[column.name], earlier.get(column.name))
            if column in features and column.name in statistics
            else "",
        }
        for column in entry.contract.all_columns
    ]
    return {
        "contract": entry.contract,
        "health": entry.health,
        "shown": shown,
        "before": entry.before,
        "head": entry.head,
        "columns": columns,
        "courses": _courses(entry),
        "versions": entry.committed[:-13:-1],
        "count": len(entry.committed),
    }


def _courses(entry: Entry) -> list[dict[str, Any]]:
    rows = [(each.partition, float(each.row_count)) for each in entry.course]
    nulls = [(each.partition, each.null_ratio) for each in entry.course]
    drawn = {"Rows": course("Rows", rows), "Share of null values": course("Share of null values", nulls)}
    return [{"name": name, "picture": svg} for name, svg in drawn.items() if svg]


def _brief(value: object) -> str:
    """A number in few digits; moments and texts as they are."""
    return "" if value is None else f"{value:,.6g}" if isinstance(value, float) else str(value)
