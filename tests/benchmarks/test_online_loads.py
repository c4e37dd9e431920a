"""The load benchmark, small: it runs, and the order of magnitude is right."""

import pytest

from tests.benchmarks.bench_online import measure, show

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


@pytest.mark.slow
def test_loads_are_several_times_as_fast_as_stock_feast_and_fit_into_memory() -> None:
    """Ratios of one run; the full benchmark has the real ones."""
    figures = {figure["name"]: figure for figure in measure(small=True, parts=["loads"])}
    assert figures["load 50,000 rows without TTL, stock Feast"]["ratio"] > 4
    assert figures["load 50,000 rows with a TTL on every key, stock Feast"]["ratio"] > 4
    assert figures["peak memory of loading 100,000 rows, 50,000 rows"]["ours"] < 400
    assert figures["peak memory of loading what differs in 100,000 rows, every one of 50,000"]["ours"] < 400
    assert show(list(figures.values())).row_count == 11
    differing = [figure for name, figure in figures.items() if name.startswith("load a ")]
    assert len(differing) == 4
    assert all(figure["ours"] > 0 for figure in differing)  # what they write is counted in tests/integration/test_differing_load.py
