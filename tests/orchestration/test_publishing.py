"""What runs of the main job publish: versions, corrections, backfills, windows, and what each materialization says of itself."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from feature_platform.core.layout import FILES
from tests.support.faulty_store import FaultyObjectStore
from tests.support.platforms import UPSTREAM, MainJob, event, json_lines, memory_platform, put_events, put_raw

DIRTY = [
    event(1, "2026-01-10T08:00:00Z", session_sec=1.5),
    event(1, "2026-01-10T08:00:00Z", session_sec=1.5),
    event(2, "2026-01-10T23:59:59.999999Z", country="Zażółć 日本", event_type="purchase"),
    event(None, "2026-01-10T08:00:00Z"),
    event("Bob", "2026-01-10T08:00:00Z"),
    event(3, "2026-01-09T08:00:00Z"),
    event(3, "2026-01-11T00:00:00Z"),
    event(4, "2026-01-10T09:00:00+02:00"),
    event(5, "2026-01-10T09:00:00Z"),
    event(6, "2026-01-10T09:00:00Z"),
]
LOOSE = '"max_rejected_ratio": 0.6'


@pytest.fixture
def job(tmp_path: Path) -> Iterator[MainJob]:
    """A job on an instance of its own, whose last materialization is therefore this test's."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield MainJob(memory_platform(tmp_path, store=FaultyObjectStore()), instance=instance, only=UPSTREAM)


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MainJob]:
    """One day of good and bad rows, published."""
    home = tmp_path_factory.mktemp("dirty")
    contracts = home / "contracts"
    contracts.mkdir()
    for file in memory_platform(home).settings.contracts_dir.iterdir():
        (contracts / file.name).write_text(file.read_text().replace('"max_rejected_ratio": 0.2', LOOSE))
    with dg.DagsterInstance.ephemeral() as instance:
        job = MainJob(memory_platform(home, contracts=contracts), instance=instance, only=UPSTREAM)
        put_raw(job.platform, "2026-01-10", {"a.jsonl": json_lines(DIRTY[:5]), "b.jsonl": json_lines(DIRTY[5:]), "_SUCCESS": b""})
        run = job.run("2026-01-10")
        assert run.success, run.failure
        yield job


def told(job: MainJob, asset: str) -> dict[str, object]:
    """The metadata of an asset's last materialization."""
    record = job.instance.fetch_materializations(dg.AssetKey(asset), limit=1).records[0]
    assert record.asset_materialization is not None
    return {name: value.value for name, value in record.asset_materialization.metadata.items()}


