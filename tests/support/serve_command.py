"""``feature-platform serve`` as an operator runs it, in processes of its own."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

from tests.support.valkey_server import free_port

COMMAND = Path(sys.executable).with_name("feature-platform")
START_S = 60


@dataclass
class Serving:
    """A running server."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path
    started_in_s: float = 0.0
    certificate: Path | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, document: object = None, *, headers: Mapping[str, str] | None = None) -> tuple[int, dict[str, str], Any]:
        """One request on a connection of its own: status, headers in lower case, and the answer's document."""
        connection = self._connection()
        try:
            body = None if document is None else json.dumps(document).encode()
            given = {"content-type": "application/json", **(headers or {})}
            connection.request("GET" if document is None else "POST", path, body=body, headers=given)
            answer = connection.getresponse()
            raw = answer.read()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, json.loads(raw) if raw and "json" in found.get("content-type", "") else raw
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        if self.certificate is None:
            return HTTPConnection("127.0.0.1", self.port, timeout=240)
        return HTTPSConnection("127.0.0.1", self.port, timeout=240, context=ssl.create_default_context(cafile=str(self.certificate)))

    def worker_pids(self) -> list[int]:
        """The worker processes, oldest first."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return sorted(map(int, children.split()))

    def stop(self) -> int:
        """End it as an operator does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextmanager
def serving(
    env: Mapping[str, str],
    log: Path,
    *options: str,
    until: str = "/health",
    certificate: Path | None = None,
    # A busy machine must not fail a test that is not about deadlines.
    program: Sequence[str] = (str(COMMAND), "serve", "--deadline-ms", "5000"),
) -> Iterator[Serving]:
    """A server on a free port that has answered ``until`` (a path) once; it ends with the block. With a certificate it is asked by TLS."""
    port = free_port()
    command = [*program, "--port", str(port), *options]
    started_s = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(command, env={**os.environ, **env}, stdout=output, stderr=output)
    server = Serving(process, port, log, certificate=certificate)
    try:
        if until:
            _wait(server, until)
        server.started_in_s = time.monotonic() - started_s
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=60)


def _wait(server: Serving, path: str) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and server.process.poll() is None:
        try:
            if server.ask(path)[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"the server did not come up:\n{server.log.read_text(errors='replace')[-4000:]}")
