"""What validating a day of raw events costs, as ratios to one bare DuckDB statement over the same file in the same run.

    make bench-validate                                         1,000,000 events in every format, memory also of 5,000,000
    python -m tests.benchmarks.bench_validate --rows 100000     smaller

Ours is what the step ``validated_…`` does: find and count the day's objects, judge every row, and write validated events, quarantine and
manifests. The peer reads the file with the contract's types, keeps the day's rows, the first of those with equal keys, sorts them by
time and writes them as Parquet (zstd). It has no rejects, no checksums, no total order, and neither counts nor proves anything. Both use
the same threads. Figures are medians of interleaved rounds; peak memory is that of a process of its own.
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import duckdb

from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine
from feature_platform.adapters.compute.duckdb.session import EngineLimits
from feature_platform.adapters.contract_files import load_catalog
from feature_platform.adapters.events.raw_files import RawFiles
from feature_platform.core.events.validated import ValidatedDay
from tests.benchmarks.figures import ROOT, Figure, compare, peak_mib, write_figures
from tests.support.directory_store import DirectoryStore
from tests.support.resident_memory import own_peak_mib

SOURCE: Final = load_catalog(ROOT / "feast_repo" / "contracts").sources["events"]
PARTITION: Final = "2026-01-14"
RAW_URI, WORK_URI = "s3://bench/raw", "s3://bench/work"
FORMATS: Final = ("parquet", "csv", "csv.gz", "jsonl", "jsonl.gz")
THREADS: Final = 2
MEMORY_LIMIT_MIB: Final = 1024
COLUMNS: Final = (
    "{'event_id': 'VARCHAR', 'user_id': 'BIGINT', 'event_time': 'TIMESTAMPTZ', 'event_type': 'VARCHAR', 'session_sec': 'DOUBLE', "
    "'country': 'VARCHAR'}"
)


def make_day(directory: Path, kind: str, *, rows: int, bad_ratio: float = 0.0) -> Path:
    """One raw object of ``rows`` events in no order of time, of which a share has a word for a number."""
    path = DirectoryStore(directory).path(f"{RAW_URI}/events/dt={PARTITION}/part-0.{kind}")
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir(parents=True)
    moment = f"TIMESTAMP '{PARTITION}' + to_microseconds(CAST(hash(i + 9) % 86400000000 AS BIGINT))"
    time = f"timezone('UTC', {moment})" if kind == "parquet" else f"strftime({moment}, '%Y-%m-%dT%H:%M:%S.%fZ')"
    user = f"CAST(hash(i * 7) % {rows} AS BIGINT)"
    if bad_ratio:
        user = f"CASE WHEN hash(i + 5) % 1000 < {bad_ratio * 1000} THEN 'nobody' ELSE {user}::VARCHAR END"
    query = f"""
        SELECT md5(i::VARCHAR) AS event_id,
          {user} AS user_id,
          {time} AS event_time, ['purchase', 'view', 'click', 'login'][CAST(hash(i) % 4 AS INTEGER) + 1] AS event_type,
          CASE WHEN hash(i + 1) % 10 > 0 THEN round(CAST(hash(i + 2) % 3600000 AS DOUBLE) / 1000, 3) END AS session_sec,
          CASE WHEN hash(i + 3) % 10 > 0 THEN ['DE', 'FR', 'US', 'GB', 'JP', 'BR'][CAST(hash(i + 3) % 6 AS INTEGER) + 1] END AS country
        FROM range({rows}) AS r(i)"""
    forms = {"parquet": "FORMAT parquet, COMPRESSION zstd", "csv": "FORMAT csv, HEADER", "jsonl": "FORMAT json"}
    form = forms[kind.removesuffix(".gz")]
    gzip = ", COMPRESSION gzip" if kind.endswith(".gz") else ""
    with duckdb.connect(config={"threads": THREADS}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"COPY ({query}) TO '{path}' ({form}{gzip})")
    return path


def validate(directory: Path) -> ValidatedDay:
    """Ours, as the Dagster step does it."""
    store = DirectoryStore(directory)
    shutil.rmtree(store.path(WORK_URI), ignore_errors=True)
    raw = RawFiles(store, RAW_URI).discover(SOURCE, PARTITION)
    engine = DuckDBEngine(store, work_uri=WORK_URI, workdir=directory, limits=EngineLimits(memory_bytes=512 << 20, threads=THREADS))
    return engine.validate(SOURCE, raw)


def bare_validate(path: Path) -> None:
    """The peer: what one would write by hand for a file that is known to be good."""
    reader = {
        "csv": f"read_csv('{path}', header = true, columns = {COLUMNS}, hive_partitioning = false)",
        "jsonl": f"read_json('{path}', format = 'newline_delimited', columns = {COLUMNS}, hive_partitioning = false)",
        "parquet": f"read_parquet('{path}', hive_partitioning = false)",
    }[path.name.split(".")[1]]
    with duckdb.connect(config={"threads": THREADS}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"""
            COPY (
              SELECT DISTINCT ON (event_id) * FROM {reader}
              WHERE event_time >= TIMESTAMPTZ '{PARTITION}' AND event_time < TIMESTAMPTZ '{PARTITION}' + INTERVAL 1 DAY ORDER BY event_time
            ) TO '{path.parent.parent / "bare.parquet"}' (FORMAT parquet, COMPRESSION zstd)""")


def measure(directory: Path, *, rows: int, memory_rows: int, rounds: int) -> list[Figure]:
    """Wall time of every format, of CSV and JSON lines with bad rows against those without, and peak memory."""
    figures = []
    for kind in FORMATS:
        path = make_day(directory, kind, rows=rows)
        figures.append(
            compare(f"validate {rows:,} events, {kind}", lambda: validate(directory), partial(bare_validate, path), rounds=rounds)
        )
    for kind in ("csv", "jsonl"):
        make_day(directory / "bad", kind, rows=rows, bad_ratio=0.1)
        make_day(directory, kind, rows=rows)
        figures.append(
            compare(
                f"validate {rows:,} events, {kind}, 10% bad over none",
                lambda: validate(directory / "bad"),
                lambda: validate(directory),
                rounds=rounds,
            )
        )
    for kind in FORMATS:
        make_day(directory, kind, rows=memory_rows)
        found = peak_mib(Path(__file__), [str(directory)])
        ratio = round(found / MEMORY_LIMIT_MIB, 2)
        figures.append(Figure(f"peak memory, validate {memory_rows:,} events, {kind}", found, MEMORY_LIMIT_MIB, ratio, "MiB (limit)"))
    return figures


def _step(arguments: Sequence[str]) -> None:
    assert validate(Path(arguments[0])).kept
    print(own_peak_mib())


def main() -> None:
    """Print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--memory-rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        _step(options.step)
        return
    with tempfile.TemporaryDirectory(prefix="bench-validate-") as directory:
        figures = measure(Path(directory), rows=options.rows, memory_rows=options.memory_rows, rounds=options.rounds)
    write_figures(figures, name="validate", title="Validating a day of raw events")


if __name__ == "__main__":
    main()
