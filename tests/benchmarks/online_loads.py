"""Loading a version into Redis: ours against ``feast materialize``, and against what the server itself takes.

Every measurement has a server of its own, freshly started and empty. All three ways take turns, several rounds, and the best round of each
counts, since whatever else runs on the machine only ever slows. The peers are at their best:

- Feast materializes the same kind of file from local disk, in batches of 10,000, with ``skip_dedup``; on fewer rows, since its rate is flat
  from 100,000 on and a million takes a minute. Its first round warms it up.
- A correction of one row in a hundred, loaded over the version it corrects, is compared with a full load of the same version.
- The server's ceiling is the very commands that we send, encoded beforehand, down one connection, with another thread taking the replies.

Peak memory is that of a process of its own that does nothing but the load (``python -m tests.benchmarks.online_loads``).
"""

import contextlib
import io
import math
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.core.online.commands import upserts
from feature_platform.core.online.layout import view_layout
from feature_platform.core.online.load import OnlineLoad
from feature_platform.core.online.resp import command
from tests.support.online import AS_OF_US, PROJECT, contract_of
from tests.support.resident_memory import own_peak_mib
from tests.support.stock_feast import materializing_store
from tests.support.valkey_server import ValkeyServer, valkey_server

CONTRACT: Final = contract_of({"user_id": "int64", "f_count": "int64", "f_mean": "float64", "f_age": "int64"}, name="benchmark_users")
VERSION: Final = "v_20260115T000000"
CORRECTION: Final = "v_20260115T000001"
KEY_TTL_S: Final = 7 * 86_400
_AS_OF: Final = datetime.fromtimestamp(AS_OF_US / 1_000_000, UTC)
_CHUNK_ROWS: Final = 100_000


class Figure(TypedDict):
    """One row of the benchmark's table."""

    name: str
    ours: float
    peer: float
    ratio: float
    unit: str


@dataclass(frozen=True)
class Version:
    """A version's file on disk."""

    path: Path
    rows: int
    name: str = VERSION
    earlier: Path | None = None

    @property
    def request(self) -> OnlineLoad:
        """Its load."""
        return OnlineLoad(
            contract=CONTRACT,
            project=PROJECT,
            version=self.name,
            sequence=1 if self.earlier is None else 2,
            schema_hash=CONTRACT.schema_hash,
            content_hash="benchmark",
            open_features=lambda: self.path.open("rb"),
            open_earlier=self._open_earlier,
        )

    def _open_earlier(self, version: str) -> BinaryIO:
        assert self.earlier is not None, f"the benchmark loads one version, not {version}"
        return self.earlier.open("rb")


