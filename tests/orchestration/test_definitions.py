"""The asset graph as a small reviewed snapshot; what a second contract file adds to it; what loading it costs."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg

from feature_platform.definitions import build_definitions
from feature_platform.local.services import SHIPPED_CONTRACTS
from tests.support.platforms import MainJob, memory_platform, put_events
from tests.support.two_sources import put_orders, two_sources

CHECKS = ["drift", "null_ratio", "row_count", "value_bounds"]
SHIPPED: dict[str, dict[str, Any]] = {
    "raw_events": {"group": "sources", "deps": [], "daily": True, "checks": [], "kinds": ["s3"], "owners": ["team:product-analytics"]},
    "validated_events": {
        "group": "sources",
        "deps": ["raw_events"],
        "daily": True,
        "checks": [],
        "kinds": ["duckdb", "parquet"],
        "owners": ["team:product-analytics"],
    },
    "user_features_tiles": {
        "group": "user_features",
        "deps": ["validated_events"],
        "daily": True,
        "checks": [],
        "kinds": ["duckdb", "parquet"],
        "owners": ["team:ml-platform"],
    },
    "user_features": {
        "group": "user_features",
        "deps": ["user_features_tiles", "validated_events"],
        "daily": True,
        "checks": sorted([*CHECKS, "missing_days"]),
        "kinds": ["duckdb", "s3"],
        "owners": ["team:ml-platform"],
    },
    "user_features_latest": {
        "group": "user_features",
        "deps": ["user_features"],
        "daily": False,
        "checks": [],
        "kinds": ["s3"],
        "owners": ["team:ml-platform"],
    },
    "user_features_online": {
        "group": "user_features",
        "deps": ["user_features_latest"],
        "daily": False,
        "checks": ["parity"],
        "kinds": ["feast", "redis"],
        "owners": ["team:ml-platform"],
    },
}
HEALTH = {
    "group": "platform",
    "deps": ["user_features_online"],
    "daily": False,
    "checks": ["user_features"],
    "kinds": ["redis", "s3"],
    "owners": ["team:ml-platform"],
}

LOADING = """
import sys

connected = set()
sys.addaudithook(lambda event, arguments: connected.add(arguments[1]) if event == "socket.connect" else None)
import dagster as dg
from feature_platform.definitions import defs

definitions = defs()
dg.Definitions.validate_loadable(definitions)
print(len(list(definitions.resolve_asset_graph().get_all_asset_keys())), connected, {"feast", "pyspark"} & set(sys.modules))
"""


def outline(definitions: dg.Definitions) -> dict[str, dict[str, Any]]:
    """Of each asset, what its author decided."""
    graph = definitions.resolve_asset_graph()
    nodes = {key.to_user_string(): graph.get(key) for key in graph.get_all_asset_keys()}
    return {
        name: {
            "group": node.group_name,
            "deps": sorted(key.to_user_string() for key in node.parent_keys),
            "daily": isinstance(node.partitions_def, dg.DailyPartitionsDefinition),
            "checks": sorted(check.name for check in node.check_keys),
            "kinds": sorted(node.kinds),
            "owners": list(node.owners),
        }
        for name, node in nodes.items()
    }


def undescribed(definitions: dg.Definitions) -> list[str]:
    graph = definitions.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    return [node.key.to_user_string() for node in nodes if not (node.description and node.owners and node.kinds)]


def blocking(definitions: dg.Definitions) -> set[str]:
    graph = definitions.resolve_asset_graph()
    return {key.name for key in graph.asset_check_keys if graph.get_check_spec(key).blocking}


def test_the_asset_graph_is_the_reviewed_one(tmp_path: Path) -> None:
    definitions = build_definitions(memory_platform(tmp_path))
    assert outline(definitions) == {**SHIPPED, "platform_health": HEALTH}
    assert blocking(definitions) == {*CHECKS, "parity"}
    assert undescribed(definitions) == []
    repository = definitions.get_repository_def()
    jobs = ["daily_features", "daily_set_user_features", "daily_source_events"]
    assert sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")) == [*jobs, "hourly_health"]
    schedules = [*(f"{job}_at_midnight" for job in jobs), "hourly_health_at_quarter_past"]
    assert sorted(schedule.name for schedule in repository.schedule_defs) == schedules
    assert [sensor.name for sensor in repository.sensor_defs] == ["raw_data_changed"]


def test_the_window_of_a_feature_set_reaches_back_over_its_longest_aggregation(tmp_path: Path) -> None:
    graph = build_definitions(memory_platform(tmp_path)).resolve_asset_graph()
    mapping = graph.get_partition_mapping(dg.AssetKey("user_features"), dg.AssetKey("validated_events"))
    assert isinstance(mapping, dg.TimeWindowPartitionMapping)
    assert (mapping.start_offset, mapping.end_offset) == (-6, 0)


def test_definitions_load_while_no_server_runs_and_say_what_they_could_not_compare(tmp_path: Path) -> None:
    closed = {name: f"s3://nowhere/{name}" for name in ("RAW_URI", "WORK_URI", "FEATURE_BASE", "REGISTRY_URI")}
    given = {"ENV": "prod", **closed, "REDIS": "127.0.0.1:1", "CONTRACTS_DIR": str(SHIPPED_CONTRACTS), "START_DATE": "2026-01-01"}
    s3 = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "eu-west-1"}
    environment = {f"FEATURE_PLATFORM_{name}": value for name, value in given.items()} | s3
    answer = subprocess.run(
        [sys.executable, "-c", LOADING], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    # On a machine too busy to have asked S3 in time, loading goes on without having connected to anything.
    assert answer.stdout in {"7 {('127.0.0.1', 1)} set()\n", "7 set() set()\n"}, answer.stderr
    said = "Contracts are not compared with what is published: "
    assert said + "s3://nowhere/FEATURE_BASE/user_features/_log/: S3 at" in answer.stderr or said + "S3 did not answer" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_second_contract_file_adds_a_second_column_of_assets_that_runs(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    platform = memory_platform(tmp_path, contracts=two_sources(tmp_path))
    found = outline(build_definitions(platform))
    assert {name: found[name] for name in SHIPPED} == SHIPPED
    health = found.pop("platform_health")
    assert (health["deps"], health["checks"]) == (["shop_features_online", "user_features_online"], ["shop_features", "user_features"])
    added = {name: (facts["group"], facts["deps"], facts["checks"]) for name, facts in found.items() if name not in SHIPPED}
    assert added == {
        "raw_orders": ("sources", [], []),
        "validated_orders": ("sources", ["raw_orders"], []),
        "shop_features_tiles": ("shop_features", ["validated_orders"], []),
        "shop_features": ("shop_features", ["shop_features_tiles", "validated_orders"], sorted([*CHECKS, "missing_days"])),
        "shop_features_latest": ("shop_features", ["shop_features"], []),
        "shop_features_online": ("shop_features", ["shop_features_latest"], ["parity"]),
    }
    day = "2026-01-10"
    put_orders(platform, day, 0.1, 0.2)
    put_events(platform, day)
    job = MainJob(platform, instance=instance)
    run = job.run(day, only=[name for name in found if not name.endswith("_online")])
    assert run.success, run.failure
    assert job.latest("shop_features") == job.latest("user_features") == "v_20260111T000000"
    rows = platform.feature_sets.load("shop_features", "v_20260111T000000").to_pylist()
    assert [(row["shop"], row["f_revenue_2d"]) for row in rows] == [("Łódź 1", 0.3)]
