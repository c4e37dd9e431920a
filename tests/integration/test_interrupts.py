"""A person who ends a run of Dagster's own command while S3 is away: it ends there, and says before what it waits for."""

import os
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from feature_platform.cli.environment import prepare_instance
from tests.support.dagster_commands import BIN, MODULE, ROOT

DAY = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()


def test_an_interrupt_ends_a_run_that_waits_for_s3_and_is_not_taken_for_a_failure_worth_a_retry(
    local_env: dict[str, str], tmp_path: Path
) -> None:
    home = prepare_instance(tmp_path)
    environment = {**os.environ, **local_env, "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "DAGSTER_HOME": str(home)}
    command = [BIN / "dagster", "asset", "materialize", "--select", "raw_events", "--partition", DAY, *MODULE]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stderr is not None
            said = next(line for line in process.stderr if "is tried again" in line)
            process.send_signal(signal.SIGINT)
            rest, _ = process.stderr.read(), process.wait(timeout=60)
        finally:
            process.kill()
    assert "S3 does not answer as it should (EndpointConnectionError); the request is tried again for up to " in said
    assert process.returncode != 0
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs()
        log = instance.all_logs(run.run_id)
    kinds = [entry.dagster_event.event_type_value for entry in log if entry.dagster_event]
    assert [entry.user_message for entry in log if "is tried again" in entry.user_message]
    assert run.is_finished, rest
    assert not run.is_success
    assert kinds.count("STEP_START") == 1
    assert not {"STEP_UP_FOR_RETRY", "STEP_RESTARTED"} & set(kinds)
