"""The build benchmark, small: it runs, both sides compute the same rows, and memory is bounded."""

from pathlib import Path

import pyarrow.compute as pc

from feature_platform.core.layout import as_of
from tests.benchmarks import bench_build
from tests.benchmarks.figures import peak_mib

ROWS = 20_000


def test_both_sides_compute_the_same_features(tmp_path: Path) -> None:
    days = bench_build.make_days(tmp_path, rows=ROWS)
    ours = bench_build.build(tmp_path, days).to_arrow()
    bare = bench_build.bare_build(tmp_path, days, moment=as_of(bench_build.PARTITION))
    for name in ("user_id", "f_total_events_7d", "f_last_event_age_sec", "f_purchases_1d"):
        assert ours[name].equals(bare[name].cast(ours[name].type)), name
    difference = pc.abs(pc.subtract(ours["f_avg_session_sec_7d"], bare["f_avg_session_sec_7d"]))
    assert pc.max(difference).as_py() < 1e-9


def test_every_figure_is_measured(tmp_path: Path) -> None:
    figures = bench_build.measure(tmp_path, rows=ROWS, rounds=1)
    assert [figure.unit for figure in figures] == ["s", "s", "s", "s", "s", "MiB (limit)", "MiB"]
    assert all(figure.ours > 0 and figure.peer > 0 for figure in figures)
    assert figures[5].ours < 1536


def test_a_steps_peak_memory_is_its_own_and_not_its_parents(tmp_path: Path) -> None:
    ballast = bytearray(b"x" * (700 << 20))
    found = peak_mib(Path(bench_build.__file__), ["encode", str(tmp_path), "1000"])
    assert len(ballast) >> 20 == 700
    assert found < 600