def cells(table: object) -> list[list[str]]:
    """Rows of a Markdown table, without its head."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in str(table).splitlines()[2:]]


def test_raw_events_record_what_upstream_delivered(dirty: MainJob) -> None:
    facts = told(dirty, "raw_events")
    assert (facts["objects"], facts["bytes"], facts["unknown_columns"]) == (2, len(json_lines(DIRTY)), "none")
    assert facts["ignored"] == "s3://memory/raw_uri/events/dt=2026-01-10/_SUCCESS"
    uris = [f"s3://memory/raw_uri/events/dt=2026-01-10/{name}.jsonl" for name in "ab"]
    etags = [hashlib.md5(json_lines(rows)).hexdigest() for rows in (DIRTY[:5], DIRTY[5:])]
    assert [row[:2] for row in cells(facts["sources"])] == [[uris[0], etags[0]], [uris[1], etags[1]]]
    assert cells(told(dirty, "validated_events")["raw_objects"]) == [[uris[0], "5"], [uris[1], "5"]]
    assert isinstance(facts["seconds"], float)


def test_validated_events_count_every_row_in_as_kept_or_quarantined_by_reason(dirty: MainJob) -> None:
    facts = told(dirty, "validated_events")
    assert (facts["rows_in"], facts["rows_kept"], facts["rows_quarantined"], facts["dagster/row_count"]) == (10, 5, 5, 5)
    assert sorted(cells(facts["quarantined_by_reason"])) == [
        ["after_partition", "1"],
        ["before_partition", "1"],
        ["duplicate", "1"],
        ["null_value", "1"],
        ["wrong_type", "1"],
    ]
    assert facts["rejected_ratio"] == 0.5
    assert sum(int(row[1]) for row in cells(facts["files"])) == 5
    assert sum(int(row[1]) for row in cells(facts["quarantine"])) == 5
    assert facts["source_hash"] == dirty.platform.catalog.sources["events"].schema_hash
    schema = facts["dagster/column_schema"]
    assert isinstance(schema, dg.TableSchema)
    assert [column.name for column in schema.columns][:3] == ["event_id", "user_id", "event_time"]


def test_user_features_say_what_was_published_where_and_from_what(dirty: MainJob) -> None:
    facts = told(dirty, "user_features")
    stored = dirty.platform.feature_sets.metadata("user_features", "v_20260111T000000")
    contract = dirty.platform.catalog.contract("user_features")
    assert facts["dagster/uri"] == "s3://memory/feature_base/user_features/v_20260111T000000/"
    assert (facts["version"], facts["as_of"]) == ("v_20260111T000000", "2026-01-11T00:00:00Z")
    assert (facts["is_new"], facts["supersedes"]) == (True, "")
    assert (facts["schema_hash"], facts["content_hash"]) == (contract.schema_hash, stored.content_hash)
    assert facts["dagster/row_count"] == stored.row_count == 5
    assert facts["bytes"] == sum(file.size_bytes for file in stored.files.values())
    assert sorted(row[0] for row in cells(facts["files"])) == sorted(FILES[:3])
    assert [row[0].rsplit("/", 1)[-1] for row in cells(facts["sources"])] == ["a.jsonl", "b.jsonl"]
    assert [row[0] for row in cells(facts["statistics"])] == [column.name for column in contract.columns]
    assert [row[0] for row in cells(facts["preview"])] == ["1", "2", "4", "5", "6"]
    assert "Zażółć 日本" in str(facts["preview"])
    assert facts["null_ratio"] == 0.0
    assert isinstance(facts["seconds"], float)


def test_user_features_show_their_columns_and_where_each_comes_from(dirty: MainJob) -> None:
    facts = told(dirty, "user_features")
    schema, lineage = facts["dagster/column_schema"], facts["dagster/column_lineage"]
    assert isinstance(schema, dg.TableSchema)
    assert isinstance(lineage, dg.TableColumnLineage)
    assert [(column.name, column.type, column.constraints.nullable) for column in schema.columns][:3] == [
        ("user_id", "int64", False),
        ("event_timestamp", "timestamp", False),
        ("f_total_events_7d", "int64", True),
    ]
    read = {name: [dep.column_name for dep in deps] for name, deps in lineage.deps_by_column.items()}
    assert read["user_id"] == ["user_id"]
    assert read["f_avg_session_sec_7d"] == ["event_time", "session_sec"]
    assert read["f_purchases_1d"] == ["event_time", "event_type"]
    assert {dep.asset_key for deps in lineage.deps_by_column.values() for dep in deps} == {dg.AssetKey("validated_events")}


def test_latest_says_where_it_moved_and_from(dirty: MainJob) -> None:
    facts = told(dirty, "user_features_latest")
    assert (facts["version"], facts["previous"], facts["has_moved"], facts["refused"]) == ("v_20260111T000000", "", True, "none")
    assert (facts["dagster/uri"], facts["dagster/row_count"]) == ("s3://memory/feature_base/user_features/latest/", 5)
    assert facts["sequence"] == 2


def test_data_versions_follow_the_content(dirty: MainJob) -> None:
    record = dirty.instance.fetch_materializations(dg.AssetKey("user_features"), limit=1).records[0]
    content = dirty.platform.feature_sets.metadata("user_features", "v_20260111T000000").content_hash
    assert record.asset_materialization is not None
    assert (record.asset_materialization.tags or {})["dagster/data_version"] == content[:16]


def test_rebuilding_what_is_published_writes_no_version_and_no_record(job: MainJob) -> None:
    put_events(job.platform, "2026-01-10")
    first = job.run("2026-01-10")
    before = {info.uri: info.etag for info in job.platform.objects.scan("s3://memory/feature_base/")}
    again = job.run("2026-01-10")
    assert first.success
    assert again.success
    assert {info.uri: info.etag for info in job.platform.objects.scan("s3://memory/feature_base/")} == before
    assert (again.metadata("user_features")["is_new"], again.metadata("user_features_latest")["has_moved"]) == (False, False)
    assert again.summary("user_features")["version"] == first.summary("user_features")["version"] == "v_20260111T000000"


def test_a_correction_becomes_the_next_second_and_latest(job: MainJob) -> None:
    put_events(job.platform, "2026-01-10")
    job.run("2026-01-10")
    put_events(job.platform, "2026-01-10", users=(1, 2, 3, 4))
    run = job.run("2026-01-10")
    assert job.latest() == "v_20260111T000001"
    facts = run.metadata("user_features")
    assert (facts["version"], facts["supersedes"], facts["dagster/row_count"]) == ("v_20260111T000001", "v_20260111T000000", 4)
    assert job.platform.feature_sets.load("user_features", "v_20260111T000000").num_rows == 3
    put_events(job.platform, "2026-01-10")
    job.run("2026-01-10")
    assert job.latest() == "v_20260111T000002"


def test_backfilling_an_older_day_publishes_it_and_leaves_latest_where_it_is(job: MainJob) -> None:
    for day in ("2026-01-10", "2026-01-11", "2026-01-12"):
        put_events(job.platform, day)
    job.run("2026-01-12")
    assert job.latest() == "v_20260113T000000"
    run = job.run("2026-01-10")
    assert run.success, run.failure
    assert (job.version_of("2026-01-10"), job.latest()) == ("v_20260111T000000", "v_20260113T000000")
    assert run.metadata("user_features_latest")["has_moved"] is False
    shown = job.platform.feature_sets.latest_metadata("user_features")
    assert shown.version == "v_20260113T000000"


def test_one_run_over_a_range_publishes_a_version_for_each_day(job: MainJob) -> None:
    for day in ("2026-01-10", "2026-01-11", "2026-01-12"):
        put_events(job.platform, day, users=(1, 2, 3) if day < "2026-01-12" else (1, 2, 3, 4))
    run = job.run("2026-01-10", until="2026-01-12")
    assert run.success, run.failure
    published = [v.version for v in job.platform.feature_sets.history("user_features").live]
    assert published == ["v_20260111T000000", "v_20260112T000000", "v_20260113T000000"]
    assert job.latest() == "v_20260113T000000"
    for asset, rows in {"validated_events": [3, 3, 4], "user_features": [3, 3, 4]}.items():
        told_rows = {partition: facts["dagster/row_count"] for partition, facts in run.partitions(asset).items()}
        assert told_rows == {f"2026-01-{day}": count for day, count in zip((10, 11, 12), rows, strict=True)}
    versions = [facts["version"] for _, facts in sorted(run.partitions("user_features").items())]
    assert versions == published
    summary = run.summary("user_features")
    assert (summary["partition"], summary["version"], summary["rows"]) == (
        "2026-01-10..2026-01-12",
        "v_20260111T000000..v_20260113T000000",
        "10",
    )
    counts = job.platform.feature_sets.load("user_features", "v_20260113T000000").column("f_total_events_7d").to_pylist()
    assert counts == [3, 3, 3, 1]


def test_a_single_day_reads_its_whole_window_and_says_what_upstream_never_delivered(job: MainJob) -> None:
    for day in ("2026-01-10", "2026-01-12"):
        put_events(job.platform, day)
    run = job.run("2026-01-12")
    assert run.success, run.failure
    counts = job.platform.feature_sets.load("user_features", "v_20260113T000000").column("f_total_events_7d").to_pylist()
    assert counts == [2, 2, 2]
    described = job.platform.feature_sets.metadata("user_features", "v_20260113T000000")
    assert described.partitions == ("2026-01-10", "2026-01-12")
    assert (described.missing_partitions, described.earlier_partitions[-1]) == (("2026-01-11",), "2026-01-09")
    assert run.metadata("user_features")["missing_partitions"] == run.metadata("user_features_latest")["missing_partitions"] == "2026-01-11"
    assert run.summary("user_features")["missing_days"] == "2026-01-11"
    [check] = [found for found in run.result.get_asset_check_evaluations() if found.check_name == "missing_days"]
    assert (check.passed, check.blocking, check.severity) == (False, False, dg.AssetCheckSeverity.WARN)
    assert check.description == "v_20260113T000000: the window lacks 2026-01-11; the rows rest on 2 of 3 days"
    assert sorted(run.partitions("validated_events")) == ["2026-01-10", "2026-01-12"]
