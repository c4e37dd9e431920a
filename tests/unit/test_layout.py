"""Every key, literally."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from feature_platform.core import layout
from feature_platform.core.layout import FeatureSetLayout
from feature_platform.errors import InvalidDataError

SET = FeatureSetLayout("s3://bucket/base/", "user_features")


def test_each_key_is_spelled_as_documented() -> None:
    assert SET.version_file("v_20260115T000000", "features.parquet") == "s3://bucket/base/user_features/v_20260115T000000/features.parquet"
    assert SET.latest_file("metadata.json") == "s3://bucket/base/user_features/latest/metadata.json"
    assert SET.log_record(42) == "s3://bucket/base/user_features/_log/00000000000000000042.json"
    assert SET.pin("v_20260115T000000", "training-7") == "s3://bucket/base/user_features/_pins/v_20260115T000000/training-7.json"
    assert layout.raw_partition("s3://raw/r/", "events", "2026-01-14") == "s3://raw/r/events/dt=2026-01-14/"
    assert layout.validated_partition("s3://work/w", "events", "2026-01-14") == "s3://work/w/validated/events/dt=2026-01-14/"
    assert layout.quarantine_partition("s3://work/w", "events", "2026-01-14") == "s3://work/w/quarantine/events/dt=2026-01-14/"
    assert layout.tile_block("s3://w", "events", "abc", first="2026-01-14", days=8) == "s3://w/tiles/events/abc/days=8/dt=2026-01-14/"
    assert layout.staging("s3://work/w/", "1f") == "s3://work/w/staging/1f/"
    assert layout.owner_mark("s3://bucket/base/") == "s3://bucket/base/_owner.json"
    assert layout.registry_uri("s3://bucket/feast", "prod") == "s3://bucket/feast/prod/registry.pb"
    assert layout.FILES == ("features.parquet", "features.csv", "schema.json", "metadata.json")


def test_a_version_is_named_by_the_end_of_its_day_in_utc() -> None:
    assert layout.version_id(layout.as_of("2026-01-14")) == "v_20260115T000000"
    elsewhere = datetime(2026, 1, 15, 9, tzinfo=timezone(timedelta(hours=9)))
    assert layout.version_id(elsewhere) == "v_20260115T000000"
    assert layout.version_moment("v_20260115T000000") == datetime(2026, 1, 15, tzinfo=UTC)
    assert layout.partition_of(layout.as_of("2026-03-01")) == "2026-03-01"


@pytest.mark.parametrize(
    "version", ["v_20260115", "v_20261315T000000", "20260115T000000", "v_20260115T000000/", "v_20260115T000000\n", "latest"]
)
def test_what_is_no_version_id_is_refused(version: str) -> None:
    with pytest.raises(InvalidDataError, match="is not a version id; expected v_YYYYMMDDTHHMMSS"):
        layout.version_moment(version)


def test_a_window_is_the_days_before_its_end_oldest_first() -> None:
    assert layout.window_partitions(layout.as_of("2026-03-01"), days=3) == ("2026-02-27", "2026-02-28", "2026-03-01")


def test_keys_are_read_back_as_what_they_name() -> None:
    assert SET.sequence_of(SET.log_record(7)) == 7
    assert SET.sequence_of(f"{SET.log}7.json") is None
    assert SET.version_of(SET.version_file("v_20260115T000000", "schema.json")) == "v_20260115T000000"
    assert SET.version_of(SET.latest_file("schema.json")) is None


def test_what_is_no_s3_uri_is_refused() -> None:
    assert layout.split_uri("s3://bucket/a/b") == ("bucket", "a/b")
    with pytest.raises(InvalidDataError, match="is not an S3 URI; expected s3://bucket/key"):
        layout.split_uri("/local/path")
