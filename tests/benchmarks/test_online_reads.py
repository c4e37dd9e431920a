"""The read benchmark, small: it runs, and reads of a hundred entities are far from equal."""

import pytest

from tests.benchmarks.online_reads import read_figures
from tests.support.services import ValkeyDatabase

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


def test_reads_are_twice_as_fast_at_a_hundred_entities(valkey: ValkeyDatabase) -> None:
    figures = {figure["name"]: figure["ratio"] for figure in read_figures(valkey, users=2000, rounds=5, seconds_per_round=0.02)}
    assert figures["SDK read of 100 entities, as values"] >= 2
    assert figures["SDK read of 100 entities, as message"] >= 2
