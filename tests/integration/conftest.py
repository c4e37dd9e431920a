"""An environment on real servers that the tests of one module share: its own bucket, an empty database, its own home."""

from collections.abc import Iterator

import dagster as dg
import pytest

from feature_platform.local.server import EmbeddedServer
from feature_platform.local.services import SHIPPED_CONTRACTS
from feature_platform.settings import variable
from tests.support.services import S3Bucket, S3Endpoint, ValkeyDatabase


@pytest.fixture(scope="module")
def module_bucket(s3_endpoint: S3Endpoint, s3_server: EmbeddedServer) -> Iterator[S3Bucket]:
    """A bucket for one module."""
    if s3_server.record() is None:
        s3_server.start()
    bucket = s3_endpoint.new_bucket()
    yield bucket
    if s3_server.record() is not None:
        bucket.drop()


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
