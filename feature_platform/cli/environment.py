"""The environment of one machine: the embedded servers, the first partition, and a Dagster instance beside their state.

Commands do not belong here, nor anything that dev or prod reads.
"""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

START_FILE: Final = "start_date"

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
nux:
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


def has_data(home: Path) -> bool:
    """Whether a local environment was ever started here."""
    return (home / START_FILE).is_file()


def start_date(home: Path, *, chosen: date | None) -> date:
    """The first daily partition of a local environment: chosen once, then kept beside the servers' state."""
    file = home / START_FILE
    if chosen is None and file.is_file():
        return date.fromisoformat(file.read_text().strip())
    day = chosen or datetime.now(UTC).date() - timedelta(days=30)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{day.isoformat()}\n")
    return day


def local_environment(home: Path, *, start: date | None, contracts: Path | None) -> dict[str, str]:
    """Start the embedded servers and answer every variable that points the platform, Feast and Dagster at them.

    Raises:
        StorageError: A server does not come up.
    """
    from feature_platform.local.services import LocalServices

    services = LocalServices(home)
    services.up()
    environment = services.environment(start_date=start_date(home, chosen=start), contracts_dir=contracts)
    return {**environment, "DAGSTER_HOME": str(prepare_instance(home))}
