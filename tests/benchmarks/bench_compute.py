"""What many versions cost by tiles instead of by reading events again, and how a build grows with its events.

    make bench-compute                                            1,000,000 events a day; 1, 10 and 100 million events of 7 days
    python -m tests.benchmarks.bench_compute --rows 100000 --sizes 1000000

(a) Thirty versions of a set of 7 days: tiles made once and merged, against each window's events read again by the same engine; with as many
events a day, and with three times as many for the same users. (b) A year of versions of a set of 90 days, extrapolated from ten: what a
day's tile, the longer tiles and one version cost, times how many there are. (c) One version of 7 days from its events at several sizes,
against one hand-written DuckDB query, with peak memory of a process of its own; up to 10 million events also by Sail and by Spark on this
machine, against this process. Spark is measured where SPARK_HOME names PySpark, which ``make test-spark`` leaves in .tools.
Users are skewed: the busiest of a hundred thousand have hundreds of times as many events as the quietest.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine
from feature_platform.core.compute.tiles import Block, Tile, Window, blocks_of
from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.core.events.validated import ValidatedDay, day_from
from feature_platform.core.layout import as_of
from tests.benchmarks.bench_build import CONTRACT, PARTITION, SOURCE, WORK_URI, bare_build, build, make_days
from tests.benchmarks.figures import Figure, compare, peak_mib, write_figures
from tests.support.directory_store import DirectoryStore
from tests.support.resident_memory import own_peak_mib
from tests.support.spark_connect import sail, spark, spark_engine

MOST_ON_SPARK = 10_000_000


class Tiles:
    """Tiles made as they are needed, as a build does, and how long making took."""

    def __init__(self, engine: DuckDBEngine, contract: Contract) -> None:
        self._engine, self._contract = engine, contract
        self._made: dict[Block, Tile] = {}
        self.elapsed_s: dict[int, list[float]] = {}

    def of(self, block: Block) -> Tile:
        if block not in self._made:
            parts = [self.of(part) for part in block.parts()]
            started = time.perf_counter()
            self._made[block] = self._engine.make_tile(self._contract, SOURCE, block, parts=parts)
            self.elapsed_s.setdefault(block.length, []).append(time.perf_counter() - started)
        return self._made[block]


def many_versions(directory: Path, *, rows: int, users: int, versions: int = 30) -> Figure:
    """(a)."""
    days = make_days(directory, rows=rows, users=users, count=versions + 6)
    engine = _engine(directory)
    windows = [days[place : place + 7] for place in range(versions)]
    tiles = Tiles(engine, CONTRACT)
    ours_s = sum(_elapsed_s(partial(_merge, engine, CONTRACT, tiles, window)) for window in windows)
    peer_s = sum(_elapsed_s(partial(_read, engine, CONTRACT, window)) for window in windows)
    return _figure(f"{versions} versions × 7 days × {rows:,} events; peer: reading events", ours_s, peer_s)


def a_year(directory: Path, *, rows: int, users: int, window_days: int = 90, tried: int = 10, versions: int = 365) -> Figure:
    """(b)."""
    contract = load_contract(json.dumps(dict(CONTRACT.document)).replace('"7d"', f'"{window_days}d"'), file="long.schema.json")
    days = make_days(directory, rows=rows, users=users, count=window_days - 1 + tried)
    engine, windows = _engine(directory), [days[place : place + window_days] for place in range(tried)]
    tiles = Tiles(engine, contract)
    for window in windows:
        for block in blocks_of(contract, window, end=as_of(window[-1].partition).date()):
            tiles.of(block)
    merging_s = statistics.mean(_elapsed_s(partial(_merge, engine, contract, tiles, window)) for window in windows)
    reading_s = min(_elapsed_s(partial(_read, engine, contract, window)) for window in windows[:2])
    making_s = sum(statistics.mean(seconds) * (versions + window_days) / length for length, seconds in tiles.elapsed_s.items())
    name = f"{versions} versions × {window_days} days × {rows:,} events, from {tried}; peer: reading events"
    return _figure(name, making_s + versions * merging_s, versions * reading_s)


def sizes(directory: Path, *, total: Sequence[int], users: int, rounds: int) -> list[Figure]:
    """(c)."""
    figures = []
    for events in total:
        place = directory / str(events)
        place.mkdir()
        days = make_days(place, rows=events // 7, users=users)
        (place / "days.json").write_text(json.dumps([day.document() for day in days]))
        moment = as_of(PARTITION)
        ours, peer = partial(build, place, days), partial(bare_build, place, days, moment=moment)
        figures.append(compare(f"{events:,} events of 7 days; peer: a query by hand", ours, peer, rounds=rounds))
        found = peak_mib(Path(__file__), [str(place)])
        figures.append(Figure(f"peak memory, {events:,} events", found, 4096, round(found / 4096, 2), "MiB (limit)"))
        if events <= MOST_ON_SPARK:
            figures += on_clusters(place, days, events=events, rounds=rounds)
        shutil.rmtree(place)
    return figures


def on_clusters(directory: Path, days: Sequence[ValidatedDay], *, events: int, rounds: int) -> Iterator[Figure]:
    """The same version computed by Spark Connect servers, which must give the same rows; the peer is this process."""
    expected = build(directory, days).to_arrow()
    servers = {"Sail": sail(), **({"Spark": spark(Path(os.environ["SPARK_HOME"]))} if "SPARK_HOME" in os.environ else {})}
    for name, server in servers.items():
        with server as remote:
            engine = spark_engine(DirectoryStore(directory), remote=remote, work_uri=WORK_URI, workdir=directory)
            run = partial(engine.build, CONTRACT, [Window(SOURCE, days)], as_of=as_of(PARTITION))
            assert run().to_arrow().equals(expected)
            yield compare(f"{events:,} events of 7 days by {name}; peer: DuckDB", run, partial(build, directory, days), rounds=rounds)


def measure(directory: Path, *, rows: int, users: int, total: Sequence[int], rounds: int) -> list[Figure]:
    """Every figure; each makes its own days and removes them."""
    figures = []
    for run, events in ((many_versions, rows), (many_versions, 3 * rows), (a_year, rows)):
        with tempfile.TemporaryDirectory(dir=directory) as name:
            figures.append(run(Path(name), rows=events, users=users))
    return figures + sizes(directory, total=total, users=users, rounds=rounds)


def _engine(directory: Path) -> DuckDBEngine:
    return DuckDBEngine(DirectoryStore(directory), work_uri=WORK_URI, workdir=directory)


def _merge(engine: DuckDBEngine, contract: Contract, tiles: Tiles, window: Sequence[ValidatedDay]) -> None:
    end = as_of(window[-1].partition)
    kept = [tiles.of(block) for block in blocks_of(contract, window, end=end.date())]
    engine.build(contract, [Window(SOURCE, window, kept)], as_of=end)


def _read(engine: DuckDBEngine, contract: Contract, window: Sequence[ValidatedDay]) -> None:
    engine.build(contract, [Window(SOURCE, window)], as_of=as_of(window[-1].partition))


def _elapsed_s(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _figure(name: str, ours_s: float, peer_s: float) -> Figure:
    return Figure(name, round(ours_s, 2), round(peer_s, 2), round(ours_s / peer_s, 3), "s")


def _step(directory: Path) -> None:
    days = [day_from(json.dumps(document).encode(), file="days.json") for document in json.loads((directory / "days.json").read_text())]
    assert sum(batch.num_rows for batch in build(directory, days).batches())
    print(own_peak_mib())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="events of a day")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000_000, 10_000_000, 100_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        _step(given.step)
        return
    with tempfile.TemporaryDirectory() as directory:
        figures = measure(Path(directory), rows=given.rows, users=given.users, total=given.sizes, rounds=given.rounds)
    write_figures(figures, name="compute", title="computing features")


if __name__ == "__main__":
    main()
