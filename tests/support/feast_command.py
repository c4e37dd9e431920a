"""``feast`` as a user calls it by hand in the repository, in processes of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.support.valkey_server import free_port

REPOSITORY = Path(__file__).parents[2] / "feast_repo"
FEAST = Path(sys.executable).with_name("feast")
START_S = 120


def run_feast(*arguments: str, env: Mapping[str, str]) -> str:
    """Run one command to its end and return what it printed; an exit status other than 0 is an error."""
    result = subprocess.run([FEAST, *arguments], cwd=REPOSITORY, env=_complete(env), capture_output=True, text=True, check=False)
    if result.returncode:
        raise AssertionError(f"feast {' '.join(arguments)} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}")
    return result.stdout + result.stderr


@contextmanager
def serve_feast(env: Mapping[str, str], log: Path) -> Iterator[str]:
    """A running feature server on a free port; its base URL. It ends with the block."""
    port = free_port()
    command = [str(FEAST), "serve", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--max-requests", "0"]
    with log.open("wb") as output, subprocess.Popen(command, cwd=REPOSITORY, env=_complete(env), stdout=output, stderr=output) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_healthy(url, process, log)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            finally:
                process.kill()


def _complete(env: Mapping[str, str]) -> dict[str, str]:
    import os

    return {**os.environ, **env, "PYTHONDONTWRITEBYTECODE": "1"}


def _wait_until_healthy(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urlopen(f"{url}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"feast serve did not become healthy:\n{log.read_text(errors='replace')[-4000:]}")
