"""What a training set costs, as ratios to the best query by hand and to Feast's own historical reads over the same files in the same run.

    make bench-training                                                    100,000 labels, 7 versions of 1,000,000 users
    python -m tests.benchmarks.bench_training --labels 10000 --users 50000 smaller

Ours looks features up, counts what came of it, proves every version's file, and writes labels, rows and manifest with their hashes. The
query by hand is one DuckDB ASOF join over the users that have labels, written as Parquet; it proves nothing and keeps no labels. Feast's is
`get_historical_features` of its default (Dask) offline store over one file of all versions. Figures are medians of interleaved rounds;
peak memory is that of a process of its own.
"""

import argparse
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_platform.adapters.contract_files import load_catalog
from feature_platform.adapters.feature_set_store.feature_sets import ObjectFeatureSetStore
from feature_platform.core.training.labels import Rows
from feature_platform.core.training.manifest import TrainingManifest
from feature_platform.core.versions import template
from feature_platform.core.versions.feature_table import FeatureTable
from feature_platform.use_cases import training
from feature_platform.wiring import Platform
from tests.benchmarks.figures import ROOT, Figure, compare, peak_mib, write_figures
from tests.support.directory_store import DirectoryStore
from tests.support.feature_set_samples import PROVENANCE, TEMPLATE
from tests.support.platforms import memory_platform
from tests.support.resident_memory import own_peak_mib

CONTRACT: Final = load_catalog(ROOT / "feast_repo" / "contracts").contracts["user_features"]
FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)
BASE: Final = "s3://bench/features"
MEMORY_LIMIT_MIB: Final = 2048
ENGINE_MEMORY_MIB: Final = 1024
"""Left to itself the engine takes half of what the machine has, and spills beyond."""

FEATURES: Final = tuple(column.name for column in CONTRACT.feature_columns)


def site_of(directory: Path) -> Platform:
    """A platform whose feature sets lie in a directory."""
    store = DirectoryStore(directory)
    feature_sets = ObjectFeatureSetStore(store, feature_base=BASE, workdir=directory, sleep=lambda _: None, render=template.render)
    return memory_platform(directory, store=store, feature_base=BASE, feature_sets=feature_sets, engine_memory_mib=ENGINE_MEMORY_MIB)


def open_site(directory: Path) -> Platform:
    """The same with a version of every table committed."""
    platform = site_of(directory)
    for day in range(len(list((directory / "tables").glob("*.parquet")))):
        table = pq.read_table(directory / "tables" / f"{day}.parquet")
        platform.feature_sets.commit(
            FeatureTable.from_arrow(table),
            contract=CONTRACT,
            template=TEMPLATE,
            as_of=FIRST + timedelta(days=day),
            provenance=PROVENANCE,
            idempotency_key=f"{day}",
            actor="bench",
        )
    return platform


def make_tables(directory: Path, *, users: int, versions: int) -> None:
    """Rows of every version, as files that the peers read."""
    (directory / "tables").mkdir()
    for day in range(versions):
        random = np.random.default_rng(day)
        columns: dict[str, Any] = {}
        for field in CONTRACT.arrow_schema:
            if field.name == "user_id":
                columns[field.name] = np.arange(users) * 7
            elif pa.types.is_timestamp(field.type):
                columns[field.name] = [FIRST + timedelta(days=day)] * users
            elif pa.types.is_string(field.type):
                columns[field.name] = np.array(["DE", "FR", "US", "JP"])[random.integers(0, 4, users)]
            else:
                columns[field.name] = random.integers(0, 1000, users).astype(field.type.to_pandas_dtype())
        table = pa.table([pa.array(columns[field.name], field.type) for field in CONTRACT.arrow_schema], schema=CONTRACT.arrow_schema)
        pq.write_table(table, directory / "tables" / f"{day}.parquet", compression="zstd")


