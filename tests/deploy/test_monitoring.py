"""Rules and dashboard ask, in PromQL that parses, for metrics that the platform's own processes tell."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import promql_parser
import pytest
import yaml

from feature_platform.adapters.watch_metrics import WatchMetrics
from feature_platform.core.deviation import CheckResult
from feature_platform.core.operations.health import Health, Problem
from feature_platform.core.operations.incidents import Incident
from feature_platform.server.metrics import METRICS
from feature_platform.server.status import FRESHNESS, REGISTRY_AGE, VERSION_AGE
from feature_platform.use_cases.watch import Look, Watch
from tests.support.chart import ROOT

MONITORING = ROOT / "deploy" / "monitoring"
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def told_by_the_watch() -> dict[str, set[str]]:
    """Metric → labels."""
    problem = Problem("users", "not_online", "online", "failing", "nothing is online", "Load it.")
    watch = Watch(None, [], incidents={problem.key: Incident(problem, NOON, alerted_at=NOON)})
    metrics = WatchMetrics(watch)
    drift = CheckResult("drift", ("column 'f' moved",), figures={"f": 0.4})
    metrics.show(Look((Health("users", (problem,), None, NOON, (drift,)),), (), ()), NOON)
    return {family.name: set(family.samples[0].labels) for family in metrics.collect()}


def told_by_the_server() -> dict[str, set[str]]:
    told: dict[str, set[str]] = {metric.name: set(metric.labels) for metric in (FRESHNESS, REGISTRY_AGE, VERSION_AGE)}
    for metric in METRICS:
        if metric.bounds:
            told |= {f"{metric.name}_bucket": {*metric.labels, "le"}, f"{metric.name}_count": set(metric.labels)}
        else:
            told[f"{metric.name}_total"] = set(metric.labels)
    return told


TOLD = told_by_the_watch() | told_by_the_server()
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
RULES = [rule for group in yaml.safe_load((MONITORING / "rules.yaml").read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
ASKED = [rule["expr"] for rule in RULES] + [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def selectors(expression: Any) -> Iterator[Any]:
    """Every selector of an expression, however deep."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
        return
    for name in ("expr", "lhs", "rhs", "vector_selector", "args"):
        inner = getattr(expression, name, None)
        for each in inner if isinstance(inner, list) else [inner]:
            if each is not None:
                yield from selectors(each)


@pytest.mark.parametrize("asked", ASKED)
def test_what_is_asked_for_is_told(asked: str) -> None:
    found = list(selectors(promql_parser.parse(asked)))
    assert found
    for selector in found:
        assert selector.name in TOLD
        assert {matcher.name for matcher in selector.matchers.matchers} <= TOLD[selector.name]


def test_a_metric_that_nobody_tells_would_be_seen() -> None:
    (selector,) = selectors(promql_parser.parse("sum(rate(feature_server_typo_total[5m]))"))
    assert selector.name not in TOLD


def test_every_alert_says_what_it_means_and_how_urgent_it_is() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_panels_lie_side_by_side_and_not_over_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
