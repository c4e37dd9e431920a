"""One day of many events validated and built in a process of its own, which says how much memory that took."""

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine
from feature_platform.adapters.compute.duckdb.session import EngineLimits
from feature_platform.adapters.events.raw_files import RawFiles
from feature_platform.core.compute.tiles import Window
from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.core.layout import as_of
from tests.support.directory_store import DirectoryStore
from tests.support.raw_days import DAY, RAW_URI, WORK_URI, source_contract
from tests.support.resident_memory import own_peak_mib

GROUP = 100_000
DAY_US = 1_768_348_800_000_000
SQL = "SELECT user_id, count(*) AS f_events, arg_max(event_id, event_time) AS f_last FROM events GROUP BY user_id"


def write_raw_day(root: Path, *, rows: int) -> None:
    """A raw Parquet file in which every event is a user's of its own: nothing gets smaller on the way."""
    path = DirectoryStore(root).path(f"{RAW_URI}/events/dt={DAY}/a.parquet")
    path.parent.mkdir(parents=True)
    with pq.ParquetWriter(path, _events(0, 1).schema) as writer:
        for start in range(0, rows, GROUP):
            writer.write_table(_events(start, GROUP))


def _events(start: int, count: int) -> pa.Table:
    numbers = np.arange(start, start + count)
    return pa.table(
        {
            "event_id": [f"event-{number:09d}" for number in numbers],
            "user_id": numbers * 2_654_435_761 % (1 << 40),
            "event_time": pa.array(DAY_US + numbers * 7919 % 86_400_000_000, type=pa.timestamp("us", tz="UTC")),
            "event_type": [("view", "buy", "click")[number % 3] for number in numbers],
            "session_sec": numbers % 1000 / 8,
        }
    )


def feature_contract(*, sql: str | None) -> Contract:
    """A count and the last event's id, by aggregations or by a transform."""
    features: list[dict[str, Any]] = [{"name": "f_events", "type": "int64"}, {"name": "f_last", "type": "string"}]
    if sql is None:
        features[0]["aggregation"] = {"function": "count", "window": "1d"}
        features[1]["aggregation"] = {"function": "last", "column": "event_id", "window": "1d"}
    columns = [{"name": "user_id", "type": "int64"}, *features]
    document = {"feature_set": "f", "version": "v1", "primary_keys": ["user_id"], "columns": columns}
    return load_contract(json.dumps(document), file="f.schema.json", sql=sql)


def validate_and_build(request: dict[str, Any]) -> dict[str, float]:
    """Rows of both kinds of build, and the greatest resident memory of this process and of those it started, in MiB."""
    root, source = Path(request["root"]), source_contract()
    store, limits = DirectoryStore(root), EngineLimits(memory_bytes=request["memory_bytes"])
    engine = DuckDBEngine(store, work_uri=WORK_URI, workdir=root, limits=limits)
    day = engine.validate(source, RawFiles(store, RAW_URI).discover(source, DAY))
    counted: dict[str, float] = {}
    for name, sql in (("aggregated", None), ("transformed", SQL)):
        table = engine.build(feature_contract(sql=sql), [Window(source, [day])], as_of=as_of(DAY))
        counted[name] = sum(batch.num_rows for batch in table.batches())
    started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    return {**counted, "peak_mib": own_peak_mib(), "peak_of_transform_mib": started}