def load_figures(*, rows: int, stock_rows: int, rounds: int, memory_rows: tuple[int, ...]) -> list[Figure]:
    """Rows per second, ours beside Feast's and the server's, without and with a Redis TTL on every key, and peak memory."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="bench-online-") as directory:
        version = _write_version(Path(directory) / "features.parquet", rows=rows)
        for expire in (False, True):
            rates = _rates(version, stock_rows=stock_rows, rounds=rounds, expire=expire)
            what = "with a TTL on every key" if expire else "without TTL"
            figures.append(_figure(f"load {rows:,} rows {what}, stock Feast", rates["ours"], rates["stock"], unit="rows/s"))
            figures.append(_figure(f"load {rows:,} rows {what}, server ceiling", rates["ours"], rates["ceiling"], unit="rows/s"))
        corrected = _write_version(Path(directory) / "corrected.parquet", rows=rows, name=CORRECTION, earlier=version.path)
        for expire in (False, True):
            what = "with a TTL on every key" if expire else "without TTL"
            for kind, seconds in _correction_s(version, corrected, rounds=rounds, expire=expire).items():
                name = f"load a {kind} of 1% of {rows:,} rows {what}; peer: every row"
                differing_s, full_s = seconds
                figures.append(Figure(name=name, ours=differing_s, peer=full_s, ratio=round(differing_s / full_s, 3), unit="s"))
        peaks = [_peak_mib(_write_version(Path(directory) / f"{count}.parquet", rows=count)) for count in memory_rows]
        for count, peak in zip(memory_rows, peaks, strict=True):
            figures.append(_figure(f"peak memory of loading {count:,} rows, {memory_rows[0]:,} rows", peak, peaks[0], unit="MiB"))
        most, before = memory_rows[-1], Path(directory) / f"{memory_rows[-1]}.parquet"
        peak = _peak_mib(_write_version(before.with_name("later.parquet"), rows=most, name=CORRECTION, earlier=before))
        name = f"peak memory of loading what differs in {most:,} rows, every one of {memory_rows[0]:,}"
        figures.append(_figure(name, peak, peaks[0], unit="MiB"))
    return figures


def _figure(name: str, ours: float, peer: float, *, unit: str) -> Figure:
    return Figure(name=name, ours=round(ours, 1), peer=round(peer, 1), ratio=round(ours / peer, 2), unit=unit)


def _rates(version: Version, *, stock_rows: int, rounds: int, expire: bool) -> dict[str, float]:
    table = pq.read_table(version.path)
    few = _write_version(version.path.with_name("stock.parquet"), rows=stock_rows)
    ways: dict[str, tuple[int, Callable[[ValkeyServer], float]]] = {
        "ceiling": (version.rows, lambda server: _push(server, _encoded(table, expire=expire))),
        "ours": (version.rows, lambda server: _timed(lambda: _load(server.connection_string, version, expire=expire))),
        "stock": (few.rows, lambda server: _stock(server, few, expire=expire)),
    }
    best = dict.fromkeys(ways, 0.0)
    for _ in range(rounds):
        for name, (rows, run) in ways.items():
            with valkey_server() as server:
                best[name] = max(best[name], rows / run(server))
    return best


def _correction_s(version: Version, corrected: Version, *, rounds: int, expire: bool) -> dict[str, tuple[float, float]]:
    """Seconds to load a correction, and to roll it back, over the other; and to write every row instead. The best of some rounds."""
    forward, back = corrected.request, replace(version.request, sequence=3, open_earlier=lambda _: corrected.path.open("rb"))
    best = dict.fromkeys(("correction", "rollback"), (math.inf, math.inf))
    for _ in range(rounds):
        with valkey_server() as server:
            store = RedisOnlineStore(server.connection_string, expire=expire)
            store.load(version.request)
            for kind, request in (("correction", forward), ("rollback", back)):
                differing, full = (_timed(partial(store.load, request, is_full=is_full)) for is_full in (False, True))
                best[kind] = (min(best[kind][0], differing), min(best[kind][1], full))
    return best


def _timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _load(connection_string: str, version: Version, *, expire: bool) -> None:
    RedisOnlineStore(connection_string, expire=expire).load(version.request)


def _stock(server: ValkeyServer, version: Version, *, expire: bool) -> float:
    key_ttl_s = KEY_TTL_S if expire else None
    with tempfile.TemporaryDirectory(prefix="bench-stock-") as directory, contextlib.redirect_stdout(io.StringIO()):
        store = materializing_store(
            server.connection_string, CONTRACT, directory=Path(directory), parquet=version.path, project=PROJECT, key_ttl_s=key_ttl_s
        )
        return _timed(lambda: store.materialize(_AS_OF - timedelta(days=1), _AS_OF + timedelta(days=1)))


def _encoded(table: pa.Table, *, expire: bool) -> list[bytes]:
    layout = view_layout(CONTRACT, project=PROJECT)
    expire_at_ms = int(time.time() + KEY_TTL_S) * 1000 if expire else None
    batches = table.combine_chunks().to_batches(max_chunksize=10_000)
    frames = [upserts(batch, layout, expire_at_ms=expire_at_ms, framing="command") for batch in batches]
    return [bytes(memoryview(frame.rows.buffers()[2])) for frame in frames]


def _push(server: ValkeyServer, buffers: list[bytes]) -> float:
    """Seconds until the server has answered everything."""
    with socket.create_connection((server.host, server.port)) as connection:
        drain = threading.Thread(target=_drain, args=(connection,))

        def run() -> None:
            drain.start()
            for buffer in buffers:
                connection.sendall(buffer)
            connection.sendall(command(b"ECHO", b"THE END"))
            drain.join()

        return _timed(run)


def _drain(connection: socket.socket) -> None:
    tail = b""
    while not tail.endswith(b"THE END\r\n"):
        tail = (tail + connection.recv(1 << 20))[-16:]


def _peak_mib(version: Version) -> float:
    earlier = [] if version.earlier is None else [str(version.earlier)]
    with valkey_server() as server:
        for path in earlier:
            _load(server.connection_string, Version(Path(path), version.rows), expire=True)
        arguments = [server.connection_string, str(version.path), str(version.rows), *earlier]
        finished = subprocess.run([sys.executable, "-m", __name__, *arguments], capture_output=True, text=True, check=True)
    return float(finished.stdout)


def _write_version(path: Path, *, rows: int, name: str = VERSION, earlier: Path | None = None) -> Version:
    """Rows as a day's version has them: row groups of 131,072, zstd, page checksums. A later version has one other value in 100 rows."""
    identity = {
        "feature_set": CONTRACT.feature_set,
        "version": name,
        "schema_hash": CONTRACT.schema_hash,
        "content_hash": "benchmark",
    }
    with pq.ParquetWriter(path, CONTRACT.arrow_schema, write_page_checksum=True, compression="zstd", compression_level=1) as writer:
        for batch in _generated(rows, is_corrected=earlier is not None):
            writer.write_batch(batch, row_group_size=131_072)
        writer.add_key_value_metadata(identity)
    return Version(path, rows, name, earlier)


def _generated(rows: int, *, is_corrected: bool = False) -> Iterator[pa.RecordBatch]:
    random = np.random.default_rng(7)
    for start in range(0, rows, _CHUNK_ROWS):
        count = min(_CHUNK_ROWS, rows - start)
        columns: list[Any] = [
            np.arange(start, start + count, dtype=np.int64) * 7,
            random.poisson(40, count).astype(np.int64),
            random.random(count) * 600,
            random.integers(0, 604_800, count),
            pa.array(np.full(count, AS_OF_US)).cast(pa.timestamp("us", tz="UTC")),
        ]
        if is_corrected:
            columns[1][np.random.default_rng(start).random(count) < 0.01] += 1
        yield pa.record_batch(columns, schema=CONTRACT.arrow_schema)


if __name__ == "__main__":
    _url, _path, _rows, *_earlier = sys.argv[1:]
    _before = Path(_earlier[0]) if _earlier else None
    _load(_url, Version(Path(_path), int(_rows), CORRECTION if _before else VERSION, _before), expire=True)
    print(own_peak_mib())
