"""Small feature set versions to publish: a contract of every kind of column that matters, rows by content letter, and where they go."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_platform.adapters.feature_set_store.feature_sets import ObjectFeatureSetStore
from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.core.publishing.publication import CommittedVersion
from feature_platform.core.versions import template as metadata_template
from feature_platform.core.versions.feature_table import FeatureTable
from feature_platform.core.versions.metadata import Provenance, SourceObject
from feature_platform.ports.object_store import ObjectStore

FEATURE_SET = "user_features"
DAY = datetime(2026, 1, 15, tzinfo=UTC)
TEMPLATE = (
    '{"feature_set": {{ feature_set | tojson }}, "version": {{ version | tojson }}, "generated_at": {{ generated_at | tojson }},'
    ' "source": {{ source | tojson }}, "pipeline": {{ pipeline | tojson }}, "schema_hash": {{ schema_hash | tojson }},'
    ' "feature_uri": {{ feature_uri | tojson }}, "owner": {{ owner | tojson }}}'
)
PROVENANCE = Provenance(
    sources=[SourceObject("s3://raw/events/dt=2026-01-14/part-0.parquet", "0cc175b9c0f1b6a831c399e269772661", 1_234, "2026-01-14")],
    partitions=["2026-01-14"],
    code_version="1.2.3",
    run_id="run-1",
)
COLUMNS = {"user_id": "int64", "event_timestamp": "timestamp", "f_count": "int64", "f_mean": "float64", "f_name": "string"}


def sample_contract(*, version: str = "v1") -> Contract:
    """The samples' contract; another ``version`` gives another schema hash."""
    document = {
        "feature_set": FEATURE_SET,
        "version": version,
        "owner": "ml-platform",
        "primary_keys": ["user_id"],
        "columns": [{"name": name, "type": kind} for name, kind in COLUMNS.items()],
    }
    return load_contract(json.dumps(document), file=f"{FEATURE_SET}.schema.json", sql="SELECT 1")


def rows(content: str, *, day: int = 0, count: int = 5) -> FeatureTable:
    """Rows as of a day after the first; every feature follows from the content letter, so that equal content is equal rows."""
    shade = ord(content)
    columns: dict[str, list[Any]] = {
        "user_id": list(range(-1, count - 1)),
        "event_timestamp": [DAY + timedelta(days=day)] * count,
        "f_count": [None if row == 2 else row * shade for row in range(count)],
        "f_mean": [None if row == 1 else row / shade for row in range(count)],
        "f_name": ["", None, f"={content}", f'{content}, quoted "é"\n', "'"][:count] + [content] * (count - 5),
    }
    schema = sample_contract().arrow_schema
    return FeatureTable.from_arrow(pa.table({name: pa.array(columns[name], schema.field(name).type) for name in columns}, schema=schema))


def open_store(objects: ObjectStore, root: str, *, workdir: Path | None = None, clock: Callable[[], datetime] | None = None) -> Any:
    """A feature set store below a bucket's root, which never really waits, and renders its own template without a process for each."""
    given: dict[str, Any] = {} if clock is None else {"clock": clock}
    return ObjectFeatureSetStore(
        objects, feature_base=f"{root}features", workdir=workdir, sleep=lambda _: None, render=metadata_template.render, **given
    )


def publish(  # every fact of a version can be varied
    store: ObjectFeatureSetStore,
    content: str = "a",
    *,
    day: int = 0,
    key: str | None = None,
    contract: Contract | None = None,
    promoted: bool = True,
    count: int = 5,
) -> CommittedVersion:
    """Commit a sample and promote it, as a run does."""
    done = store.commit(
        rows(content, day=day, count=count),
        contract=contract or sample_contract(),
        template=TEMPLATE,
        as_of=DAY + timedelta(days=day),
        provenance=PROVENANCE,
        idempotency_key=key or f"run-{day}-{content}",
        actor="test",
    )
    if promoted:
        store.promote(FEATURE_SET, done.version, actor="test")
    return done
