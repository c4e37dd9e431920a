"""A platform in memory whose feature sets tell the time that a test gives them."""

from pathlib import Path

import pytest

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from tests.support.feature_set_samples import DAY, open_store
from tests.support.platforms import memory_platform
from tests.support.training_sets import Published


@pytest.fixture
def published(tmp_path: Path) -> Published:
    """Nothing is published yet."""
    objects, clock = MemoryObjectStore(), [DAY]
    store = open_store(objects, "s3://memory/", clock=lambda: clock[0])
    return Published(memory_platform(tmp_path, store=objects, feature_base="s3://memory/features", feature_sets=store), store, clock)
