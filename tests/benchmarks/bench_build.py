"""What a feature build and the encoding of a version cost, as ratios to the bare engines doing the same work in the same run.

    make bench-build                                         7 days × 1,000,000 events, versions of 1,000,000 and 3,000,000 rows
    python -m tests.benchmarks.bench_build --rows 100000     smaller

(a) Build: the bare peer is one hand-written DuckDB query over the same Parquet files, with plain ``avg`` and ``count``, sorted by key as
the contract asks, fetched as an Arrow table. (b) Write and commit: the bare peer writes the same rows by Polars (the fastest writer
measured; DuckDB and pyarrow take 1.6 to 8 times as long for the CSV) as Parquet (zstd, level 1) and CSV with the same timestamp text.
Committing goes to a real S3 server on the same two cores, so it is also held against the peer's encoding followed by two plain uploads,
which is the physical limit there. Figures are medians of interleaved rounds; peak memory is that of a process of its own.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine
from feature_platform.adapters.contract_files import load_catalog
from feature_platform.adapters.events.partition_files import write_parts
from feature_platform.adapters.feature_set_store.csv_cells import TIMESTAMP_FORMAT
from feature_platform.adapters.feature_set_store.feature_files import encode_features
from feature_platform.core.compute.tiles import Window
from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawManifest
from feature_platform.core.events.validated import ValidatedDay, day_from, validated_schema
from feature_platform.core.layout import as_of, validated_partition, window_partitions
from feature_platform.core.versions.feature_table import EncodedFeatures, FeatureTable
from tests.benchmarks.build_commits import Committing, embedded_bucket
from tests.benchmarks.figures import ROOT, Figure, compare, peak_mib, write_figures
from tests.support.directory_store import DirectoryStore
from tests.support.resident_memory import own_peak_mib

CATALOG = load_catalog(ROOT / "feast_repo" / "contracts")
CONTRACT = CATALOG.contract("user_features")
SOURCE = CATALOG.source_of(CONTRACT)
PARTITION = "2026-01-14"
WORK_URI = "s3://bench/work"
WIDER = 12
IDENTITY = {"feature_set": "user_features", "version": "v_20260115T000000", "schema_hash": "", "as_of": "", "write_id": ""}


def make_days(directory: Path, *, rows: int, users: int | None = None, count: int = 7) -> list[ValidatedDay]:
    """Validated days of ``rows`` events each, in the order that validation writes them; the last is :data:`PARTITION`.

    Args:
        users: How many there are, the first of them with most events; where left out, as many as rows, each as likely.
        count: Days.
    """
    store = DirectoryStore(directory)
    schema = validated_schema(SOURCE)
    days = []
    for place, partition in enumerate(window_partitions(as_of(PARTITION), days=count)):
        start = (as_of(partition) - timedelta(days=1)).strftime("%Y-%m-%d")
        drawn = f"hash(i * 7 + {place})"
        user = f"{drawn} % {rows}" if users is None else f"floor({users} * pow(({drawn} % 1000000) / 1e6, 3))"
        query = f"""
            SELECT md5((i + {place} * {rows})::VARCHAR) AS event_id, CAST({user} AS BIGINT) AS user_id,
              TIMESTAMPTZ '{start} 00:00:00+00' + to_microseconds(CAST(i * 86400000000 // {rows} AS BIGINT)) AS event_time,
              ['purchase', 'view', 'click', 'login'][CAST(hash(i) % 4 AS INTEGER) + 1] AS event_type,
              CASE WHEN hash(i + 1) % 10 > 0 THEN round(CAST(hash(i + 2) % 3600000 AS DOUBLE) / 1000, 3) END AS session_sec,
              CASE WHEN hash(i + 3) % 10 > 0 THEN ['DE', 'FR', 'US', 'GB', 'JP', 'BR'][CAST(hash(i + 3) % 6 AS INTEGER) + 1] END AS country
            FROM range({rows}) AS r(i) ORDER BY event_time"""
        with duckdb.connect(config={"threads": 2}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            batches = (batch.cast(schema) for batch in connection.sql(query).to_arrow_reader(131_072))
            files = write_parts(
                store, batches, schema=schema, prefix=validated_partition(WORK_URI, SOURCE.source, partition), directory=directory
            )
        days.append(
            ValidatedDay(
                source=SOURCE.source,
                partition=partition,
                source_hash=SOURCE.schema_hash,
                raw=RawManifest(source=SOURCE.source, partition=partition, objects=()),
                kept=rows,
                rejected={},
                files=files,
                quarantine=(),
            )
        )
    return days


def build(directory: Path, days: Sequence[ValidatedDay], *, contract: Contract = CONTRACT, source: SourceContract = SOURCE) -> FeatureTable:
    """Our build, as a Dagster step calls it."""
    engine = DuckDBEngine(DirectoryStore(directory), work_uri=WORK_URI, workdir=directory)
    return engine.build(contract, [Window(source, days)], as_of=as_of(PARTITION))


def bare_build(directory: Path, days: Sequence[ValidatedDay], *, moment: datetime) -> pa.Table:
    """The peer: what one would write by hand."""
    store = DirectoryStore(directory)
    files = [str(store.path(file.uri)) for day in days for file in day.files]
    text = f"TIMESTAMPTZ '{moment:%Y-%m-%d} 00:00:00+00'"
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.sql(f"""
            SELECT user_id, {text} AS event_timestamp, count(*) AS f_total_events_7d, avg(session_sec) AS f_avg_session_sec_7d,
              CAST(floor(epoch({text}) - epoch(max(event_time))) AS BIGINT) AS f_last_event_age_sec,
              count(*) FILTER (WHERE event_type = 'purchase' AND event_time >= {text} - INTERVAL 1 DAY) AS f_purchases_1d,
              arg_max(country, event_time) AS f_last_country
            FROM read_parquet({files!r}) WHERE event_time >= {text} - INTERVAL 7 DAY AND event_time < {text}
            GROUP BY user_id ORDER BY user_id""").to_arrow_table()


def make_features(rows: int) -> pa.Table:
    """A version's worth of features, from a fixed formula."""
    keys = pl.int_range(rows, eager=True)
    scattered = keys.hash(seed=1)
    frame = pl.DataFrame(
        {
            "user_id": keys,
            "event_timestamp": pl.repeat(as_of(PARTITION), rows, eager=True).cast(pl.Datetime("us", "UTC")),
            "f_total_events_7d": (scattered % 30).cast(pl.Int64),
            "f_avg_session_sec_7d": pl.select(pl.when(scattered % 10 > 0).then((scattered % 3_600_000) / 7_000)).to_series(),
            "f_last_event_age_sec": (scattered % 604_800).cast(pl.Int64),
            "f_purchases_1d": (scattered % 4).cast(pl.Int64),
            "f_last_country": pl.Series(["DE", "FR", "US", None, "GB"]).gather((scattered % 5).cast(pl.UInt32)),
        }
    )
    return frame.to_arrow().cast(CONTRACT.arrow_schema)


def widened(table: pa.Table) -> tuple[pa.Table, Contract]:
    """The same rows with every feature a dozen times, and their contract."""
    features = [(f"{column.name}_{turn}", column) for turn in range(WIDER) for column in CONTRACT.feature_columns]
    columns = [{"name": "user_id", "type": "int64"}, {"name": "event_timestamp", "type": "timestamp"}]
    columns += [{"name": name, "type": column.type} for name, column in features]
    document = {"feature_set": "user_features", "version": "v1", "primary_keys": ["user_id"], "columns": columns}
    contract = load_contract(json.dumps(document), file="user_features.schema.json", sql="SELECT 1")
    data = [table["user_id"], table["event_timestamp"], *(table[column.name] for _, column in features)]
    return pa.table(data, schema=contract.arrow_schema), contract


def encode(table: pa.Table, directory: Path, contract: Contract = CONTRACT) -> EncodedFeatures:
    """Our encoding: both files, hashes, statistics, checks."""
    return encode_features(FeatureTable.from_arrow(table), contract=contract, directory=directory, identity=IDENTITY)


def bare_encode(table: pa.Table, directory: Path) -> None:
    """The peer: both files by the fastest writer, and nothing else."""
    frame = pl.DataFrame(table)
    frame.write_parquet(directory / "bare.parquet", compression="zstd", compression_level=1)
    frame.write_csv(directory / "bare.csv", datetime_format=TIMESTAMP_FORMAT)


def measure(directory: Path, *, rows: int, rounds: int) -> list[Figure]:
    """Every figure, for 7 × ``rows`` events and versions of ``rows`` rows (memory also of three times as many)."""
    days = make_days(directory, rows=rows)
    (directory / "days.json").write_text(json.dumps([day.document() for day in days]))
    table = make_features(rows)
    moment, (wide, wider) = as_of(PARTITION), widened(table)
    figures = [
        compare(
            f"build 7 × {rows:,} events", lambda: build(directory, days), lambda: bare_build(directory, days, moment=moment), rounds=rounds
        ),
        compare(
            f"encode a version of {rows:,} rows",
            lambda: encode(table, directory),
            lambda: bare_encode(table, directory),
            rounds=rounds,
        ),
        compare(
            f"encode a version of {rows:,} rows × {len(wider.feature_columns)} features",
            lambda: encode(wide, directory, wider),
            lambda: bare_encode(wide, directory),
            rounds=max(1, rounds // 2),
        ),
        *_commits(directory, table, rounds=rounds),
        _memory(f"peak memory, build 7 × {rows:,} events", ["build", str(directory)], limit_mib=1536),
    ]
    once, thrice = (peak_mib(Path(__file__), ["encode", str(directory), str(count)]) for count in (rows, 3 * rows))
    figures.append(Figure(f"peak memory, encode {3 * rows:,} rows over {rows:,} rows", thrice, once, round(thrice / once, 2), "MiB"))
    return figures


def _commits(directory: Path, table: pa.Table, *, rounds: int) -> list[Figure]:
    with embedded_bucket(directory) as bucket:
        committing = Committing(bucket, directory, CONTRACT, CATALOG.templates[CONTRACT.feature_set])
        return [
            compare(
                f"write and commit {table.num_rows:,} rows, against encoding alone",
                lambda: committing.commit(table),
                lambda: bare_encode(table, directory),
                rounds=rounds,
            ),
            compare(
                f"write and commit {table.num_rows:,} rows, against encoding and two plain uploads",
                lambda: committing.commit(table),
                lambda: committing.upload(table, bare_encode),
                rounds=rounds,
            ),
        ]


def _memory(name: str, arguments: Sequence[str], *, limit_mib: int) -> Figure:
    found = peak_mib(Path(__file__), arguments)
    return Figure(name, found, limit_mib, round(found / limit_mib, 2), "MiB (limit)")


def _step(arguments: Sequence[str]) -> None:
    directory = Path(arguments[1])
    if arguments[0] == "build":
        days = [day_from(json.dumps(document).encode(), file="days.json") for document in json.loads((directory / "days.json").read_text())]
        table = build(directory, days)
        assert sum(batch.num_rows for batch in table.batches())
    else:
        rows = int(arguments[2])

        def batches(step: int = 131_072) -> Iterator[pa.RecordBatch]:
            first = make_features(step)
            for start in range(0, rows, step):
                count = min(step, rows - start)
                shifted = first.slice(0, count).set_column(0, CONTRACT.arrow_schema.field(0), pa.array(range(start, start + count)))
                yield from shifted.combine_chunks().to_batches()

        encode_features(
            FeatureTable(schema=CONTRACT.arrow_schema, batches=batches),
            contract=CONTRACT,
            directory=directory,
            identity=IDENTITY,
        )
    print(own_peak_mib())


def main() -> None:
    """Print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        _step(options.step)
        return
    with tempfile.TemporaryDirectory(prefix="bench-build-") as directory:
        figures = measure(Path(directory), rows=options.rows, rounds=options.rounds)
    write_figures(figures, name="build", title="Building and encoding features")


if __name__ == "__main__":
    main()
