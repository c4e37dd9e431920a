"""The validation benchmark, small: it runs, and both sides keep the same rows of every format."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.benchmarks import bench_validate
from tests.support.directory_store import DirectoryStore

ROWS = 20_000


@pytest.mark.parametrize("kind", bench_validate.FORMATS)
def test_both_sides_keep_the_same_rows(tmp_path: Path, kind: str) -> None:
    path = bench_validate.make_day(tmp_path, kind, rows=ROWS)
    day = bench_validate.validate(tmp_path)
    bench_validate.bare_validate(path)
    [file] = day.files
    ours = pq.ParquetFile(DirectoryStore(tmp_path).path(file.uri)).read()
    bare = pq.ParquetFile(path.parent.parent / "bare.parquet").read().cast(ours.schema)
    order = [(name, "ascending") for name in ("event_time", "event_id")]
    assert ours.sort_by(order).equals(bare.sort_by(order))


def test_every_figure_is_measured(tmp_path: Path) -> None:
    figures = bench_validate.measure(tmp_path, rows=ROWS, memory_rows=ROWS, rounds=1)
    assert [figure.unit for figure in figures] == ["s"] * 7 + ["MiB (limit)"] * 5
    assert all(figure.ours > 0 and figure.peer > 0 for figure in figures)
