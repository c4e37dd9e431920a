"""The demo: raw files on the embedded S3, real Dagster runs over them, and raw, published and online values of a few users side by side.

The days are the last ones before today, so that values are within their ttl. A second run finds what the first one published. Rules of the
platform do not belong here: the demo calls what users call.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import dagster as dg
from rich.console import Console
from rich.table import Table

from feature_platform.cli.demo_serving import print_served
from feature_platform.cli.environment import has_data, local_environment, start_date
from feature_platform.cli.output import console, say
from feature_platform.core import layout
from feature_platform.core.objects import IfAbsent
from feature_platform.definitions import build_definitions
from feature_platform.defs.jobs import JOB_NAME
from feature_platform.defs.summary import summaries
from feature_platform.errors import ConflictError, FeaturePlatformError
from feature_platform.local import demo_events
from feature_platform.local.services import SHIPPED_CONTRACTS
from feature_platform.settings import load_settings, variable
from feature_platform.wiring import Platform, open_platform

FEATURE_SET: Final = "user_features"
SHOWN: Final = {
    demo_events.REGULAR: "active every day",
    demo_events.UNICODE: "her country is not ASCII",
    demo_events.VANISHING: "disappeared after the first day",
    demo_events.LATE: "events arrived late",
}
_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
"""Run configuration: a run's log goes to the instance, only its errors to the terminal."""
_STALE_AFTER: Final = timedelta(days=3)


def run_demo(home: Path, *, days: int) -> None:
    """Run the main job on made-up events and print the versions, the values and a proof.

    Raises:
        FeaturePlatformError: A step failed; the servers stay up and whatever was published stays.
    """
    terminal = console()
    first = first_day(home, days=days)
    with _step(terminal, "Starting S3 and Redis"):
        os.environ.update(local_environment(home, start=first, contracts=None) | {variable("contracts_dir"): str(SHIPPED_CONTRACTS)})
    platform = open_platform(load_settings())
    all_days = [first + timedelta(days=number) for number in range(days)]
    with _step(terminal, f"Writing raw events of {days} days to {platform.settings.raw_uri}/events/"):
        for day in all_days:
            write_raw(platform, day, demo_events.day_files(day, first_day=first))
    runs = _Runs(platform, terminal)
    for day in all_days[:3]:
        runs.run(f"Run of {day}", first=day, last=day)
    if days > 3:
        runs.run(f"One run over {all_days[3]} … {all_days[-1]}", first=all_days[3], last=all_days[-1])
    late = all_days[-1]
    with _step(terminal, f"Late events of {late} arrive"):
        write_raw(platform, late, demo_events.late_file(late))
    runs.run(f"Rebuild of {late}", first=late, last=late)
    _print_versions(terminal, platform)
    _print_users(terminal, platform, all_days)
    print_served(terminal, platform, FEATURE_SET, environment=os.environ, users=list(SHOWN))
    terminal.print(
        "\n[bold]Where to look next[/]\n"
        "  make dev                                        the Dagster UI on this very data\n"
        '  eval "$(feature-platform up)"                    the environment for the commands below\n'
        "  feature-platform status\n"
        f"  feature-platform verify {FEATURE_SET}\n"
        f"  feature-platform online get {FEATURE_SET} --key user_id={demo_events.REGULAR}\n"
        "  feature-platform serve                          the feature server, on port 6566\n"
        "  feature-platform down                           stops S3 and Redis, keeps their data"
    )


def write_raw(platform: Platform, day: date, files: Mapping[str, bytes]) -> None:
    """Put a day's raw files, except those that exist: upstream never rewrites a file that it delivered."""
    prefix = layout.raw_partition(platform.settings.raw_uri, "events", day.isoformat())
    for name, body in files.items():
        try:
            platform.objects.put(f"{prefix}{name}", body, write_id=f"demo:{day}:{name}", sha256=None, condition=IfAbsent())
        except ConflictError:
            continue