def make_labels(directory: Path, *, rows: int, users: int, versions: int) -> Path:
    """Labels of random users over the time of all versions."""
    random = np.random.default_rng(7)
    micros = int(FIRST.timestamp() * 1e6) + random.integers(6 * 3_600_000_000, versions * 86_400_000_000, rows)
    moments = pa.array(micros, pa.int64()).cast(pa.timestamp("us", "UTC"))
    path = directory / "labels.parquet"
    pq.write_table(
        pa.table({"user_id": random.integers(0, users, rows) * 7, "event_timestamp": moments, "label": random.random(rows)}), path
    )
    return path


def make(platform: Platform, labels: Path) -> TrainingManifest:
    """A training set."""
    rows = Rows(pq.read_schema(labels), lambda: pq.ParquetFile(labels).iter_batches())
    wanted = training.Asked(("user_features",), "event", ttl=timedelta(0))
    return training.create(platform, rows, wanted, now=datetime.now(UTC), actor="bench")


def ours(platform: Platform, labels: Path) -> None:
    """The same, made anew each time."""
    training.delete(platform, make(platform, labels).training_set)


def by_hand(directory: Path, labels: Path) -> Path:
    """What one would write for files that are known to be good."""
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"""
            COPY (WITH labels AS (SELECT *, file_row_number AS row FROM read_parquet('{labels}', file_row_number = true)),
            known AS (SELECT * FROM read_parquet('{directory}/tables/*.parquet') WHERE user_id IN (SELECT user_id FROM labels))
            SELECT l.* EXCLUDE (row), k.* EXCLUDE (user_id, event_timestamp)
            FROM labels l ASOF LEFT JOIN known k ON l.user_id = k.user_id AND l.event_timestamp >= k.event_timestamp ORDER BY l.row)
            TO '{directory}/by_hand.parquet' (FORMAT parquet, COMPRESSION zstd)""")
    return directory / "by_hand.parquet"


def open_feast(directory: Path) -> Any:
    """Feast's default offline store over one file of all versions."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64, Int64, String

    merged = directory / "merged.parquet"
    tables = [pq.read_table(path) for path in sorted((directory / "tables").glob("*.parquet"))]
    pq.write_table(pa.concat_tables(tables), merged)
    kinds = {"int64": Int64, "double": Float64, "string": String}
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
    fields = [Field(name=name, dtype=kinds[str(CONTRACT.arrow_schema.field(name).type)]) for name in FEATURES]
    source = FileSource(path=str(merged), timestamp_field="event_timestamp")
    view = FeatureView(name="user_features", entities=[user], schema=fields, ttl=timedelta(days=0), source=source)
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(directory / "registry.db"),
        online_store={"type": "sqlite", "path": str(directory / "online.db")},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    store.apply([user, view])
    return store


def feasts(store: Any, labels: Path) -> pa.Table:
    """What Feast's users write."""
    frame = pq.read_table(labels).to_pandas()
    return store.get_historical_features(frame, features=[f"user_features:{name}" for name in FEATURES]).to_arrow()


def measure(directory: Path, *, labels: int, users: int, versions: int, rounds: int) -> list[Figure]:
    """All figures."""
    make_tables(directory, users=users, versions=versions)
    asked = make_labels(directory, rows=labels, users=users, versions=versions)
    platform, store = open_site(directory), open_feast(directory)
    name = f"{labels:,} labels, {versions} versions of {users:,} users"
    figures = [
        compare(f"{name}, over a query by hand", lambda: ours(platform, asked), lambda: by_hand(directory, asked), rounds=rounds),
        compare(f"{name}, over Feast", lambda: ours(platform, asked), lambda: feasts(store, asked), rounds=1),
    ]
    found = peak_mib(Path(__file__), [str(directory), str(asked)])
    return [*figures, Figure(f"peak memory, {name}", found, MEMORY_LIMIT_MIB, round(found / MEMORY_LIMIT_MIB, 2), "MiB (limit)")]


def main() -> None:
    """Print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--versions", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        ours(site_of(Path(options.step[0])), Path(options.step[1]))
        print(own_peak_mib())
        return
    with tempfile.TemporaryDirectory(prefix="bench-training-") as directory:
        given = {"labels": options.labels, "users": options.users, "versions": options.versions}
        figures = measure(Path(directory), **given, rounds=options.rounds)
    write_figures(figures, name="training", title="Making a training set")


if __name__ == "__main__":
    main()
