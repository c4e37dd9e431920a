"""Servers for every test that wants real ones: one pair for each test process, started when first asked for, ended with it.

A test gets an empty bucket and an empty database; nothing here depends on the order of tests.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import hypothesis
import pytest

from feature_platform.local import processes
from feature_platform.local.seaweedfs import endpoint_url
from feature_platform.local.server import EmbeddedServer
from feature_platform.local.services import SHIPPED_CONTRACTS, LocalServices
from feature_platform.settings import AWS_VARIABLES, PREFIX, variable
from tests.support.fault_proxy import FaultProxy
from tests.support.fault_proxy import fault_proxy as serve_fault_proxy
from tests.support.services import S3Bucket, S3Endpoint, ValkeyDatabase
from tests.support.survivors import adopt_orphans, survivors

# Machines are noisy: no test fails because an example took long.
hypothesis.settings.register_profile("noisy", deadline=None)
hypothesis.settings.load_profile("noisy")

# pyspark, which MLflow imports too where it is installed, takes a main module without a file for a doctest of its own, and ends the
# process; workers of pytest-xdist have such a main module.
_MAIN = sys.modules["__main__"]
if not hasattr(_MAIN, "__file__"):
    _MAIN.__file__ = __file__


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests go first and unit tests last, each in random order: a worker that begins a long file last works on alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, item.path.parent.name == "unit"))


@pytest.fixture(autouse=True, scope="session")
def _no_inherited_settings() -> Iterator[None]:
    """Keep the developer's own AWS account and platform settings out of every test."""
    with pytest.MonkeyPatch.context() as environment:
        for name in list(os.environ):
            if name.startswith(PREFIX) or name in AWS_VARIABLES:
                environment.delenv(name)
        # No AWS client may look for credentials outside: not in files, not on the network.
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        environment.setenv("AWS_CONFIG_FILE", os.devnull)
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        yield


@pytest.fixture(autouse=True, scope="session")
def _nothing_survives() -> Iterator[None]:
    """Fail at the end of a test process that leaves another one behind, or a handle of one that nobody waited for."""
    adopt_orphans()
    yield
    still_held = [handle.pid for handle in processes._outliving]
    assert (survivors(), still_held) == ([], [])


@pytest.fixture(scope="session")
def local_services(_nothing_survives: None) -> Iterator[LocalServices]:
    """The servers of this test process, none of them started; they end before the look for survivors, even if it is killed."""
    with tempfile.TemporaryDirectory(prefix="feature-platform-", ignore_cleanup_errors=True) as home:
        services = LocalServices(Path(home), detached=False)
        yield services
        services.down()


@pytest.fixture(scope="session")
def s3_server(local_services: LocalServices) -> EmbeddedServer:
    """The running S3 server; a test may stop, kill and start it."""
    local_services.s3.start()
    return local_services.s3


@pytest.fixture(scope="session")
def valkey_server(local_services: LocalServices) -> EmbeddedServer:
    """The running Redis-compatible server; a test may stop, kill and start it."""
    local_services.redis.start()
    return local_services.redis


@pytest.fixture(scope="session")
def s3_endpoint(local_services: LocalServices, s3_server: EmbeddedServer) -> S3Endpoint:
    """The S3 server as its clients see it."""
    credentials = local_services.s3_program.credentials
    return S3Endpoint(endpoint_url(s3_server.port), credentials.access_key_id, credentials.secret_access_key)


def _empty_bucket(s3_endpoint: S3Endpoint, s3_server: EmbeddedServer) -> Iterator[S3Bucket]:
    if s3_server.record() is None:
        s3_server.start()
    bucket = s3_endpoint.new_bucket()
    yield bucket
    if s3_server.record() is not None:
        bucket.drop()


@pytest.fixture
def s3(s3_endpoint: S3Endpoint, s3_server: EmbeddedServer) -> Iterator[S3Bucket]:
    """An empty bucket of a real S3 server: ``uri``, ``store``, ``client``, ``env``, ``endpoint``."""
    yield from _empty_bucket(s3_endpoint, s3_server)


@pytest.fixture
def valkey(valkey_server: EmbeddedServer) -> ValkeyDatabase:
    """An empty Redis-compatible server: ``host``, ``port``, ``connection_string``, ``client``."""
    if valkey_server.record() is None:
        valkey_server.start()
    database = ValkeyDatabase.of(valkey_server)
    database.empty()
    return database


@pytest.fixture
def local_env(s3: S3Bucket, valkey: ValkeyDatabase, tmp_path: Path) -> dict[str, str]:
    """Every variable that points the platform, Feast and AWS clients at this test's bucket and database. Not set in this process."""
    platform = {
        "env": "local",
        "raw_uri": s3.uri + "raw",
        "work_uri": s3.uri + "work",
        "feature_base": s3.uri + "features",
        "registry_uri": s3.uri + "feast",
        "redis": valkey.connection_string,
        "contracts_dir": str(SHIPPED_CONTRACTS),
        "start_date": "2026-01-01",
        "home": str(tmp_path / "home"),
    }
    return {variable(field): value for field, value in platform.items()} | s3.env


@pytest.fixture
def fault_proxy(s3_endpoint: S3Endpoint) -> Iterator[FaultProxy]:
    """A proxy in front of the S3 server that loses, delays, refuses and damages what passes, by rule."""
    with serve_fault_proxy(s3_endpoint.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def proxied_s3(s3: S3Bucket, fault_proxy: FaultProxy) -> S3Bucket:
    """The bucket of ``s3`` as seen through ``fault_proxy``."""
    return replace(s3, endpoint=replace(s3.endpoint, endpoint_url=fault_proxy.url))


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """The S3 client of this process tries again at once: what it tries again is under test, not the seconds that botocore waits before."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)


@pytest.fixture(scope="module")
def module_bucket(s3_endpoint: S3Endpoint, s3_server: EmbeddedServer) -> Iterator[S3Bucket]:
    """A bucket for one module."""
    yield from _empty_bucket(s3_endpoint, s3_server)


@pytest.fixture(scope="module")
def module_env(
    module_bucket: S3Bucket, valkey_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Every variable of that environment, set in this process while the module runs."""
    if valkey_server.record() is None:
        valkey_server.start()
    database = ValkeyDatabase.of(valkey_server)
    database.empty()
    uris = {"raw_uri": "raw", "work_uri": "work", "feature_base": "features", "registry_uri": "feast"}
    platform = {
        "env": "local",
        **{name: module_bucket.uri + prefix for name, prefix in uris.items()},
        "redis": database.connection_string,
        "contracts_dir": str(SHIPPED_CONTRACTS),
        "start_date": "2026-01-01",
        "home": str(tmp_path_factory.mktemp("home")),
    }
    environment = {variable(field): value for field, value in platform.items()} | module_bucket.env
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


@pytest.fixture(scope="module")
def module_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance that forgets."""
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path_factory.mktemp("instance"))) as ephemeral:
        yield ephemeral
