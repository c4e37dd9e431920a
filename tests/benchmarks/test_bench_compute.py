"""The compute benchmark, small: every kind of figure is measured."""

from pathlib import Path

from tests.benchmarks import bench_compute


def test_every_figure_is_measured(tmp_path: Path) -> None:
    several, long = tmp_path / "several", tmp_path / "long"
    several.mkdir()
    long.mkdir()
    figures = [
        bench_compute.many_versions(several, rows=300, users=20, versions=2),
        bench_compute.a_year(long, rows=300, users=20, window_days=9, tried=2),
        *bench_compute.sizes(tmp_path, total=[7_000], users=20, rounds=1),
    ]
    assert [figure.unit for figure in figures] == ["s", "s", "s", "MiB (limit)", "s"]
    assert all(figure.ours > 0 and figure.peer > 0 for figure in figures)
    assert figures[3].ours < 1536
