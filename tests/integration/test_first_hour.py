"""The first hour of somebody with a file of their own, by public commands: contracts, raw data, a look, a run, and out of service again."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from feature_platform.cli.app import app
from feature_platform.settings import load_settings
from feature_platform.wiring import open_platform
from tests.support.platforms import MainJob

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

DAYS = [(datetime.now(UTC).date() - timedelta(days=back)).isoformat() for back in (2, 1)]


def cli(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def answered(*arguments: str | Path, code: int = 0) -> Any:
    """What a command answers in JSON."""
    result = cli(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def deliver(directory: Path, day: str, *, users: int) -> Path:
    """A file of one day as somebody may have it."""
    lines = ["order_id,shop_id,ordered_at,price", *(f"{day}-{n},{n},{day}T1{n}:00:00Z,{n}.5" for n in range(users))]
    place = directory / f"dt={day}"
    place.mkdir(parents=True)
    (place / "orders.csv").write_text("\n".join(lines) + "\n")
    return place / "orders.csv"


def test_from_a_file_to_served_features_and_out_of_service(
    module_env: dict[str, str], module_instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [deliver(tmp_path / "raw", day, users=number) for number, day in enumerate(DAYS, start=2)]
    contracts = tmp_path / "contracts"
    started = cli("init", contracts, "--sample", files[0], "--key", "shop_id")
    assert started.exit_code == 0, started.output
    assert "event time: 'ordered_at'" in started.stderr
    assert "orders.source.json already" not in started.output
    again = cli("init", contracts, "--sample", files[0], "--key", "shop_id")
    assert (again.exit_code, "already; nothing was written" in again.output) == (2, True)
    monkeypatch.setenv("FEATURE_PLATFORM_CONTRACTS_DIR", str(contracts))
    monkeypatch.setenv("FEATURE_PLATFORM_START_DATE", DAYS[0])
    assert {row["contract"] for row in answered("contract", "check")} == {"shop_features", "orders"}

    assert [row["outcome"] for row in answered("raw", "put", tmp_path / "raw", "--source", "orders")] == ["written", "written"]
    (row,) = answered("raw", "put", files[0], "--source", "orders", "--day", DAYS[0])
    assert (row["outcome"], row["object"].endswith(f"/orders/dt={DAYS[0]}/orders.csv")) == ("already there", True)
    # As upstream writes it, without a digest beside it.
    open_platform(load_settings()).objects.put(row["object"], files[0], write_id="upstream", sha256=None, condition=None)
    assert answered("raw", "put", files[0], "--source", "orders", "--day", DAYS[0])[0]["outcome"] == "already there"
    refused = cli("raw", "put", files[1], "--source", "orders", "--day", DAYS[0])
    assert (refused.exit_code, "holds something else than" in refused.output) == (1, True)
    refused = cli("raw", "put", files[1], "--source", "order", "--day", DAYS[0])
    assert (refused.exit_code, "No contract for source 'order'" in refused.output) == (2, True)

    seen = answered("contract", "try", "shop_features", "--day", DAYS[1])
    assert (seen["rows"], len(seen["days"]), len(seen["missing"])) == (3, 2, 5)
    assert seen["first"][0]["f_events_7d"] == 2
    platform = open_platform(load_settings())
    assert list(platform.objects.scan(platform.settings.work_uri)) == []
    assert platform.feature_sets.published() == []

    run = MainJob(platform, instance=module_instance).run(DAYS[0], until=DAYS[1])
    assert run.success, run.failure
    loads = run.partitions("shop_features_online")
    assert list(loads) == ["None"]  # one load for the whole range
    assert answered("online", "get", "shop_features", "--key", "shop_id=1")[0]["f_events_7d"] == 2

    for path in contracts.glob("*.schema.json"):
        path.rename(path.with_name(path.name.replace("shop", "market")))
    renamed = contracts / "market_features.schema.json"
    renamed.write_text(json.dumps({**json.loads(renamed.read_text()), "feature_set": "market_features"}))
    rows = {row["feature_set"]: row for row in answered("status", code=1)}
    assert "no contract, and v_" in rows["shop_features"]["agreement"]
    (drift,) = (row for row in answered("doctor", code=1) if row["feature_set"] == "shop_features")
    assert "decommission" in drift["remedy"]
    assert [row["reason"] for row in answered("gc", "shop_features", "--keep", "1", "--keep-days", "0")] != []
    assert [row["latest"] for row in answered("versions", "list", "shop_features")] == ["latest", ""]
    assert answered("online", "version", "shop_features")["state"] == "online"
    removed = answered("decommission", "shop_features", "--remove")
    assert {row["outcome"] for row in removed} == {"removed"}
    assert len(removed) == 4
    rows = {row["feature_set"]: row for row in answered("status", code=1)}
    assert (rows["shop_features"]["agreement"], rows["shop_features"]["online"]) == ("no contract; not in service", None)
