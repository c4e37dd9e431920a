"""The local environment: the embedded servers, the options that `up` was given before, and a Dagster instance.

Commands do not belong here, nor anything that dev or prod reads.
"""

from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

from feature_platform.cli.output import say
from feature_platform.errors import ConfigurationError, StorageError

START_FILE: Final = "start_date"
CONTRACTS_FILE: Final = "contracts_dir"

INSTANCE: Final = """\
# Two days may be built at a time; of each feature set one step moves latest or loads online. Missed ticks are not caught up.
concurrency:
  runs:
    max_concurrent_runs: 3
    tag_concurrency_limits:
      - key: feature_platform/queue
        value: daily_features
        limit: 2
  pools:
    granularity: op
    default_limit: 1
scheduler:
  module: dagster.core.scheduler
  class: DagsterDaemonScheduler
  config:
    max_catchup_runs: 0
run_monitoring:
  enabled: true
  free_slots_after_run_end_seconds: 60
# What the platform's own modules warn of, such as an S3 that is waited for, stands in the run's log.
python_logs:
  managed_python_loggers:
    - feature_platform
telemetry:
  enabled: false
nux:
  enabled: false
"""

WRITTEN: Final = frozenset(
    {
        "ce51768a22e48f9094f7dc41ad218b9f48d152fffb78c60175f6edcd872a64fb",
        "d0290879b3b60b8bfac2067f850dccec6515e36209a3854337cb3dd8e888c00a",
        "9e5e3779016c1841f3548f8b3f6e08ab2d8f9c386fda93280f199e06a5eafaee",
        "0cf2d5f76697149add36873bf97f7121f68dd6bc9a6d19a6cfaeaff2e5a39f7e",
    }
)
"""SHA-256 of every :data:`INSTANCE` of any release, the present one too: nobody edited a file that has one of these hashes."""


def prepare_instance(home: Path) -> Path:
    """The directory to set as ``DAGSTER_HOME``: with a ``dagster.yaml`` that is up to date, and with its databases.

    Dagster creates its SQLite databases in the first process that opens them, and several processes that do so at once break them for good
    ("more than one head"). So they are created here, once, under a lock. The file that says that they are complete lies in their directory,
    so that it is deleted with them.

    Raises:
        StorageError: Another process prepares it and does not end, or the disk is full.
        ConfigurationError: The home cannot be written.
    """
    from feature_platform.adapters.machine.spool import disk_errors
    from feature_platform.local.locks import held

    directory = (home / "dagster").absolute()
    with disk_errors(home):
        directory.mkdir(parents=True, exist_ok=True)
        with held(directory / "instance.lock"):
            whole = directory / "history" / ".whole"
            _bring_up_to_date(directory / "dagster.yaml")
            if not whole.exists():
                _create_databases(directory)
                whole.touch()
    return directory


def _bring_up_to_date(settings: Path) -> None:
    """Write ``dagster.yaml`` where there is none, or where an earlier release wrote it; print what an edited one lacks."""
    from feature_platform.local.private_files import write_private

    found = settings.read_bytes() if settings.exists() else None
    if found is None or (found != INSTANCE.encode() and sha256(found).hexdigest() in WRITTEN):
        write_private(settings, INSTANCE)
        if found is not None:
            say(f"{settings} was written by an earlier release and is brought up to date; start Dagster again where it runs.")
    elif found is not None and (lacking := _keys(INSTANCE) - _keys(found.decode(errors="replace"))):
        say(
            f"{settings} was edited and lacks {', '.join(sorted(lacking))}: runs may build or serve side by side and then fail with a "
            "conflict. Add what docs/changes.md says of several runs at a time, or delete the file to have it written anew."
        )


def _keys(text: str) -> set[str]:
    return {line.split(":")[0].strip() for line in text.splitlines() if ":" in line and not line.startswith("#")}


def _create_databases(directory: Path) -> None:
    import dagster as dg
    from sqlalchemy.exc import OperationalError

    try:
        with dg.DagsterInstance.from_config(str(directory)) as instance:
            # Dagster has three databases; the first query of each creates it.
            instance.get_runs_count()
            instance.get_asset_keys()
            instance.all_instigator_state()
    except OperationalError as error:
        raise StorageError(
            f"Dagster's databases below {directory} could not be created ({error.orig}). Free some space or correct the rights, then run "
            "again; nothing ran there yet."
        ) from error


def has_data(home: Path) -> bool:
    """Whether a local environment was ever started here."""
    return (home / START_FILE).is_file()


def start_date(home: Path, *, chosen: date | None) -> date:
    """The first daily partition of a local environment: chosen once, then kept beside the servers' state.

    Raises:
        ConfigurationError: The kept text is no day, or the home cannot be written.
    """
    kept = _kept(home / START_FILE, chosen.isoformat() if chosen else None)
    try:
        if kept is not None:
            return date.fromisoformat(kept)
    except ValueError as error:
        raise ConfigurationError(
            f"{home / START_FILE} holds no day as YYYY-MM-DD. Choose the first partition again: feature-platform up --start-date …"
        ) from error
    return start_date(home, chosen=datetime.now(UTC).date() - timedelta(days=30))


def contracts_dir(home: Path, *, chosen: Path | None) -> Path | None:
    """The directory of contracts of a local environment: chosen once, then kept; None for the contracts of the source tree.

    Raises:
        ConfigurationError: There is no such directory (any more), or the home cannot be written.
    """
    if chosen is not None and not chosen.is_dir():
        raise ConfigurationError(f"--contracts {chosen} is no directory; expected one with contracts in it.")
    kept = _kept(home / CONTRACTS_FILE, str(chosen.absolute()) if chosen else None)
    if kept is not None and not Path(kept).is_dir():
        raise ConfigurationError(
            f"{kept} is no directory any more, and {home / CONTRACTS_FILE} names it as that of the contracts. Choose another one: "
            "feature-platform up --contracts …"
        )
    return Path(kept) if kept else None


def _kept(file: Path, chosen: str | None) -> str | None:
    """The value that is chosen now, written to a file of the home; or else the one that was chosen before, if there is one."""
    from feature_platform.adapters.machine.spool import disk_errors
    from feature_platform.local.private_files import write_private

    with disk_errors(file.parent):
        if chosen is None:
            return file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else None
        file.parent.mkdir(parents=True, exist_ok=True)
        write_private(file, f"{chosen}\n")
        return chosen


def local_environment(home: Path, *, start: date | None, contracts: Path | None, redis_read_only: bool = False) -> dict[str, str]:
    """Start the embedded servers and return every variable that points the platform, Feast and Dagster at them.

    Args:
        home: Directory of all local state; made readable by its owner only.
        start: First daily partition; where left out, the one chosen before, or 30 days ago.
        contracts: Directory of contracts; where left out, the one chosen before, or that of the source tree.
        redis_read_only: Name the Redis user who can only read.

    Raises:
        StorageError: A server does not come up.
        ConfigurationError: The home cannot be used, or a value that it keeps is wrong.
    """
    from feature_platform.local.services import LocalServices, prepare_home

    prepare_home(home)
    first, directory = start_date(home, chosen=start), contracts_dir(home, chosen=contracts)
    services = LocalServices(home)
    services.up()
    environment = services.environment(start_date=first, contracts_dir=directory, redis_read_only=redis_read_only)
    return {**environment, "DAGSTER_HOME": str(prepare_instance(home))}
