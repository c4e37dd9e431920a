"""``make bench-serve``: our feature server against ``feast serve``, worker for worker, as a table and as ``build/figures/serve.json``.

One machine runs server, store and load; the peer is measured in the same run, turn by turn, at its best (``--max-requests 0``, no access
log, Feast's own Redis store). What is measured stands in ``serving_load``.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from tests.benchmarks.online_reads import CONTRACT
from tests.benchmarks.proving import proof_figure
from tests.benchmarks.serving_load import PATH, Load, bare_server, bodies, paced, raw_rate, wrk
from tests.support.feast_command import FEAST
from tests.support.online import AS_OF_US, Publications
from tests.support.serve_command import Serving, serving
from tests.support.valkey_server import ValkeyServer, free_port, valkey_server

FIGURES: Final = Path("build/figures/serve.json")
VERSION: Final = "v_20260115T000000"
PROJECT: Final = "feature_store_local"

STORE: Final = """\
project: feature_store_local
provider: local
entity_key_serialization_version: 3
registry:
  registry_type: file
  registry_store_type: feature_platform.feast_plugins.registry_store.ConditionalRegistryStore
  path: ${FEATURE_PLATFORM_REGISTRY_URI}/local/registry.pb
  cache_ttl_seconds: 60
online_store: {type: redis, connection_string: "%s"}
"""


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    users: int
    seconds: float
    rounds: int
    memory_requests: int
    logged_rows: int


FULL: Final = Scale(users=1_000_000, seconds=3, rounds=7, memory_requests=1_000_000, logged_rows=1_000_000)
SMALL: Final = Scale(users=5_000, seconds=1, rounds=1, memory_requests=2_000, logged_rows=20_000)


@contextmanager
def environment(scale: Scale) -> Iterator[tuple[dict[str, str], ValkeyServer, Path]]:
    """One view with its users online, a registry on S3, and a repository of stock Feast."""
    from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
    from feature_platform.local.seaweedfs import endpoint_url
    from feature_platform.local.services import LocalServices
    from feature_platform.settings import variable
    from tests.support.services import S3Endpoint

    with tempfile.TemporaryDirectory(prefix="bench-serve-") as directory, valkey_server() as valkey:
        services = LocalServices(Path(directory, "local"), detached=False)
        services.s3.start()
        try:
            credentials = services.s3_program.credentials
            endpoint = S3Endpoint(endpoint_url(services.s3.port), credentials.access_key_id, credentials.secret_access_key)
            bucket = endpoint.new_bucket()
            contracts = Path(directory, "contracts")
            contracts.mkdir()
            uris = {name: bucket.uri + name for name in ("raw_uri", "work_uri", "feature_base", "registry_uri")}
            given = {"env": "local", **uris, "redis": valkey.connection_string, "contracts_dir": str(contracts), "start_date": "2026-01-01"}
            env = {variable(name): value for name, value in given.items()} | bucket.env
            _apply(env)
            load = Publications(contract=CONTRACT, project=PROJECT).publish(VERSION, users(scale.users))
            RedisOnlineStore(valkey.connection_string, expire=False).load(load)
            repository = Path(directory, "feast")
            repository.mkdir()
            (repository / "feature_store.yaml").write_text(STORE % valkey.connection_string)
            yield env, valkey, repository
        finally:
            services.down()


def _apply(env: Mapping[str, str]) -> None:
    from feature_platform.adapters.feast.repository import apply_contracts, open_store
    from feature_platform.settings import load_settings
    from feature_platform.wiring import feast_environment

    os.environ.update(env)  # where AWS clients of this process look
    given = feast_environment(load_settings(env))
    apply_contracts(open_store(given), [CONTRACT], environment=given)


def users(count: int) -> pa.Table:
    """A version of the benchmark's view."""
    ids = np.arange(count)
    stamp = pa.array(np.full(count, AS_OF_US), pa.timestamp("us", tz="UTC"))
    return pa.table([pa.array(ids), pa.array(ids % 1000), pa.array(ids / 7), pa.array(ids % 86_400), stamp], schema=CONTRACT.arrow_schema)


@contextmanager
def feast_serving(env: Mapping[str, str], repository: Path, *, workers: int) -> Iterator[int]:
    """``feast serve`` at its best; its port."""
    from urllib.error import URLError
    from urllib.request import urlopen

    port = free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers), "--max-requests", "0", "--no-access-log"]
    with (repository / "log").open("wb") as log:
        process = subprocess.Popen([FEAST, "serve", *options], cwd=repository, env={**os.environ, **env}, stdout=log, stderr=log)
    try:
        deadline_s = time.monotonic() + 240
        while True:
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise AssertionError((repository / "log").read_text()[-2000:])
            try:
                urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except (URLError, OSError):
                time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)


def measure(scale: Scale) -> list[dict[str, Any]]:
    """Every figure: ``name``, ``ours``, ``peer``, ``ratio``, ``unit`` and, where it matters, ``p99_ms``."""
    figures: list[dict[str, Any]] = []
    with environment(scale) as (env, valkey, repository):
        with valkey.client() as client:
            used_mib = round(int(client.info("memory")["used_memory"]) / 1024**2)
        figures.append({"name": f"Redis memory of {scale.users:,} entities × 3 features", "ours": used_mib, "unit": "MiB"})
        for workers in (1, 2):
            log = repository / "ours.log"
            with (
                serving(env, log, "--workers", str(workers)) as ours,
                serving(env, log, "--workers", str(workers), "--cache-mib", "0") as plain,
                feast_serving(env, repository, workers=workers) as feast,
            ):
                figures.append({"name": f"start, {workers} worker(s)", "ours": round(ours.started_in_s, 2), "unit": "s"})
                for entities in (1, 10, 100, 150):
                    figures += _rates(scale, valkey, {"": ours, ", without row cache": plain}, feast, entities=entities, workers=workers)
                if workers == 1:
                    figures += _latencies(scale, {"": ours, ", without row cache": plain}, figures)
                    figures.append(_memory(scale, ours))
        figures += _cache(scale, env, repository)
    figures.append(proof_figure(rows=scale.logged_rows, versions=20, users=50_000 if scale is FULL else 2_000))
    return figures


