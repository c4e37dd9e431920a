"""Logs as JSON: one object a line, whatever a record holds, with what is known of it beside its message."""

import json
import logging
import os
import subprocess
import sys
from typing import Any

from feature_platform.adapters.logs import JsonLines

COMMAND = [sys.executable, "-c", "from feature_platform.cli import main; main()"]
BEGIN = "from feature_platform.adapters.logs import configure_logs\nconfigure_logs(is_json=True)\n"


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_record_is_one_line_with_what_is_known_and_nothing_that_is_not() -> None:
    facts = {"name": "feature_platform.x", "levelno": 30, "levelname": "WARNING", "msg": "%s rows\nof Łódź", "args": (3,), "created": 0.5}
    record = logging.makeLogRecord({**facts, "feature_set": "users", "version": None, "run_id": 7, "secret": "hunter2"})
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.500+00:00",
        "level": "WARNING",
        "logger": "feature_platform.x",
        "message": "3 rows\nof Łódź",
        "feature_set": "users",
        "run_id": "7",
    }


def test_warnings_and_what_nobody_catches_are_lines_too() -> None:
    work = "import warnings\nwarnings.warn('old')\n1 / 0"
    done = subprocess.run([sys.executable, "-c", BEGIN + work], capture_output=True, text=True, check=False)
    warned, ended = lines(done.stderr)
    assert (done.returncode, warned["level"], warned["logger"]) == (1, "WARNING", "py.warnings")
    assert ended["level"] == "CRITICAL"
    assert ended["exception"].endswith("ZeroDivisionError: division by zero")


def test_a_command_says_its_error_as_a_line() -> None:
    given = {"PATH": os.environ["PATH"], "FEATURE_PLATFORM_LOG_FORMAT": "json"}
    done = subprocess.run([*COMMAND, "status"], env=given, capture_output=True, text=True, check=False)
    (line,) = lines(done.stderr)
    assert (done.returncode, line["level"], line["logger"]) == (2, "ERROR", "feature_platform.cli.output")
    assert "FEATURE_PLATFORM_RAW_URI" in line["message"]
