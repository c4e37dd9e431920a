"""Dagster's own commands as processes, in the project's directory, as the README shows them. Expectations do not belong here."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from tests.support.valkey_server import free_port

ROOT: Final = Path(__file__).resolve().parents[2]
BIN: Final = Path(sys.executable).parent
MODULE: Final = ("-m", "feature_platform.definitions")


def dagster(environment: Mapping[str, str], *arguments: str, command: str = "dagster") -> str:
    """Run one command, of another program of the project where one is named; its output where it succeeds."""
    done = subprocess.run([BIN / command, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@contextmanager
def daemon(environment: Mapping[str, str]) -> Iterator[None]:
    """Dagster's daemon while the block runs."""
    with _running("dagster-daemon", "run", environment=environment):
        yield


@contextmanager
def webserver(environment: Mapping[str, str]) -> Iterator[str]:
    """Dagster's webserver on a free port while the block runs; its address. It may not answer yet."""
    port = free_port()
    with _running("dagster-webserver", "-h", "127.0.0.1", "-p", str(port), environment=environment):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _running(command: str, *arguments: str, environment: Mapping[str, str]) -> Iterator[None]:
    """A program on the project's workspace; its code server, which goes when no heartbeat comes any more, is waited for too."""
    log = Path(environment["DAGSTER_HOME"]) / f"{command}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [BIN / command, *arguments, "-w", "workspace.yaml"], env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield
        assert process.poll() is None, log.read_text()[-3000:]
    finally:
        servers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        process.wait(timeout=60)
        assert psutil.wait_procs(servers, timeout=60)[1] == []
