"""Raw days in a store in memory, and what the engine makes of them."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine
from feature_platform.adapters.events.raw_files import RawFiles
from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.contract.source import SourceContract, load_source_contract
from feature_platform.core.events.raw import ReadLimits
from feature_platform.core.events.validated import DataFile, ValidatedDay
from feature_platform.ports.compute_engine import ComputeEngine
from feature_platform.ports.object_store import ObjectStore

RAW_URI = "s3://raw-bucket/raw"
WORK_URI = "s3://work-bucket/work"
DAY = "2026-01-14"
PREFIX = f"{RAW_URI}/events/dt={DAY}/"
HEADER = "event_id,user_id,event_time,event_type,session_sec"


def source_contract(**overrides: Any) -> SourceContract:
    """A source of five columns; ``types`` adds or replaces columns by name."""
    types = {"event_id": "string", "user_id": "int64", "event_time": "timestamp", "event_type": "string", "session_sec": "float64"}
    required = {"event_id", "user_id", "event_time"}
    types.update(overrides.pop("types", {}))
    extras: Mapping[str, Mapping[str, Any]] = overrides.pop("extras", {})
    document = {
        "source": "events",
        "event_time": "event_time",
        "dedup_keys": ["event_id"],
        "max_rejected_ratio": 1.0,
        "columns": [
            {
                "name": name,
                "type": kind,
                "nullable": name not in required,
                **({"decimals": 3} if kind == "float64" else {}),
                **extras.get(name, {}),
            }
            for name, kind in types.items()
        ],
        **overrides,
    }
    return load_source_contract(json.dumps(document), file="events.source.json")


class RawDay:
    """One day of raw objects, filled by a test."""

    def __init__(self, workdir: Path, *, limits: ReadLimits | None = None, store: ObjectStore | None = None) -> None:
        self.store = store or MemoryObjectStore()
        self.workdir = workdir
        self.limits = limits or ReadLimits()
        self.engine: ComputeEngine = DuckDBEngine(self.store, work_uri=WORK_URI, workdir=workdir, read_limits=self.limits)

    def put(self, name: str, body: bytes | str, *, day: str = DAY) -> str:
        data = body.encode() if isinstance(body, str) else body
        uri = f"{RAW_URI}/events/dt={day}/{name}"
        self.store.put(uri, data, write_id="upstream", sha256=None, condition=None)
        return uri

    def put_csv(self, name: str, *lines: str, header: str = HEADER) -> str:
        return self.put(name, "\n".join([header, *lines]) + "\n")

    def put_parquet(self, name: str, table: pa.Table, *, day: str = DAY, **options: Any) -> str:
        body = io.BytesIO()
        pq.write_table(table, body, **options)
        return self.put(name, body.getvalue(), day=day)

    def validate(self, source: SourceContract, *, day: str = DAY) -> ValidatedDay:
        raw = RawFiles(self.store, RAW_URI, limits=self.limits).discover(source, day)
        return self.engine.validate(source, raw)

    def rows(self, files: Sequence[DataFile]) -> list[dict[str, Any]]:
        return [row for file in files for row in pq.read_table(io.BytesIO(self._body(file))).to_pylist()]

    def rejected(self, day: ValidatedDay) -> list[tuple[str, int, str]]:
        """Object name, row number and reason of each quarantined row."""
        return [(row["file"].rsplit("/", 1)[-1], row["row_number"], row["reason"]) for row in self.rows(day.quarantine)]

    def work_uris(self) -> list[str]:
        return [info.uri for info in self.store.scan(f"{WORK_URI}/")]

    def _body(self, file: DataFile) -> bytes:
        stored = self.store.get(file.uri)
        assert stored is not None
        assert stored.info.etag == file.etag
        return stored.body
