"""The process above the workers: how they end with it or without it, and that it takes no other server's place."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from feature_platform.errors import ConfigurationError
from feature_platform.server.options import ServeOptions
from feature_platform.server.supervisor import listening_sockets
from tests.support.valkey_server import free_port

SUPERVISE = r"""
import os, sys, time
from feature_platform.server.options import ServeOptions
from feature_platform.server.supervisor import supervise

def run(listener, heartbeat):
    os.write(1, b"started\n")
    {body}

supervise(ServeOptions(port=int(sys.argv[1]), workers={workers}), run)
"""

STARTING = "time.sleep(60)"
BEATING = r"""
    try:
        while True:
            os.write(heartbeat, b".")
            time.sleep(0.05)
    except OSError:
        os.write(1, b"alone\n")
        time.sleep(60)
"""


@contextmanager
def supervisor(body: str, *, workers: int) -> "Iterator[subprocess.Popen[str]]":
    """A supervisor whose workers have all begun; it is killed, and its workers with it."""
    code = SUPERVISE.format(body=body, workers=workers)
    command = [sys.executable, "-c", code, str(free_port())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            for _ in range(workers):
                assert process.stdout.readline() == "started\n"
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_a_worker_that_is_still_starting_ends_at_once() -> None:
    with supervisor(STARTING, workers=1) as process:
        begun_s = time.monotonic()
        process.terminate()
        assert process.wait(timeout=30) == 0
        assert time.monotonic() - begun_s < 10, "a worker that heard nothing is killed after 15 s"


@pytest.mark.timeout(30)
def test_every_worker_learns_that_its_supervisor_is_gone() -> None:
    """Also those that were started before others, which live on."""
    with supervisor(BEATING, workers=3) as process:
        process.kill()
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(3)] == ["alone\n"] * 3


def test_a_second_server_on_the_same_address_is_refused(tmp_path: Path) -> None:
    for options in (ServeOptions(port=free_port(), workers=2), ServeOptions(uds=tmp_path / "features.sock", workers=2)):
        listeners = listening_sockets(options)
        with pytest.raises(ConfigurationError, match=r"Cannot listen on .*: Address already in use"):
            listening_sockets(options)
        assert not options.uds or options.uds.is_socket()
        for listener in listeners:
            listener.close()
        for listener in listening_sockets(options):  # what a server that was killed left behind does not matter
            listener.close()


def test_an_address_that_cannot_be_one_is_said(tmp_path: Path) -> None:
    for options in (ServeOptions(uds=tmp_path / ("x" * 120)), ServeOptions(port=70_000)):
        with pytest.raises(ConfigurationError, match=r"Cannot listen on .*: .*(too long|0-65535)"):
            listening_sockets(options)
