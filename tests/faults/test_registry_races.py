"""A registry on a real S3 server: many processes apply at once, and the network loses and damages what passes; no view is lost."""

import os
import subprocess
import sys
from contextlib import suppress

import pytest

from feature_platform.errors import StorageError
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.feast_registries import apply, contract, open_s3_registry, view_names
from tests.support.services import S3Bucket
from tests.support.shipped_features import enter

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

PROCESSES = 8
ROUNDS = 5 if os.environ.get("FAULTS") == "full" else 1


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_simultaneous_applies_lose_no_view(s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"{s3.uri}feast/local/registry.pb"
    command = [sys.executable, "-m", "tests.support.registry_appliers", uri, str(PROCESSES), str(ROUNDS)]
    result = subprocess.run(command, env={**os.environ, **s3.env}, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-4000:]
    enter(monkeypatch, s3.env)
    expected = {f"view_{turn}_{process}" for turn in range(ROUNDS) for process in range(PROCESSES)}
    assert view_names(open_s3_registry(uri)) == expected


@pytest.mark.parametrize("fault", ["drop_request", "drop_reply", "error_500", "slow_down"])
def test_a_write_that_the_network_fails_is_carried_out_once(
    fault: Fault, proxied_s3: S3Bucket, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(monkeypatch, proxied_s3.env)
    uri = f"{proxied_s3.uri}feast/local/registry.pb"
    writer = open_s3_registry(uri)
    apply(writer, contract("users"))
    fault_proxy.inject(fault, method="PUT", key="registry.pb")
    apply(writer, contract("orders"))
    reader = open_s3_registry(uri)
    assert view_names(reader) == {"users", "orders"}
    assert [item["version"] for item in reader.list_feature_view_versions("orders")] == ["v0"]


@pytest.mark.parametrize("fault", ["truncate", "flip_bit", "drop_reply"])
def test_a_read_that_the_network_damages_is_never_believed(
    fault: Fault, proxied_s3: S3Bucket, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(monkeypatch, proxied_s3.env)
    uri = f"{proxied_s3.uri}feast/local/registry.pb"
    apply(open_s3_registry(uri), contract("users"))
    before = proxied_s3.endpoint.store.get(uri)
    fault_proxy.inject(fault, method="GET", key="registry.pb")
    with suppress(StorageError):  # read again, or refused as damaged; which of them is the adapter's choice
        assert view_names(open_s3_registry(uri)) == {"users"}
    fault_proxy.heal()
    assert proxied_s3.endpoint.store.get(uri) == before


@pytest.mark.timeout(60)
def test_readers_go_on_while_the_store_is_silent(proxied_s3: S3Bucket, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, proxied_s3.env)
    reader = open_s3_registry(f"{proxied_s3.uri}feast/local/registry.pb")
    apply(reader, contract("users"))
    fault_proxy.inject("late_reply", method="GET", key="registry.pb", times=None, delay_s=300)
    assert view_names(reader) == {"users"}
