"""``feature-platform health`` and ``watch``: the state of every feature set, looked at once, or at an interval with alerts.

How a state is decided does not belong here (``core.operations``), nor what is looked at (``use_cases``).
"""

import json
import signal
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_platform.adapters.logs import configure_logs
from feature_platform.cli.output import FINDING, MOST_DAYS, AsJson, command, say, show
from feature_platform.core.operations import LATE_AFTER_H
from feature_platform.settings import load_settings
from feature_platform.wiring import Platform, alert_channels, open_platform, orchestrator_at, s3_at

if TYPE_CHECKING:
    from feature_platform.core.operations.incidents import Incident
    from feature_platform.ports.alerts import AlertChannel
    from feature_platform.use_cases.watch import Watch

LateAfter = Annotated[
    float, typer.Option("--late-after-h", min=0, max=24 * MOST_DAYS, help="Hours after a day's end by which its version must be latest.")
]
DagsterUrl = Annotated[
    str | None,
    typer.Option(
        "--dagster-url", help="Dagster's webserver, e.g. http://127.0.0.1:3000; where left out, it is not watched.", show_default=False
    ),
]


@command
def health(late_after_h: LateAfter = LATE_AFTER_H, dagster_url: DagsterUrl = None, as_json: AsJson = False) -> None:
    """Each feature set's state (healthy, late, degraded, failing), why, and the remedy. Exits 1 where one is not healthy."""
    look = _opened(open_platform(), dagster_url, late_after_h, channels=[]).look(now=datetime.now(UTC))
    rows = [item.row() for item in look.healths]
    for problem in look.others:
        row = {"feature_set": problem.subject, "state": problem.state, "online": None, "as_of": None}
        rows.append({**row, "why": problem.told, "remedy": problem.remedy})
    show(rows, as_json=as_json, title="Health")
    if any(row["state"] != "healthy" for row in rows):
        raise typer.Exit(FINDING)


@command
def watch(
    interval_s: Annotated[float, typer.Option("--interval-s", min=1, max=86_400, help="Seconds between two looks.")] = 30.0,
    late_after_h: LateAfter = LATE_AFTER_H,
    dagster_url: DagsterUrl = None,
    webhook_file: Annotated[
        Path | None,
        typer.Option("--webhook-file", help="File with the address that alerts are posted to as JSON.", show_default=False),
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", min=0, max=65_535, help="Port for Prometheus to read; 0 for any.", show_default=False)
    ] = None,
    metrics_host: Annotated[str, typer.Option("--metrics-host", help="Address that this port listens on.")] = "127.0.0.1",
) -> None:
    """Look at an interval; report each incident to Slack and the webhook once, and once more when it is over. Ends on SIGTERM."""
    from feature_platform.adapters.watch_metrics import WatchMetrics

    settings, ended = load_settings(), threading.Event()
    configure_logs(is_json=settings.log_format == "json")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    kept = settings.home / "watch.json"
    # Few retries: an S3 that does not answer is an incident to report, not something to wait for.
    watching = _opened(
        open_platform(settings, objects=s3_at(patience_s=2)), dagster_url, late_after_h, alert_channels(settings, webhook=webhook_file)
    )
    watching.incidents = _kept(kept)
    metrics = WatchMetrics(watching)
    if metrics_port is not None:
        metrics.serve(metrics_port, host=metrics_host)
    sets, channels = len(watching.platform.catalog.contracts), len(watching.channels)
    say(f"Watching {sets} feature set(s) every {interval_s:g} s, telling {channels} channel(s).")
    while not ended.is_set():
        now = datetime.now(UTC)
        metrics.show(watching.look(now=now, is_ended=ended.is_set), now)
        _keep(kept, watching.incidents)
        ended.wait(interval_s)


def _opened(platform: "Platform", dagster_url: str | None, late_after_h: float, channels: "list[AlertChannel]") -> "Watch":
    from feature_platform.use_cases.watch import Watch

    orchestrator = orchestrator_at(dagster_url) if dagster_url else None
    return Watch(platform, channels, orchestrator, timedelta(hours=late_after_h))


def _kept(file: Path) -> "dict[str, Incident]":
    """The incidents that were reported before, so that a restarted watch does not report them a second time."""
    from feature_platform.core.operations.incidents import Incident

    try:
        return {key: Incident.parse(document) for key, document in json.loads(file.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        say(f"{file} cannot be read ({error}); incidents that still last are reported again.")
        return {}


def _keep(file: Path, incidents: "dict[str, Incident]") -> None:
    from feature_platform.local.private_files import write_private

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_private(file, json.dumps({key: incident.document() for key, incident in incidents.items()}))
    except OSError as error:
        say(f"{file} cannot be written ({error}); after a restart, incidents that still last are reported again.")
