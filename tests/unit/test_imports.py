"""What importing costs: no server is asked, no heavy library is loaded, until a step needs it."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

# Runs in a fresh interpreter: an import that another test made would hide one of ours.
PROBE = """
import sys

opened = []

def audit(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind"):
        opened.append((event, repr(arguments)[:200]))

sys.addaudithook(audit)
__import__(sys.argv[1])
heavy = "boto3 botocore dagster duckdb feast moto pandas polars pyarrow pyspark redis s3fs"
print(*sorted(set(heavy.split()) & set(sys.modules)))
print(opened)
"""

ALLOWED = {
    "feature_platform.settings": set(),
    "feature_platform.ports": None,
    "feature_platform.adapters.object_store.s3": set(),
    "feature_platform.adapters.object_store.memory": set(),
    "feature_platform.adapters.contract_files": {"pyarrow"},
    "feature_platform.local.services": set(),
    "feature_platform.wiring": None,
    "feature_platform.definitions": None,
    "feature_platform.cli": set(),
}
"""Module → the heavy libraries it may load; None where any but those that no import of ours may load."""

NEVER = {"feast", "pyspark", "moto"}


@pytest.mark.parametrize("module", sorted(ALLOWED))
def test_importing_opens_nothing_and_loads_no_heavy_library(module: str) -> None:
    answer = subprocess.run([sys.executable, "-c", PROBE, module], capture_output=True, text=True, check=True, env={"PATH": ""})
    heavy, opened = answer.stdout.splitlines()[-2:]
    allowed = ALLOWED[module]
    assert opened == "[]"
    assert set(heavy.split()) & NEVER == set()
    assert allowed is None or set(heavy.split()) <= allowed


def test_the_probe_finds_what_it_looks_for() -> None:
    """A gate that cannot fail proves nothing."""
    script = PROBE.replace("__import__(sys.argv[1])", "import socket, polars; socket.socket().connect_ex(('127.0.0.1', 1))")
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy, opened = answer.stdout.splitlines()[-2:]
    assert "polars" in heavy
    assert "socket.connect" in opened
    assert find_spec("polars") is not None
