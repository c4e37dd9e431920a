"""The last part of the demo: an answer over HTTP, the version that its header names, and the proof of it.

Building and publishing do not belong here (``demo``).
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from feature_platform.errors import FeaturePlatformError
from feature_platform.wiring import Platform

START_S: Final = 60.0
_PATH: Final = "/get-online-features"


def print_served(terminal: Console, platform: Platform, feature_set: str, *, environment: Mapping[str, str], users: Sequence[int]) -> None:
    """Serve what the demo published, ask for users as a service does, and prove what was answered.

    Raises:
        FeaturePlatformError: The server does not come up, or an answer could not be proven.
    """
    from feature_platform.server.prove import Prover, log_files

    body = {"feature_service": feature_set, "entities": {"user_id": list(users)}}
    with tempfile.TemporaryDirectory(prefix="feature-demo-") as directory:
        with _serving(environment, log=Path(directory)) as port:
            said, document = _asked(port, body)
        report = Prover(platform.feature_sets).prove(log_files(directory, platform.objects))
    count = len(document["metadata"]["feature_names"]) - 1
    terminal.print(f"\n[bold]Over HTTP[/], POST {_PATH} for users {', '.join(map(str, users))}: {count} features each")
    terminal.print(f"    feature-version: {said}", soft_wrap=True)
    terminal.print(f"    {report.rows['proven']} of {report.rows.total()} answered rows proven against the published file")
    _print_trained(terminal, platform, feature_set, document)
    if not report.is_whole:
        raise FeaturePlatformError("; ".join(fault.said for fault in report.faults) or "An answer names no version, so it has no proof.")


def _print_trained(terminal: Console, platform: Platform, feature_set: str, document: Any) -> None:
    """One row of a training set at this moment beside the answer that was just given."""
    import pyarrow as pa

    from feature_platform.training import training_set

    answers = {name: column["values"][0] for name, column in zip(document["metadata"]["feature_names"], document["results"], strict=True)}
    labels = pa.table({"user_id": [answers["user_id"]], "event_timestamp": [datetime.now(UTC)]})
    made = training_set(labels, [feature_set], platform=platform)
    row = made.to_arrow().to_pylist()[0]
    terminal.print(f"\n[bold]A training row[/] for user {answers['user_id']} at this moment, from {row[f'{feature_set}__version']}")
    for name, value in answers.items():
        if name != "user_id":
            terminal.print(f"    {name}: {row[name]} in training, {value} online", soft_wrap=True)
    terminal.print(
        f"    kept as training set {made.manifest.training_set}; `feature-platform training-set verify` makes it again", soft_wrap=True
    )


@contextmanager
def _serving(environment: Mapping[str, str], *, log: Path) -> Iterator[int]:
    from feature_platform.local.loopback_ports import choose_ports

    port = choose_ports(["server"], preferred={})["server"]
    command = [sys.executable, "-c", "from feature_platform.cli import main; main()", "serve", "--port", str(port), "--log-to", str(log)]
    # This interpreter, and arguments of our own.
    with subprocess.Popen(command, env=dict(environment), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603
        try:
            _wait(port, process)
            yield port
        finally:
            process.terminate()


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise FeaturePlatformError(f"The feature server is not ready after {START_S:.0f} s.")


def _asked(port: int, body: object) -> tuple[str, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", _PATH, body=json.dumps(body), headers={"content-type": "application/json"})
        answer = connection.getresponse()
        document = json.loads(answer.read())
        if answer.status != 200:
            raise FeaturePlatformError(f"The feature server answered {answer.status}: {document}")
        return answer.getheader("feature-version") or "", document
    finally:
        connection.close()
