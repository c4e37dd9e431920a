"""Load on an HTTP feature server: wrk for rates, a paced client for latencies at a given rate, and what Redis gives to a bare socket."""

import json
import os
import random
import re
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from feature_platform.core.online.layout import view_layout
from feature_platform.core.online.reads import HashReads
from tests.benchmarks.online_reads import CONTRACT, FEATURES
from tests.support.processes import wait_until
from tests.support.valkey_server import free_port

PATH: Final = "/get-online-features"
BODIES: Final = 500
CONNECTIONS: Final = 8
RAW_PIPELINES: Final = 2

_SCRIPT: Final = """
local bodies = {}
for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local place = 0
request = function() place = place % #bodies + 1; return wrk.format(nil, "/get-online-features", nil, bodies[place]) end
done = function(summary, latency, requests)
  local errors = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format("FOUND %f %f %f %d\\n",
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000, errors))
end
"""


_BARE: Final = """
import asyncio, uvloop

class Bare(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(b"%s")

async def main():
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", %d)
    await server.serve_forever()

uvloop.run(main())
"""


@dataclass(frozen=True)
class Load:
    """What one stretch of load found."""

    rate: float
    p50_ms: float
    p99_ms: float
    errors: int


def bodies(entities: int, *, users: int, zipf: float | None = None, seed: int = 7) -> list[bytes]:
    """Request bodies with random users: each equally often, or by Zipf's law with this exponent."""
    chosen = random.Random(seed)
    if zipf is None:
        ids = [[chosen.randrange(users) for _ in range(entities)] for _ in range(BODIES)]
    else:
        weights = [1 / rank**zipf for rank in range(1, users + 1)]
        flat = chosen.choices(range(users), weights=weights, k=entities * BODIES * 20)
        chosen.shuffle(flat)
        ids = [flat[start : start + entities] for start in range(0, len(flat), entities)]
    return [json.dumps({"features": FEATURES, "entities": {"user_id": row}}).encode() for row in ids]


def wrk(port: int, requests: Sequence[bytes], *, seconds: float, connections: int = CONNECTIONS) -> Load:
    """As many requests as the server takes, on connections that are kept."""
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("This benchmark needs wrk, which is a package of that name in Debian, Ubuntu and Homebrew.")
    with tempfile.TemporaryDirectory() as directory:
        script, lines = Path(directory, "load.lua"), Path(directory, "bodies")
        script.write_text(_SCRIPT)
        lines.write_bytes(b"\n".join(requests) + b"\n")
        command = [program, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script), f"http://127.0.0.1:{port}/"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "BODIES": str(lines)}).stdout
    found = re.search(r"FOUND ([\d.]+) ([\d.]+) ([\d.]+) (\d+)", said)
    assert found, said
    return Load(float(found[1]), float(found[2]), float(found[3]), int(found[4]))


def paced(port: int, requests: Sequence[bytes], *, rate: float, seconds: float, connections: int = CONNECTIONS) -> Load:
    """Requests at a fixed rate; latencies count from when a request was due, so that a slow server cannot hide behind its own queue.

    Bare sockets and one ``select``: a client of asyncio's streams takes as much processor time as the server, of the same two cores.
    """
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n".encode()
    whole = [head % len(body) + body for body in requests]
    with ExitStack() as stack:
        free = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(connections)]
        for client in free:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        waiting: dict[socket.socket, _Waiting] = {}
        took: list[float] = []
        sent, errors, total, begun_s = 0, 0, int(rate * seconds), time.perf_counter() + 0.1
        while len(took) < total:
            while sent < total and free and (due_s := begun_s + sent / rate) <= time.perf_counter():
                client = free.pop()
                client.sendall(whole[sent % len(whole)])
                waiting[client] = _Waiting(due_s)
                sent += 1
            timeout_s = max(0.0, begun_s + sent / rate - time.perf_counter()) if sent < total and free else None
            for client in select.select(list(waiting), [], [], timeout_s)[0]:
                answer = waiting[client]
                if answer.took(client.recv(1 << 18)):
                    took.append(time.perf_counter() - answer.due_s)
                    errors += not answer.is_good
                    free.append(client)
                    del waiting[client]
        elapsed_s = time.perf_counter() - begun_s
    cuts = statistics.quantiles(took, n=100)
    return Load(total / elapsed_s, cuts[49] * 1000, cuts[98] * 1000, errors)


class _Waiting:
    """An answer that is awaited since it was due."""

    def __init__(self, due_s: float) -> None:
        self.due_s, self.is_good = due_s, False
        self._left: int | None = None

    def took(self, data: bytes) -> bool:
        """Take bytes of it, the first of which hold its head; whether that was the last of them."""
        if self._left is None:
            head, _, _ = data.partition(b"\r\n\r\n")
            self.is_good = head.startswith(b"HTTP/1.1 200")
            self._left = len(head) + 4 + int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
        self._left -= len(data)
        return self._left <= 0


@contextmanager
def bare_server(*, answer_bytes: int) -> Iterator[int]:
    """A server that answers anything with so many bytes, at its port: the latencies that the machine leaves to a server."""
    port = free_port()
    answer = f"HTTP/1.1 200 OK\\r\\ncontent-length: {answer_bytes}\\r\\n\\r\\n" + "x" * answer_bytes
    with subprocess.Popen([sys.executable, "-c", _BARE % (answer, port)]) as process:
        try:
            wait_until(partial(_answers, port), within_s=30, what="the bare server")
            yield port
        finally:
            process.kill()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def raw_rate(host: str, port: int, entities: int, *, project: str, users: int, seconds: float) -> float:
    """Requests per second when the same commands are sent on bare sockets, two pipelines in turn, and replies are only counted.

    A reply's length is learned once per request, so that nothing is parsed while it is timed.
    """
    reads = HashReads(view_layout(CONTRACT, project=project), [column.name for column in CONTRACT.feature_columns])
    chosen = random.Random(3)
    payloads = [reads.payload([[chosen.randrange(users) for _ in range(entities)]]) for _ in range(100)]
    with socket.create_connection((host, port)) as first, socket.create_connection((host, port)) as second:
        sockets = [first, second][:RAW_PIPELINES]
        lengths = [_reply_length(first, payload, entities) for payload in payloads]
        count, waiting, begun_s = 0, [0] * len(sockets), time.perf_counter()
        for place, each in enumerate(sockets):
            each.sendall(payloads[place])
            waiting[place] = lengths[place]
        turn = len(sockets)
        while time.perf_counter() - begun_s < seconds:
            for place, each in enumerate(sockets):
                while waiting[place]:
                    waiting[place] -= len(each.recv(waiting[place]))
                each.sendall(payloads[turn % 100])
                waiting[place] = lengths[turn % 100]
                turn, count = turn + 1, count + 1
        return count / (time.perf_counter() - begun_s)


def _reply_length(connection: socket.socket, payload: bytes, entities: int) -> int:
    import hiredis

    reader, seen, length = hiredis.Reader(), 0, 0
    connection.sendall(payload)
    while seen < entities:
        data = connection.recv(1 << 16)
        length += len(data)
        reader.feed(data)
        while reader.gets() is not False:
            seen += 1
    return length
