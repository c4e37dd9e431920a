"""Raw files of every format, damaged in every way we know: each ends in equal values or in one of our errors, in bounded time and memory.

``FAULTS=full`` (``make faults``) tries 10,000 of them instead of 150, from a seed that is printed; ``RAW_SEED`` repeats one.
"""

import os
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine
from feature_platform.adapters.compute.duckdb.session import EngineLimits
from feature_platform.errors import FeaturePlatformError, InvalidDataError
from tests.faults.figures import record_figure
from tests.support.raw_damage import LIMITS, RawCase, raw_case
from tests.support.raw_days import WORK_URI, RawDay
from tests.support.resident_memory import forget_own_peak, own_peak_mib

IS_FULL = os.environ.get("FAULTS") == "full"
PARTS = 10
FILES = 10_000 if IS_FULL else 150
SECONDS_PER_FILE = 20.0
"""A file takes milliseconds; this bound is for what runs away, on a machine that is busy with other things."""
GROWTH_MIB = 400


def test_damaged_raw_files_end_in_equal_values_or_our_errors(tmp_path: Path, subtests_of_campaign: range) -> None:
    wrong: list[str] = []
    forget_own_peak()
    before_mib = own_peak_mib()
    for seed in subtests_of_campaign:
        started = time.monotonic()
        fault = _fault(tmp_path, raw_case(seed))
        if time.monotonic() - started > SECONDS_PER_FILE:
            fault = fault or f"took {time.monotonic() - started:.1f} s"
        if fault:
            wrong.append(f"RAW_SEED={seed}: {fault}")
    record_figure("damaged raw files", tried=len(subtests_of_campaign), violations=len(wrong))
    assert not wrong, "\n".join([f"{len(wrong)} of {subtests_of_campaign}", *wrong[:10]])
    assert own_peak_mib() - before_mib < GROWTH_MIB


@pytest.fixture(params=range(PARTS))
def subtests_of_campaign(request: pytest.FixtureRequest) -> range:
    """Seeds of one part of the campaign."""
    if seed := os.environ.get("RAW_SEED"):
        return range(int(seed), int(seed) + (request.param == 0))
    start = int.from_bytes(os.urandom(4)) if IS_FULL else 20_260_114
    each = FILES // PARTS
    seeds = range(start + request.param * each, start + (request.param + 1) * each)
    print(f"seeds {seeds.start} to {seeds.stop - 1}")
    return seeds


def _fault(workdir: Path, case: RawCase) -> str | None:
    """What is wrong with the outcome of one file."""
    day = RawDay(workdir, limits=LIMITS)
    day.engine = DuckDBEngine(
        day.store, work_uri=WORK_URI, workdir=workdir, read_limits=LIMITS, limits=EngineLimits(memory_bytes=256 << 20, spill_bytes=1 << 30)
    )
    uri = day.put(case.name, case.body)
    try:
        validated = day.validate(case.source)
    except InvalidDataError as error:
        is_due = case.expected is None or case.expected.rows == 0 or case.is_open
        return None if is_due and (uri in str(error) or "hold no rows" in str(error) or "0 bytes" in str(error)) else f"refused: {error}"
    except FeaturePlatformError as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001  an error of another kind is what is looked for
        return f"{type(error).__name__}, which is not ours: {error}"
    if validated.raw.rows != validated.kept + validated.quarantined:
        return "rows were lost"
    if case.expected is None:
        return None if case.is_open else "was kept; expected a refusal"
    kept, rejected = day.rows(validated.files), day.rows(validated.quarantine)
    return None if case.is_open else _differences(case, kept, rejected)


def _differences(case: RawCase, kept: list[dict[str, object]], rejected: list[dict[str, object]]) -> str | None:
    """Where the rows are not those that were expected; of copies, which one is kept does not matter here."""
    assert case.expected is not None
    good = Counter(_spelled(values) for _, values in case.expected.good)
    duplicates = [row for row in rejected if row["reason"] == "duplicate"]
    found = Counter(_spelled(tuple(row.values())) for row in kept)
    keys = [[column.name for column in case.source.columns].index(key) for key in case.source.dedup_keys]
    distinct = {_spelled([values[key] for key in keys] if keys else values) for _, values in case.expected.good}
    bad = sorted((number, reason) for number, reason, _ in case.expected.bad)
    others = sorted((row["row_number"], row["reason"]) for row in rejected if row["reason"] != "duplicate")
    if bad != others:
        return f"rejected {[row for row in others if row not in bad][:3]}; expected {[row for row in bad if row not in others][:3]}"
    if found - good or len(kept) != len(distinct) or len(kept) + len(duplicates) != sum(good.values()):
        return f"kept {list(found - good)[:3]} ({len(kept)} rows); expected {list(good - found)[:3]} ({len(distinct)} rows)"
    texts = {number: text for number, _, text in case.expected.bad if text}
    spoiled = [row for row in rejected if texts.get(row["row_number"], row["original"]) != row["original"]]
    return f"original {spoiled[0]['original']!r}; expected {texts[spoiled[0]['row_number']]!r}" if spoiled else None


def _spelled(values: Sequence[object]) -> str:
    """Values that can be compared: moments in one zone, and one zero, as copies are told by it."""
    return repr([v.astimezone(UTC) if isinstance(v, datetime) else v + 0.0 if isinstance(v, float) else v for v in values])
