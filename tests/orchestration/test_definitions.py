"""The asset graph as a small reviewed snapshot; what a second contract file adds to it; what loading it costs."""

import subprocess
import sys
from pathlib import Path

import dagster as dg

from feature_platform.definitions import build_definitions
from feature_platform.local.services import SHIPPED_CONTRACTS
from tests.support.graph_text import FILE, shipped_graph
from tests.support.platforms import MainJob, memory_platform, put_events
from tests.support.two_sources import put_orders, two_sources

CHECKS = ["drift", "history", "null_ratio", "row_count", "source_day", "uniqueness", "value_bounds"]
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


def outline(definitions: dg.Definitions) -> dict[str, tuple[str | None, list[str], list[str]]]:
    """Of each asset its group, what it rests on, and its checks."""
    graph = definitions.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    return {
        node.key.to_user_string(): (
            node.group_name,
            sorted(key.to_user_string() for key in node.parent_keys),
            sorted(check.name for check in node.check_keys),
        )
        for node in nodes
    }


def undescribed(definitions: dg.Definitions) -> list[str]:
    graph = definitions.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    return [node.key.to_user_string() for node in nodes if not (node.description and node.owners and node.kinds)]


def test_the_asset_graph_is_the_reviewed_one(tmp_path: Path) -> None:
    reviewed = FILE.read_text(encoding="utf-8")
    assert shipped_graph() == reviewed, "where this is meant: `make graph`, and review the diff"
    assert len(reviewed.splitlines()) < 300
    assert undescribed(build_definitions(memory_platform(tmp_path))) == []


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
    causes = ("s3://nowhere/FEATURE_BASE/user_features/_log/checkpoint: S3 at", "S3 did not answer")
    assert any(said + cause in answer.stderr for cause in causes)
    assert list(tmp_path.iterdir()) == []


def test_a_second_contract_file_adds_a_second_column_of_assets_that_runs(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    platform = memory_platform(tmp_path, contracts=two_sources(tmp_path))
    found, shipped = outline(build_definitions(platform)), outline(build_definitions(memory_platform(tmp_path)))
    group, rests_on, checks = found.pop("platform_health")
    assert (group, rests_on) == ("platform", ["shop_features_online", "user_features_online"])
    assert checks == ["shop_features", "user_features"]
    del shipped["platform_health"]
    assert {name: found[name] for name in shipped} == shipped
    added = {name: facts for name, facts in found.items() if name not in shipped}
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
