"""The commands of a laptop: servers up and down, and the demo from nothing to its last table."""

import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.cli.app import app
from feature_platform.cli.demo import first_day
from feature_platform.cli.environment import start_date
from feature_platform.errors import ConfigurationError
from feature_platform.local.services import SHIPPED_CONTRACTS, LocalServices
from feature_platform.settings import load_settings
from tests.support.online import Publications, users

COMMAND = Path(sys.executable).with_name("feature-platform")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "a home"
    yield home
    LocalServices(home).down()


def pids(home: Path) -> list[int]:
    services = LocalServices(home)
    return [record.mark.pid for server in (services.s3, services.redis) if (record := server.record())]


def exported(text: str) -> dict[str, str]:
    """The variables that a shell would hold after ``eval``."""
    words = shlex.split(text)
    assert words[::2] == ["export"] * (len(words) // 2)
    return dict(word.split("=", 1) for word in words[1::2])


def test_the_demo_says_that_it_takes_the_place_of_a_chosen_first_partition(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start_date(home, chosen=date(2026, 1, 10))
    first = first_day(home, days=9)
    assert f"The first partition was 2026-01-10 and is {first} now" in capsys.readouterr().err
    assert first_day(home, days=9) == first
    assert capsys.readouterr().err == ""


def test_up_and_down_twice_are_once(home: Path) -> None:
    runner = CliRunner()
    first = runner.invoke(app, ["up", "--home", str(home), "--start-date", "2026-01-10"])
    assert first.exit_code == 0, first.output
    environment = exported(first.stdout)
    settings = load_settings(environment)
    assert (settings.env, settings.start_date.isoformat(), settings.home) == ("local", "2026-01-10", home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert Path(environment["DAGSTER_HOME"], "dagster.yaml").is_file()
    started = pids(home)
    assert len(started) == 2

    again = runner.invoke(app, ["up", "--home", str(home), "--json"])
    assert json.loads(again.stdout) == environment
    assert pids(home) == started
    assert "S3 and Redis are up" in first.stderr

    for _ in range(2):
        down = runner.invoke(app, ["down", "--home", str(home)])
        assert (down.exit_code, down.stdout) == (0, "")
        assert pids(home) == []


def test_up_remembers_its_contracts_and_offers_a_reader(home: Path, tmp_path: Path) -> None:
    contracts = tmp_path / "my contracts"
    shutil.copytree(SHIPPED_CONTRACTS, contracts)
    runner = CliRunner()
    assert runner.invoke(app, ["up", "--home", str(home), "--contracts", str(contracts)]).exit_code == 0
    again = exported(runner.invoke(app, ["up", "--home", str(home)]).stdout)
    assert load_settings(again).contracts_dir == contracts
    reading = exported(runner.invoke(app, ["up", "--home", str(home), "--redis-reader"]).stdout)
    assert {name for name in again if again[name] != reading[name]} == {"FEATURE_PLATFORM_REDIS"}
    store = RedisOnlineStore(load_settings(reading).redis)
    assert store.marker(project="feature_store_local", view="user_features") is None
    with pytest.raises(ConfigurationError, match="refuses this user"):
        store.load(Publications().publish("v_20260115T000000", users(range(3))))


@pytest.mark.slow
def test_the_demo_goes_from_raw_events_to_online_values(home: Path) -> None:
    """In a process of its own, as a newcomer runs it."""
    told = subprocess.run(
        [COMMAND, "demo", "--home", home, "--days", "3"], capture_output=True, text=True, check=False, timeout=280, cwd=home.parent
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "From raw events to online values" in told.stdout
    lines = [line for line in told.stdout.splitlines() if "│ f_total_events_7d" in line]
    counts = [[cell.strip() for cell in line.split("│")[3:6]] for line in lines]
    assert len(counts) == 4
    assert all(counted == in_file == online for counted, in_file, online in counts)
    assert counts[3] == ["3", "3", "3"]
    assert "feature-version: user_features;state=online;version=v_" in told.stdout
    assert "4 of 4 answered rows proven against the published file" in told.stdout
    assert f"f_total_events_7d: {counts[0][0]} in training, {counts[0][0]} online" in told.stdout  # as many as the days of today give her

    up = subprocess.run([COMMAND, "up", "--home", home, "--json"], capture_output=True, text=True, check=True)
    environment = {**os.environ, **json.loads(up.stdout)}
    listed = subprocess.run(
        [COMMAND, "versions", "list", "user_features", "--json"], env=environment, capture_output=True, text=True, check=True
    )
    assert [row["latest"] for row in json.loads(listed.stdout)] == ["latest", "", "", ""]
    proved = subprocess.run([COMMAND, "verify", "user_features"], env=environment, capture_output=True, text=True, check=False)
    assert proved.returncode == 0, proved.stdout
