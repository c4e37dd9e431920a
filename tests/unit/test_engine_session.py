"""The engine's sessions: what a signal in the middle of a query becomes."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import duckdb
import pytest

from feature_platform.adapters.compute.duckdb.session import EngineLimits, open_local_session

ENDLESS = "SELECT count(*) FROM range(100000000000000) AS numbers(n) WHERE n % 7 = 8"


class GoneError(Exception):
    """What Dagster's handler of SIGTERM raises: no KeyboardInterrupt either."""


@pytest.fixture
def told_to_go() -> Iterator[None]:
    """This process gets a signal in a second, as a run's pod does when its node is drained."""

    def go(number: int, frame: FrameType | None) -> None:
        raise GoneError

    before = signal.signal(signal.SIGUSR1, go)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        yield
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("told_to_go")
def test_a_query_that_a_signal_ends_is_an_interrupt_and_no_fault_of_the_data(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_local_session(files=[], directory=tmp_path, limits=EngineLimits()) as connection:
        connection.execute(ENDLESS)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(duckdb.Error), open_local_session(files=[], directory=tmp_path, limits=EngineLimits()) as connection:
        connection.execute("SELECT missing")
