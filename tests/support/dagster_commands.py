"""Dagster's own commands as processes, in the project's directory, as the README shows them. Expectations do not belong here."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

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
    """Dagster's daemon while the block runs; its code server, which goes when no heartbeat comes any more, is waited for too."""
    log = Path(environment["DAGSTER_HOME"]) / "daemon.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [BIN / "dagster-daemon", "run", "-w", "workspace.yaml"], env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield
        assert process.poll() is None, log.read_text()[-3000:]
    finally:
        servers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        process.wait(timeout=60)
        assert psutil.wait_procs(servers, timeout=60)[1] == []
