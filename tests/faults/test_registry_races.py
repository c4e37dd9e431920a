"""Many processes apply to one registry on a real S3 server at once, and no view is lost."""

import os
import subprocess
import sys

import pytest

from tests.support.feast_registries import open_s3_registry, view_names
from tests.support.services import S3Bucket

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

PROCESSES = 8
ROUNDS = 5 if os.environ.get("FAULTS") == "full" else 2


def test_simultaneous_applies_lose_no_view(s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"{s3.uri}feast/local/registry.pb"
    command = [sys.executable, "-m", "tests.support.registry_appliers", uri, str(PROCESSES), str(ROUNDS)]
    result = subprocess.run(command, env={**os.environ, **s3.env}, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-4000:]
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    expected = {f"view_{turn}_{process}" for turn in range(ROUNDS) for process in range(PROCESSES)}
    assert view_names(open_s3_registry(uri)) == expected
