"""The benchmark of long logs, small: it runs, and what it counts does not grow."""

from pathlib import Path

from tests.benchmarks import bench_growth


def test_a_fresh_process_asks_as_often_beside_a_long_log_as_beside_a_short_one(tmp_path: Path) -> None:
    requests, seconds = bench_growth.measure(tmp_path, records=60, rounds=1, operations=["commit"])
    assert (requests.unit, seconds.unit) == ("requests", "s")
    assert abs(requests.ours - requests.peer) <= 3
    assert seconds.ours > 0
