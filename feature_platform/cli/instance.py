"""A Dagster instance for one machine, beside the embedded servers' state: where runs, schedules and logs of a laptop are kept."""

from pathlib import Path
from typing import Final

INSTANCE: Final = """\
# One run of the daily job at a time; missed ticks are not caught up.
concurrency:
  runs:
    max_concurrent_runs: 2
    tag_concurrency_limits:
      - key: feature_platform/queue
        value: daily_features
        limit: 1
scheduler:
  module: dagster.core.scheduler
  class: DagsterDaemonScheduler
  config:
    max_catchup_runs: 0
run_monitoring:
  enabled: true
telemetry:
  enabled: false
"""


def prepare_instance(home: Path) -> Path:
    """The directory to set as ``DAGSTER_HOME``; its ``dagster.yaml`` is written where there is none."""
    directory = (home / "dagster").absolute()
    directory.mkdir(parents=True, exist_ok=True)
    settings = directory / "dagster.yaml"
    if not settings.exists():
        settings.write_text(INSTANCE)
    return directory
