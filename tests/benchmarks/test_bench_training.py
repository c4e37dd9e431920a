"""The training benchmark, small: it runs, and all three sides find the same values."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.benchmarks import bench_training as bench

# Importing Feast, redis and their protobuf code raises warnings of their own, and so does Dask.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


def test_all_sides_find_the_same_values(tmp_path: Path) -> None:
    bench.make_tables(tmp_path, users=500, versions=3)
    labels = bench.make_labels(tmp_path, rows=300, users=500, versions=3)
    platform = bench.open_site(tmp_path)
    made = bench.make(platform, labels)
    names = ["label", *bench.FEATURES]
    with platform.training_sets.open_rows(made.data) as rows:
        ours = {name: [value for batch in rows.batches() for value in batch.column(name).to_pylist()] for name in names}
    by_hand = pq.read_table(bench.by_hand(tmp_path, labels)).select(list(ours)).to_pydict()
    assert ours == by_hand
    feasts = bench.feasts(bench.open_feast(tmp_path), labels).select(list(ours)).to_pydict()
    assert sorted(zip(*feasts.values(), strict=True)) == sorted(zip(*ours.values(), strict=True))


def test_every_figure_is_measured(tmp_path: Path) -> None:
    figures = bench.measure(tmp_path, labels=200, users=300, versions=2, rounds=1)
    assert [figure.unit for figure in figures] == ["s", "s", "MiB (limit)"]
    assert all(figure.ours > 0 and figure.peer > 0 for figure in figures)
