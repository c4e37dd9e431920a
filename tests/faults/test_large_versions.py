"""Versions larger than the local disk: built on a cluster, published, moved to latest, rolled back, verified and read."""

import gc
import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from feature_platform.adapters.events.partition_files import write_parts
from feature_platform.adapters.feature_set_store.feature_sets import ObjectFeatureSetStore
from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.compute.tiles import Window
from feature_platform.core.events.raw import RawManifest
from feature_platform.core.events.validated import ValidatedDay, validated_schema
from feature_platform.core.layout import CSV, PARQUET
from feature_platform.core.versions.feature_table import FeatureTable
from feature_platform.core.versions.metadata import Provenance
from feature_platform.errors import FullDiskError, InvalidDataError
from feature_platform.use_cases.verify import verify_latest, verify_version
from tests.support.compute_cases import AS_OF, column, contract, source_contract
from tests.support.directory_store import DirectoryStore
from tests.support.feature_set_samples import TEMPLATE
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.spark_connect import running, spark_engine

ROWS = 60_000
SOURCE = source_contract()
CONTRACT = contract([column("f", "int64", "sum", "i"), column("g", "float64", "mean", "n"), column("l", "string", "last", "s")])
NAME, WORK_URI, BASE = CONTRACT.feature_set, "s3://work/w", "s3://features/base"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "home", megabytes=2) as mounted:
        yield mounted


def events() -> pa.Table:
    """One event of each of many keys; their features take more than the disk has."""
    columns = {field.name: pa.nulls(ROWS, field.type) for field in validated_schema(SOURCE)}
    columns |= {
        "k": pa.array(range(ROWS), columns["k"].type),
        "g": pa.array(["x"] * ROWS),
        "t": pa.array([AS_OF - timedelta(hours=1)] * ROWS, columns["t"].type),
        "i": pa.array([number * 7919 for number in range(ROWS)], columns["i"].type),
        "n": pa.array([number / 7 for number in range(ROWS)], columns["n"].type),
        "s": pa.array([hashlib.sha256(str(number).encode()).hexdigest() for number in range(ROWS)]),
    }
    return pa.table(columns, schema=validated_schema(SOURCE))


def publish(store: ObjectFeatureSetStore, table: FeatureTable, *, day: int = 0) -> str:
    moment = AS_OF + timedelta(days=day)
    provenance = Provenance((), [], run_id=f"{day}")
    done = store.commit(
        table, contract=CONTRACT, template=TEMPLATE, as_of=moment, provenance=provenance, idempotency_key=f"{day}", actor="test"
    )
    return done.version


def test_a_version_larger_than_the_disk_has_the_same_files_as_one_that_is_not(tmp_path: Path, disk: SmallDisk) -> None:
    work, objects = DirectoryStore(tmp_path / "objects"), MemoryObjectStore()
    parts = write_parts(work, iter(events().to_batches()), schema=validated_schema(SOURCE), prefix=f"{WORK_URI}/e/", directory=tmp_path)
    day = (AS_OF - timedelta(days=1)).date().isoformat()
    raw = RawManifest(source=SOURCE.source, partition=day, objects=())
    days = [ValidatedDay(SOURCE.source, day, SOURCE.schema_hash, raw, ROWS, {}, parts, ())]
    with running() as remote:
        engine = spark_engine(work, remote=remote, work_uri=WORK_URI, workdir=disk.path)
        table = engine.build(CONTRACT, [Window(SOURCE, days)], as_of=AS_OF)
    assert table.size_bytes > 2 << 20
    with pytest.raises(FullDiskError):
        publish(ObjectFeatureSetStore(objects, feature_base=BASE, workdir=disk.path), table)
    roomy = ObjectFeatureSetStore(objects, feature_base="s3://features/roomy", workdir=tmp_path)
    small = ObjectFeatureSetStore(objects, feature_base=BASE, workdir=disk.path, spool_bytes=1 << 20)
    version = publish(small, table)
    assert publish(roomy, table) == version
    ours, theirs = small.history(NAME).versions[version], roomy.history(NAME).versions[version]
    assert (ours.files[CSV], ours.content_hash) == (theirs.files[CSV], theirs.content_hash)
    assert small.load(NAME, version).equals(roomy.load(NAME, version))
    small.promote(NAME, version, actor="test")
    small.promote(NAME, publish(small, table, day=1), actor="test")
    small.rollback(NAME, version, actor="test", reason="large")
    assert verify_version(small, NAME, version) == []
    assert verify_latest(small, NAME) == []
    with small.local_features(NAME, ours) as opened, opened() as file:
        assert hashlib.sha256(file.read()).hexdigest() == ours.files[PARQUET].sha256
    del table
    gc.collect()  # the frames of the error above hold the table in a circle
    assert [info.uri for info in work.scan(f"{WORK_URI}/staging/")] == []
    assert list(disk.path.iterdir()) == []


def test_a_long_file_that_is_damaged_is_not_copied_to_latest(tmp_path: Path) -> None:
    objects = MemoryObjectStore()
    store = ObjectFeatureSetStore(objects, feature_base=BASE, workdir=tmp_path, spool_bytes=1)
    rows = {"k": [1], "event_timestamp": [AS_OF], "f": [1], "g": [1.0], "l": ["x"]}
    version = publish(store, FeatureTable.from_arrow(pa.table(rows, schema=CONTRACT.arrow_schema)))
    uri = f"{BASE}/{NAME}/{version}/{PARQUET}"
    stored = objects.get(uri)
    assert stored is not None
    flipped = stored.body[:100] + bytes([stored.body[100] ^ 1]) + stored.body[101:]
    objects.put(uri, flipped, write_id="damage", sha256=None, condition=None)
    with pytest.raises(InvalidDataError, match="the published file is damaged"):
        store.promote(NAME, version, actor="test")
    assert objects.head(f"{BASE}/{NAME}/latest/{PARQUET}") is None
