"""Eight processes that build a day each, at the same time on real servers, publish the versions that one process publishes day by day."""

import subprocess
import sys
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

from feature_platform.adapters.online_store.memory import MemoryOnlineStore
from feature_platform.settings import load_settings
from feature_platform.use_cases.backfill import backfill, plan_backfill
from feature_platform.wiring import Platform, open_platform
from tests.support.platforms import memory_platform, put_events

FIRST = date(2026, 1, 1)
DAYS = [(FIRST + timedelta(days=place)).isoformat() for place in range(8)]


def deliver(platform: Platform) -> None:
    for place, day in enumerate(DAYS):
        put_events(platform, day, users=range(1, 4 + place), session_sec=0.1 * place)


def published(platform: Platform) -> Mapping[str, str]:
    return {version.version: version.content_hash for version in platform.feature_sets.history("user_features").live}


def test_a_day_for_each_of_eight_processes_gives_the_versions_and_hashes_of_one(module_env: dict[str, str], tmp_path: Path) -> None:
    platform = open_platform(load_settings())
    deliver(platform)
    command = [str(Path(sys.executable).parent / "feature-platform"), "backfill", "user_features"]
    running = [
        subprocess.Popen([*command, day, day], env=module_env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for day in DAYS
    ]
    told = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0] * len(DAYS), told
    alone = memory_platform(tmp_path, start=FIRST, online=MemoryOnlineStore())
    deliver(alone)
    contract = alone.catalog.contract("user_features")
    plan = plan_backfill(alone, contract, first=FIRST, last=FIRST + timedelta(days=7))
    backfill(alone, contract, plan, run_id="one", actor="me", log=lambda _: None)
    assert len(published(platform)) == len(DAYS)
    assert published(platform) == published(alone)
