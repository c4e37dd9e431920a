"""The engine's sessions: what a signal in the middle of a query becomes."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import duckdb
import pytest

from feature_platform.adapters.compute.duckdb.session import EngineLimits, fetch_batches, open_local_session

ENDLESS = "SELECT count(*) FROM range(100000000000000) AS numbers(n) WHERE n % 7 = 8"


class GoneError(BaseException):
    """What Dagster's handler of SIGTERM raises: no KeyboardInterrupt either."""


@pytest.fixture
def told(request: pytest.FixtureRequest) -> Iterator[list[int]]:
    """This process gets SIGTERM in a second, as a run's pod does when its node is drained; its handler raises, or only takes a note."""
    noted: list[int] = []

    def go(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        if request.param == "raises":
            raise GoneError

    before = signal.signal(signal.SIGTERM, go)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    try:
        yield noted
    finally:
        timer.join()
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("told", "raised"), [("raises", (GoneError, KeyboardInterrupt)), ("notes", KeyboardInterrupt)], indirect=["told"])
def test_a_signal_ends_a_query_as_interrupted_and_no_fault_of_the_data(
    told: list[int], raised: type[BaseException], threads: int, tmp_path: Path
) -> None:
    limits = EngineLimits(threads=threads)
    with pytest.raises(raised), open_local_session(files=[], directory=tmp_path, limits=limits) as connection:
        connection.execute(ENDLESS)
    assert told == [signal.SIGTERM]


@pytest.mark.parametrize("told", ["notes"], indirect=True)
def test_rows_that_are_read_in_batches_hear_it_too(told: list[int], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_local_session(files=[], directory=tmp_path, limits=EngineLimits()) as connection:
        list(fetch_batches(connection.sql(ENDLESS), rows=10))
    assert told == [signal.SIGTERM]


def test_whoever_was_told_of_signals_before_still_is(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    noted: list[int] = []
    handler, before = signal.signal(signal.SIGUSR1, lambda number, frame: noted.append(number)), signal.set_wakeup_fd(theirs.fileno())
    try:
        with open_local_session(files=[], directory=tmp_path, limits=EngineLimits()) as connection:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert connection.execute("SELECT 1").fetchall() == [(1,)]
        ours.settimeout(10)
        assert ours.recv(1) == bytes([signal.SIGUSR1])
        assert signal.set_wakeup_fd(before) == theirs.fileno()
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGUSR1, handler)
        ours.close()
        theirs.close()
    assert noted == [signal.SIGUSR1]


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(duckdb.Error), open_local_session(files=[], directory=tmp_path, limits=EngineLimits()) as connection:
        connection.execute("SELECT missing")