def _rates(
    scale: Scale, valkey: ValkeyServer, ours: Mapping[str, Serving], feast: int, *, entities: int, workers: int
) -> Iterator[dict[str, Any]]:
    """Each of our servers, by what its name adds, against the same Feast. Bodies come again, so a row cache has their rows."""
    requests = bodies(entities, users=scale.users)
    ports = {**{name: server.port for name, server in ours.items()}, "peer": feast}
    found: dict[str, list[Load]] = {name: [] for name in ports}
    for _ in range(scale.rounds):
        for name, port in ports.items():
            found[name].append(wrk(port, requests, seconds=scale.seconds))
    raw = raw_rate(valkey.host, valkey.port, entities, project=PROJECT, users=scale.users, seconds=scale.seconds)
    peer = found.pop("peer")
    theirs = median(load.rate for load in peer)
    for name, loads in found.items():
        rate = median(load.rate for load in loads)
        yield {
            "name": _rates_name(entities, workers=workers) + name,
            "ours": round(rate),
            "peer": round(theirs),
            "ratio": round(rate / theirs, 1),
            "unit": "requests/s",
            "rows_per_s": round(rate * entities),
            "p99_ms": round(median(load.p99_ms for load in loads), 2),
            "peer_p99_ms": round(median(load.p99_ms for load in peer), 2),
            "raw_socket": round(raw),
            "errors": sum(load.errors for load in loads),
        }


def _rates_name(entities: int, *, workers: int) -> str:
    return f"{entities} entities, {workers} worker(s)"


def _latencies(scale: Scale, ours: Mapping[str, Serving], figures: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """At half of what each of our servers answered at most, and a bare server's at the same rate."""
    most, requests = {figure["name"]: figure["ours"] for figure in figures}, bodies(100, users=scale.users)
    for name, server in ours.items():
        rate = most[_rates_name(100, workers=1) + name] / 2
        _, headers, _ = server.ask(PATH, json.loads(requests[0]))
        with bare_server(answer_bytes=int(headers["content-length"])) as bare:
            found = [[paced(port, requests, rate=rate, seconds=scale.seconds) for port in (server.port, bare)] for _ in range(scale.rounds)]
        yield {
            "name": f"100 entities at half of the most, 1 worker(s){name}; peer: a bare server",
            "ours": round(rate),
            "unit": "requests/s",
            "p99_ms": round(median(load.p99_ms for load, _ in found), 2),
            "peer_p99_ms": round(median(load.p99_ms for _, load in found), 2),
            "errors": sum(load.errors for load, _ in found),
        }


def _memory(scale: Scale, ours: Serving) -> dict[str, Any]:
    """Resident memory before and after many requests, MiB."""
    requests = bodies(1, users=scale.users)
    (worker,) = ours.worker_pids()
    before, sent = _resident_mib(worker), 0
    begun_s = time.monotonic()
    while sent < scale.memory_requests:
        load = wrk(ours.port, requests, seconds=scale.seconds)
        sent += round(load.rate * scale.seconds)
    took = f"{sent:,} requests in {time.monotonic() - begun_s:.0f} s"
    return {"name": f"memory after {took}", "ours": _resident_mib(worker), "before": before, "unit": "MiB"}


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return round(int(line.split()[1]) / 1024, 1)
    raise AssertionError


def _cache(scale: Scale, env: Mapping[str, str], repository: Path) -> Iterator[dict[str, Any]]:
    """Zipf(0.99) over all users at 100 entities, with and without the row cache, turn by turn."""
    requests = bodies(100, users=scale.users, zipf=0.99)
    log = repository / "cache.log"
    with (
        serving(env, log, "--workers", "2", "--cache-mib", "0") as plain,
        serving(env, log, "--workers", "2", "--cache-mib", "512") as kept,
    ):
        wrk(kept.port, requests, seconds=2 * scale.seconds)
        found, without = [], []
        for _ in range(scale.rounds):
            found.append(wrk(kept.port, requests, seconds=scale.seconds).rate)
            without.append(wrk(plain.port, requests, seconds=scale.seconds).rate)
        rate, uncached = median(found), median(without)
        yield {
            "name": "100 entities by Zipf(0.99), row cache against none, 2 worker(s)",
            "ours": round(rate),
            "peer": round(uncached),
            "ratio": round(rate / uncached, 2),
            "unit": "requests/s",
            "rows_per_s": round(rate * 100),
        }


def show(figures: list[dict[str, Any]]) -> Table:
    """The figures as a table."""
    table = Table(title="Feature server")
    columns = ("name", "ours", "peer", "ratio", "unit", "rows_per_s", "p99_ms", "peer_p99_ms", "raw_socket", "errors")
    for column in columns:
        table.add_column(column, justify="left" if column in {"name", "unit"} else "right")
    for figure in figures:
        table.add_row(*(f"{value:,}" if isinstance(value := figure.get(column, ""), int | float) else str(value) for column in columns))
    return table


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes; ratios are then rough, and nothing is written")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # Feast's own
    figures = measure(SMALL if arguments.small else FULL)
    Console(width=180).print(show(figures))
    if not arguments.small:
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        FIGURES.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