def first_day(home: Path, *, days: int) -> date:
    """The demo's first day: kept while its last day is recent, so that running it again finds its own data."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    first = yesterday - timedelta(days=days - 1)
    if has_data(home):
        kept = start_date(home, chosen=None)
        if timedelta(0) <= first - kept <= _STALE_AFTER:
            return kept
        say(
            f"The first partition was {kept} and is {first} now, the demo's first day. To have the other one again: "
            f"feature-platform up --home {home} --start-date {kept}"
        )
    return start_date(home, chosen=first)


@contextmanager
def _step(terminal: Console, what: str) -> Iterator[None]:
    started = time.monotonic()
    with terminal.status(f"{what} …"):
        yield
    terminal.print(f"[green]✓[/] {what} [dim]({time.monotonic() - started:.1f} s)[/]")


class _Runs:
    """Dagster runs in this process, recorded in the instance that ``make dev`` shows."""

    def __init__(self, platform: Platform, terminal: Console) -> None:
        self._terminal = terminal
        definitions = build_definitions(platform, retry_delay_s=1)
        self._job = definitions.resolve_job_def(JOB_NAME)

    def run(self, what: str, *, first: date, last: date) -> None:
        """Materialize every asset for a range of days, in one run.

        Raises:
            FeaturePlatformError: The run failed; the UI shows why.
        """
        with _step(self._terminal, what), dg.DagsterInstance.get() as instance:
            if first == last:
                result = self._job.execute_in_process(
                    partition_key=first.isoformat(), instance=instance, run_config=_QUIET, raise_on_error=False
                )
            else:
                tags = {"dagster/asset_partition_range_start": first.isoformat(), "dagster/asset_partition_range_end": last.isoformat()}
                result = self._job.execute_in_process(tags=tags, instance=instance, run_config=_QUIET, raise_on_error=False)
            run = instance.get_run_by_id(result.run_id)
        if not result.success:
            raise FeaturePlatformError(f"{what} failed (run {result.run_id}); `make dev` shows it in the Dagster UI.")
        told = summaries(run.tags if run else {})
        kept, online = told["validated_events"]["rows"], told[f"{FEATURE_SET}_online"]
        published = f"{kept} events kept · {told[FEATURE_SET]['version']}"
        self._terminal.print(f"    {published} · latest {online['version']} · {online['rows']} rows online")


def _print_versions(terminal: Console, platform: Platform) -> None:
    history = platform.feature_sets.history(FEATURE_SET)
    table = Table(title=f"\nVersions of {FEATURE_SET}", title_justify="left")
    for name in ("version", "rows", "content hash", "supersedes", "latest"):
        table.add_column(name)
    for version in history.live:
        facts = platform.feature_sets.metadata(FEATURE_SET, version.version)
        is_head = history.head is not None and history.head.version == version.version
        table.add_row(version.version, str(facts.row_count), version.content_hash[:12], facts.supersedes or "", "latest" if is_head else "")
    terminal.print(table)


def _print_users(terminal: Console, platform: Platform, days: list[date]) -> None:
    """For a few users: features counted from the raw events, the same in the published file, and online."""
    contract = platform.catalog.contract(FEATURE_SET)
    head = platform.feature_sets.history(FEATURE_SET).head
    if head is None:
        return
    published = {row["user_id"]: row for row in platform.feature_sets.load(FEATURE_SET, head.version).to_pylist()}
    served = {row["user_id"]: row for row in platform.registry.read(contract, [{"user_id": user} for user in SHOWN])}
    table = Table(title=f"\nFrom raw events to online values, {head.version}", title_justify="left")
    for name in ("user", "feature", "counted in the raw files", "published file", "online, by Feast"):
        table.add_column(name, overflow="fold", no_wrap=name == "feature")
    facts = raw_facts(days)
    for user, story in SHOWN.items():
        for position, feature in enumerate(("f_total_events_7d", "f_avg_session_sec_7d", "f_last_country")):
            label = (str(user), f"[dim]{story}[/]", "")[position]
            values = (facts[user][feature], published.get(user, {}).get(feature), served[user][feature])
            table.add_row(label, feature, *(_shown(value) for value in values))
    terminal.print(table)


def raw_facts(days: list[date]) -> dict[int, dict[str, Any]]:
    """The features of the shown users counted naively from the events themselves, over the last seven days."""
    first = days[0]
    events = [event for day in days[-7:] for event in demo_events.events_of(day, first_day=first)] + demo_events.late_events(days[-1])
    facts: dict[int, dict[str, Any]] = {}
    for user in SHOWN:
        own = sorted((event for event in events if event.user_id == user), key=lambda event: event.event_time)
        sessions = [event.session_sec for event in own if event.session_sec is not None]
        countries = [event.country for event in own if event.country is not None]
        facts[user] = {
            "f_total_events_7d": len(own) or None,
            "f_avg_session_sec_7d": sum(sessions) / len(sessions) if sessions else None,
            "f_last_country": countries[-1] if countries else None,
        }
    return facts


def _shown(value: object) -> str:
    return "[dim]—[/]" if value is None else f"{value:.6f}" if isinstance(value, float) else str(value)
