"""What earlier releases published stays readable and provable: the files of ``tests/golden``, byte for byte as they were written."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.versions.metadata import FORMAT
from feature_platform.core.versions.version_metadata import parse_metadata
from feature_platform.errors import InvalidDataError, NotFoundError
from feature_platform.use_cases.verify import verify_latest, verify_version
from tests.support.feature_set_samples import open_store

GOLDEN = Path(__file__).parents[1] / "golden"
FEATURE_SET = "user_features"
HEAD_RECORD = 9


@pytest.fixture
def store():
    """The feature set of format 1, uploaded again; ``latest/`` carries the marks of the record that it shows."""
    objects, root = MemoryObjectStore(), GOLDEN / "format_1"
    for path in sorted(root.rglob("*")):
        if path.is_file():
            body, key = path.read_bytes(), path.relative_to(root).as_posix()
            write_id = f"{HEAD_RECORD}:{path.name}:golden" if "/latest/" in key else "golden"
            sha256 = hashlib.sha256(body).hexdigest()
            objects.put(f"s3://golden/features/{key}", body, write_id=write_id, sha256=sha256, condition=None)
    return open_store(objects, "s3://golden/")


def test_there_are_golden_files_of_every_format():
    assert sorted(path.name for path in GOLDEN.glob("format_*")) == [f"format_{number}" for number in range(1, FORMAT + 1)]


def test_the_log_adds_up_to_the_same_state(store):
    history = store.history(FEATURE_SET)
    assert [record.op for record in history.records] == [
        "commit", "promote", "commit", "promote", "commit", "promote", "commit", "promote", "rollback", "expire",
    ]  # fmt: skip
    assert [version.version for version in history.live] == ["v_20260115T000001", "v_20260116T000000", "v_20260117T000000"]
    assert history.expired == {"v_20260115T000000"}
    assert (history.head.version, history.head.operation, history.head.sequence) == ("v_20260116T000000", "rollback", HEAD_RECORD)
    assert (history.floor.as_of, history.floor.is_held) == (datetime(2026, 1, 17, tzinfo=UTC), True)
    assert store.pins(FEATURE_SET) == {"v_20260115T000001": ("model-7",)}


@pytest.mark.parametrize("version", ["v_20260115T000001", "v_20260116T000000", "v_20260117T000000"])
def test_every_version_is_proved(store, version):
    assert [str(finding) for finding in verify_version(store, FEATURE_SET, version)] == []
    assert store.metadata(FEATURE_SET, version).row_count == 5


def test_latest_after_a_rollback_is_proved_and_needs_no_heal(store):
    assert verify_latest(store, FEATURE_SET) == []
    assert store.heal(FEATURE_SET)[1] == 0
    assert store.latest_metadata(FEATURE_SET).document["projection"] == {"sequence": 9, "operation": "rollback"}


def test_rows_and_metadata_read_back(store):
    as_of = datetime(2026, 1, 16, tzinfo=UTC)
    assert store.load(FEATURE_SET, "v_20260116T000000").to_pylist()[:3] == [
        {"user_id": -1, "event_timestamp": as_of, "f_count": 0, "f_mean": 0.0, "f_name": ""},
        {"user_id": 0, "event_timestamp": as_of, "f_count": 99, "f_mean": None, "f_name": None},
        {"user_id": 1, "event_timestamp": as_of, "f_count": None, "f_mean": 2 / 99, "f_name": "=c"},
    ]
    described = store.metadata(FEATURE_SET, "v_20260116T000000")
    assert (described.document["format"], described.partition, described.run_id) == (1, "2026-01-15", "run-1")
    assert described.statistics["f_count"].nulls == 1


def test_the_expired_version_stays_expired(store):
    with pytest.raises(NotFoundError, match="has expired"):
        store.load(FEATURE_SET, "v_20260115T000000")


def test_a_newer_format_is_refused_by_name(store):
    body = store.objects.get("s3://golden/features/user_features/v_20260116T000000/metadata.json").body
    with pytest.raises(InvalidDataError, match=r"s3://x has format 2; expected at most 1. Upgrade this reader"):
        parse_metadata(body.replace(b'"format": 1', b'"format": 2'), uri="s3://x")
