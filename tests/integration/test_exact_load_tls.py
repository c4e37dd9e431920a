"""A load through TLS with a user and a password, as a managed Redis wants it."""

from pathlib import Path

import pytest

from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.errors import StorageError
from tests.support.online import AS_OF_US, Publications, users
from tests.support.tls_proxy import tls_proxy
from tests.support.valkey_server import valkey_server

A = "v_20260115T000000"


def test_a_load_through_tls_with_a_password_is_exact(tmp_path: Path) -> None:
    """The raw socket below redis-py's connection is the encrypted one; numbers may be passwords."""
    request = Publications().publish(A, users(range(20_000)))
    with valkey_server() as server, tls_proxy(server.host, server.port, directory=tmp_path) as proxy:
        with server.client() as client:
            client.config_set("requirepass", "20260115")
        options = f"ssl=true,ssl_ca_certs={proxy.certificate},username=default,password=20260115,db=3"
        store = RedisOnlineStore(f"{proxy.host}:{proxy.port},{options}")
        assert store.load(request).rows == 20_000
        assert store.parity(request, limit=2_000, now_us=AS_OF_US).exact


def test_a_server_that_is_not_trusted_is_refused(tmp_path: Path) -> None:
    """Its certificate was signed by nobody we know."""
    request = Publications().publish(A, users(range(10)))
    with (
        valkey_server() as server,
        tls_proxy(server.host, server.port, directory=tmp_path) as proxy,
        pytest.raises(StorageError, match="certificate"),
    ):
        RedisOnlineStore(f"{proxy.host}:{proxy.port},ssl=true").load(request)
