"""Checks with a history over ninety simulated days with a weekly season and growth: hardly a false alarm, and no anomaly that is missed."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.core.contract.source import SourceContract, load_source_contract
from feature_platform.core.deviation import DAYS, FEWEST, CheckResult, expectation, failures
from feature_platform.core.events import checks as source_checks
from feature_platform.core.events.raw import RawManifest, RawObject
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.core.layout import as_of, version_id
from feature_platform.core.versions import checks
from feature_platform.core.versions.log import Record, fold
from feature_platform.core.versions.statistics import ColumnStatistics
from feature_platform.core.versions.version_metadata import VersionMetadata, parse_metadata

START, SIMULATED = date(2026, 1, 5), 90
COLUMNS = ("f_events_7d", "f_amount", "f_visits_1d")
USERS = 800


@dataclass
class Day:
    """What upstream delivered on a day, and what became of it: figures of the source, and one array for each feature."""

    partition: str
    rows: int
    rejected: int
    delay: timedelta
    features: dict[str, np.ndarray[Any, Any]]
    unknown: tuple[str, ...] = ()

    @property
    def validated(self) -> ValidatedDay:
        item = RawObject("s3://b/part", "e", 1, as_of(self.partition) + self.delay, "jsonl", False, None, self.unknown)
        raw = RawManifest("events", self.partition, (item,))
        return ValidatedDay("events", self.partition, "h", raw, self.rows - self.rejected, {"null_value": self.rejected}, (), ())

    @property
    def metadata(self) -> VersionMetadata:
        moment, known = as_of(self.partition), {}
        for name, values in self.features.items():
            column = ColumnStatistics(pa.float64())
            column.update(pa.array(values, pa.float64(), from_pandas=True))
            known[name] = dict(column.summary())
        document = {
            "feature_set": "fs", "version": version_id(moment), "generated_at": "-", "as_of": moment.isoformat(), "source": [],
            "pipeline": "-", "schema_hash": "s", "content_hash": "c", "feature_uri": "s3://b/fs/", "files": {},
            "row_count": len(self.features["f_amount"]), "statistics": known,
        }  # fmt: skip
        return parse_metadata(json.dumps(document).encode(), uri="s3://b/metadata.json")


def usual(place: int, random: np.random.Generator) -> Day:
    """A day without anomaly: growth of one percent a week, weekends at 60%, and noise everywhere."""
    partition = START + timedelta(days=place)
    level = 1.01 ** (place / 7) * (0.6 if partition.weekday() > 4 else 1.0)
    rows, users = int(20_000 * level * random.normal(1, 0.03)), int(USERS * 1.01 ** (place / 7) * random.normal(1, 0.01))
    weekend = 0.85 if partition.weekday() > 4 else 1.0
    features = {
        "f_events_7d": random.gamma(4, 5, users),
        "f_amount": random.lognormal(3, 0.5, users),
        "f_visits_1d": random.gamma(3, 4 * weekend, users),
    }
    features["f_amount"][random.random(users) < 0.02] = np.nan
    delay = timedelta(minutes=float(random.uniform(5, 90)))
    return Day(partition.isoformat(), rows, int(rows * random.uniform(0.005, 0.015)), delay, features)


def features_of(day: Day, **changed: np.ndarray[Any, Any]) -> Day:
    return replace(day, features={**day.features, **changed})


def without(day: Day, share: float) -> Day:
    values = day.features["f_amount"].copy()
    values[: int(len(values) * share)] = np.nan
    return features_of(day, f_amount=values)


ANOMALIES: dict[int, tuple[str, Callable[[Day], Day]]] = {
    22: ("volume", lambda day: replace(day, rows=day.rows // 2, rejected=day.rejected // 2)),
    27: ("volume", lambda day: replace(day, rows=day.rows * 2, rejected=day.rejected * 2)),
    30: ("rejected_ratio", lambda day: replace(day, rejected=int(day.rows * 0.08))),
    36: ("freshness", lambda day: replace(day, delay=timedelta(hours=9))),
    41: ("columns", lambda day: replace(day, unknown=("campaign",))),
    47: ("null_ratio", lambda day: without(day, 0.4)),
    52: ("history", lambda day: without(day, 0.12)),
    58: ("value_bounds", lambda day: features_of(day, f_events_7d=day.features["f_events_7d"] - 30)),
    63: ("uniqueness", lambda day: features_of(day, f_events_7d=np.round(day.features["f_events_7d"] / 10) * 10)),
    69: ("history", lambda day: replace(day, features={name: values[::2] for name, values in day.features.items()})),
    75: ("drift", lambda day: features_of(day, f_amount=day.features["f_amount"] * 1000)),
    84: ("history", lambda day: features_of(day, f_visits_1d=day.features["f_visits_1d"] * 1.5)),
}


def contract() -> Contract:
    columns = [{"name": "user_id", "type": "int64"}, *({"name": name, "type": "float64"} for name in COLUMNS)]
    columns[1]["checks"] = {"min": 0, "min_distinct_ratio": 0.9}  # type: ignore[assignment]
    asked = {"max_null_ratio": {"f_amount": 0.3}, "max_drift_psi": 0.25, "max_mean_shift": 1, "max_history_psi": 0.25, "max_deviation": 7}
    document = {"feature_set": "fs", "version": "v1", "primary_keys": ["user_id"], "columns": columns, "checks": asked}
    return load_contract(json.dumps(document), file="fs.schema.json", sql="SELECT 1")


def source(**asked: Any) -> SourceContract:
    column = {"name": "event_time", "type": "timestamp"}
    document = {"source": "events", "event_time": "event_time", "columns": [column], "checks": asked}
    return load_source_contract(json.dumps(document), file="events.source.json")


def judged(*, seed: int, anomalies: dict[int, tuple[str, Callable[[Day], Day]]]) -> dict[int, set[str]]:
    """Day → the checks that failed, where one did. What a check keeps back is committed and not promoted, as in a run."""
    random, asked = np.random.default_rng(seed), contract()
    of_source = source(max_rejected_ratio=0.05, max_delay="6h", known_columns_only=True, max_deviation=7)
    days: dict[str, ValidatedDay] = {}
    versions: dict[str, VersionMetadata] = {}
    records: list[Record] = []
    alarms: dict[int, set[str]] = {}
    for place in range(SIMULATED):
        day = usual(place, random)
        day = anomalies[place][1](day) if place in anomalies else day
        facts, moment = day.metadata, as_of(day.partition)
        records.append(Record(len(records) + 1, "commit", facts.version, moment, f"w{place}", "me", moment))
        history = fold(records)
        version = history.versions[facts.version]
        results = source_checks.evaluate(of_source, day.validated, before=days)
        since = [versions[each.version] for each in checks.since_served(history, version)]
        assert len(since) <= DAYS
        before = [versions[each.version] for each in checks.last_days(history, version)]
        assert len(before) <= DAYS
        results += checks.evaluate(
            asked, facts, reference=checks.last_passing(asked, since), before=before, source_faults=failures(results)
        )
        days[day.partition], versions[facts.version] = day.validated, facts
        if failed := {result.name for result in results if result.faults}:
            alarms[place] = failed
        if not failures(results):
            records.append(Record(len(records) + 1, "promote", facts.version, moment, f"p{place}", "me", moment))
    return alarms


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ninety_usual_days_raise_at_most_one_false_alarm(seed: int) -> None:
    assert len(judged(seed=seed, anomalies={})) <= 1


@pytest.mark.parametrize("seed", [1, 2])
def test_each_of_twelve_anomalies_is_found_the_same_day_and_the_days_after_it_are_none(seed: int) -> None:
    assert len(ANOMALIES) == 12
    alarms = judged(seed=seed, anomalies=ANOMALIES)
    assert {place: name in alarms.get(place, ()) for place, (name, _) in ANOMALIES.items()} == dict.fromkeys(ANOMALIES, True)
    assert len(alarms.keys() - ANOMALIES.keys()) <= 1


def figures(count: int, value: Callable[[int], float] = lambda place: 100.0) -> dict[date, float]:
    return {START + timedelta(days=place): value(place) for place in range(count)}


def test_too_short_a_history_judges_nothing_and_figures_older_than_four_weeks_are_not_looked_at() -> None:
    after = START + timedelta(days=FEWEST)
    assert expectation(figures(FEWEST - 1), after, is_relative=True) is None
    assert expectation(figures(FEWEST), after, is_relative=True) is not None
    assert expectation(figures(FEWEST), after + timedelta(days=DAYS), is_relative=True) is None


def test_growth_and_season_alone_are_never_unusual() -> None:
    def value(place: int) -> float:
        return 1000 * 1.05 ** (place / 7) * (0.4 if place % 7 > 4 else 1)

    for place in range(FEWEST, SIMULATED):
        usual = expectation(figures(place, value), START + timedelta(days=place), is_relative=True)
        assert usual is not None
        assert usual.fault("rows", value(place), limit=6) == []
        assert usual.fault("rows", value(place) * 0.8, limit=6) != []


def test_a_source_without_checks_judges_nothing_and_severity_says_what_blocks() -> None:
    day = usual(0, np.random.default_rng(0))
    late = replace(day, delay=timedelta(hours=9), rows=3, rejected=0).validated
    plain = load_source_contract(json.dumps({k: v for k, v in source().document.items() if k != "checks"}), file="events.source.json")
    assert source_checks.evaluate(plain, late, before={}) == []

    def blocking(**asked: Any) -> list[str]:
        results: list[CheckResult] = source_checks.evaluate(source(**asked), late, before={})
        assert [result.name for result in results] == list(source_checks.DESCRIPTIONS)
        return [fault.split(":")[0] for fault in failures(results)]

    assert blocking(max_delay="6h", min_rows=4) == ["rows"]
    assert blocking(max_delay="6h", severity={"freshness": "block"}) == ["freshness"]
    assert blocking(min_rows=4, severity={"rows": "warn"}) == []


def test_a_missing_column_and_an_unknown_one_are_told_as_the_contract_asks() -> None:
    day = replace(usual(0, np.random.default_rng(0)), unknown=("campaign",)).validated

    def faults(**asked: Any) -> list[str]:
        results = source_checks.evaluate(source(**asked), replace(day, missing_columns=("country",)), before={})
        (found,) = (result for result in results if result.name == "columns")
        assert not found.is_blocking
        return [fault.rsplit(": ", 1)[-1] for fault in found.faults]

    assert faults() == ["country"]
    assert faults(known_columns_only=True) == ["country", "campaign"]
    assert faults(every_column=False) == []


def test_what_was_served_last_and_what_came_since_is_what_drift_may_be_measured_against() -> None:
    moments = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4)]
    commits = [Record(seq, "commit", version_id(at), at, f"w{seq}", "me", at) for seq, at in enumerate(moments, start=1)]
    promoted = Record(5, "promote", version_id(moments[1]), moments[1], "p", "me", moments[1])

    def names(*records: Record) -> list[str]:
        history = fold(records)
        return [each.version for each in checks.since_served(history, history.versions[version_id(moments[3])])]

    assert names(*commits, promoted) == [version_id(at) for at in moments[1:3]]
    assert names(*commits) == [version_id(at) for at in moments[:3]]
