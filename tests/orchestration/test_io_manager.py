"""Loading versions back from Dagster: for a downstream asset or a notebook, by partition, by several, or latest."""

from pathlib import Path

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

from feature_platform.defs.io_manager import S3FeatureSetIOManager
from feature_platform.wiring import Platform
from tests.support.platforms import UPSTREAM, MainJob, memory_platform, put_events

DAYS = dg.DailyPartitionsDefinition("2026-01-10", timezone="UTC")
FEATURES = dg.AssetKey("user_features")
TWO_DAYS = dg.SpecificPartitionsPartitionMapping(["2026-01-10", "2026-01-11"])


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, instance: dg.DagsterInstance) -> MainJob:
    """Two days, the first corrected after the second was built, and latest rolled back to the first as it was."""
    job = MainJob(memory_platform(tmp_path_factory.mktemp("io")), instance=instance, only=UPSTREAM)
    put_events(job.platform, "2026-01-10")
    put_events(job.platform, "2026-01-11", users=(1, 2, 3, 4, 5))
    run = job.run("2026-01-10", until="2026-01-11")
    assert run.success, run.failure
    put_events(job.platform, "2026-01-10", users=(1, 2, 3, 4))
    assert job.run("2026-01-10", only=["raw_events", "validated_events", "user_features"]).success
    assert job.latest() == "v_20260112T000000"
    return job


def loaded(job: MainJob, asset: dg.AssetsDefinition, *, partition: str | None = None) -> object:
    """What a downstream asset was given: its own value, handed through."""
    upstream = dg.AssetSpec(FEATURES, partitions_def=DAYS, metadata={"dagster/io_manager_key": "versions"})
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [upstream, asset],
            partition_key=partition,
            instance=instance,
            resources={"versions": S3FeatureSetIOManager(job.platform), "io_manager": dg.mem_io_manager},
        )
        return result.output_for_node(asset.op.name)


def users(table: pa.Table) -> list[int]:
    return [int(user) for user in table.column("user_id").to_pylist()]


def test_a_downstream_asset_gets_the_newest_version_of_its_partition_as_a_table(job: MainJob) -> None:
    @dg.asset(partitions_def=DAYS)
    def trained(user_features: pa.Table) -> pa.Table:
        return user_features

    table = loaded(job, trained, partition="2026-01-10")
    assert isinstance(table, pa.Table)
    assert users(table) == [1, 2, 3, 4]
    assert table.schema.equals(job.platform.catalog.contract("user_features").arrow_schema)


def test_an_input_annotated_as_pandas_is_a_data_frame(job: MainJob) -> None:
    @dg.asset(partitions_def=DAYS)
    def trained(user_features: pd.DataFrame) -> pd.DataFrame:
        return user_features

    frame = loaded(job, trained, partition="2026-01-11")
    assert isinstance(frame, pd.DataFrame)
    assert frame["user_id"].to_list() == [1, 2, 3, 4, 5]


def test_several_partitions_come_as_tables_by_partition(job: MainJob) -> None:
    @dg.asset(ins={"user_features": dg.AssetIn(partition_mapping=TWO_DAYS)})
    def compared(user_features: dict[str, pa.Table]) -> dict[str, pa.Table]:
        return user_features

    tables = loaded(job, compared)
    assert isinstance(tables, dict)
    assert {partition: users(table) for partition, table in tables.items()} == {"2026-01-10": [1, 2, 3, 4], "2026-01-11": [1, 2, 3, 4, 5]}


def test_several_partitions_come_as_data_frames_where_the_input_says_so(job: MainJob) -> None:
    @dg.asset(ins={"user_features": dg.AssetIn(partition_mapping=TWO_DAYS)})
    def compared(user_features: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
        return user_features

    frames = loaded(job, compared)
    assert isinstance(frames, dict)
    assert {partition: len(frame) for partition, frame in frames.items()} == {"2026-01-10": 4, "2026-01-11": 5}
    assert all(isinstance(frame, pd.DataFrame) for frame in frames.values())


def test_a_notebook_loads_a_partition_or_latest_by_name(job: MainJob) -> None:
    definitions = job.definitions
    of_a_day = definitions.load_asset_value(FEATURES, partition_key="2026-01-10", instance=job.instance)
    latest = definitions.load_asset_value(FEATURES, instance=job.instance)
    frame = definitions.load_asset_value(FEATURES, python_type=pd.DataFrame, partition_key="2026-01-11", instance=job.instance)
    assert isinstance(of_a_day, pa.Table)
    assert isinstance(latest, pa.Table)
    assert isinstance(frame, pd.DataFrame)
    assert (users(of_a_day), users(latest), len(frame)) == ([1, 2, 3, 4], [1, 2, 3, 4, 5], 5)


def test_a_partition_without_a_version_is_named(job: MainJob) -> None:
    with pytest.raises(dg.Failure, match="user_features has no version of partition 2026-01-12; materialize it first"):
        job.definitions.load_asset_value(FEATURES, partition_key="2026-01-12", instance=job.instance)


def test_latest_before_anything_is_published_is_an_error_that_says_so(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    empty: Platform = memory_platform(tmp_path)
    with pytest.raises(dg.Failure, match="user_features has no latest; materialize it first"):
        MainJob(empty, instance=instance).definitions.load_asset_value(FEATURES, instance=instance)
