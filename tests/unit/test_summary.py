"""The summary line as it is read back from a run's tags."""

from feature_platform.defs.summary import TAG_PREFIX, summaries


def test_every_step_that_left_a_line_is_read_back() -> None:
    tags = {
        f"{TAG_PREFIX}user_features": "feature_set=user_features partition=2026-01-10..2026-01-12 rows=9 outcome=succeeded",
        f"{TAG_PREFIX}raw_events": "feature_set=events uri=s3://bucket/raw?x=1 outcome=failed",
        "feature_platform/queue": "daily_features",
        "dagster/partition": "2026-01-12",
    }
    assert summaries(tags) == {
        "user_features": {
            "feature_set": "user_features",
            "partition": "2026-01-10..2026-01-12",
            "rows": "9",
            "outcome": "succeeded",
        },
        "raw_events": {"feature_set": "events", "uri": "s3://bucket/raw?x=1", "outcome": "failed"},
    }


def test_a_run_without_steps_has_no_summary() -> None:
    assert summaries({"dagster/partition": "2026-01-12"}) == {}
    assert summaries({f"{TAG_PREFIX}raw_events": ""}) == {"raw_events": {}}
