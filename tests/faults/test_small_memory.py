"""A container with little memory: days larger than it are validated and built by spilling, or end in an error that says what to do."""

import os
from pathlib import Path

import pytest

from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine
from feature_platform.adapters.compute.duckdb.session import EngineLimits
from feature_platform.adapters.machine.bounded_work import WorkLimits, run_bounded
from feature_platform.core.compute.tiles import Window
from feature_platform.core.layout import as_of
from feature_platform.errors import InvalidDataError
from tests.faults.figures import record_figure
from tests.faults.small_memory import feature_contract, validate_and_build, write_raw_day
from tests.support.raw_days import DAY, WORK_URI, RawDay, source_contract

IS_FULL = os.environ.get("FAULTS") == "full"
ROWS, ENGINE_MIB, CONTAINER_MIB = (3_000_000, 222, 700) if IS_FULL else (300_000, 64, 450)
"""The engine's share of a container of 700 MiB is 222 MiB (``adapters.machine.container_memory``)."""


def test_a_day_larger_than_the_engines_memory_is_built_within_the_containers(tmp_path: Path) -> None:
    write_raw_day(tmp_path, rows=ROWS)
    request = {"root": str(tmp_path), "memory_bytes": ENGINE_MIB << 20}
    found = run_bounded(validate_and_build, request, limits=WorkLimits(memory_bytes=8 << 30, wall_s=1800.0))
    assert (found["aggregated"], found["transformed"]) == (ROWS, ROWS)
    assert found["peak_mib"] <= CONTAINER_MIB, found
    assert found["peak_of_transform_mib"] <= CONTAINER_MIB, found
    record_figure(f"{ROWS} rows validated and built within {CONTAINER_MIB} MiB", tried=1, violations=0)


def test_a_build_that_finds_neither_memory_nor_disk_says_how_to_give_it_more(tmp_path: Path) -> None:
    day = RawDay(tmp_path)
    lines = (f"e{n},{n},2026-01-14T10:00:00Z,{'view' * 20},1" for n in range(200_000))
    day.put_csv("a.csv", *lines)
    validated = day.validate(source_contract())
    limits = EngineLimits(memory_bytes=16 << 20, spill_bytes=1 << 20)
    engine = DuckDBEngine(day.store, work_uri=WORK_URI, workdir=tmp_path, limits=limits)
    with pytest.raises(InvalidDataError, match=r"read less, or give it more \(FEATURE_PLATFORM_ENGINE_MEMORY_MIB, or"):
        engine.build(feature_contract(sql=None), [Window(source_contract(), [validated])], as_of=as_of(DAY))
