"""The serving benchmark's parts, small: they run, and what they measure is what they say. The whole needs wrk and an idle machine."""

import pytest

from tests.benchmarks.bench_serve import PROJECT, VERSION, show, users
from tests.benchmarks.online_reads import CONTRACT
from tests.benchmarks.proving import proof_figure
from tests.benchmarks.serving_load import bare_server, bodies, paced, raw_rate
from tests.server.conftest import NoFeast, feature_server, open_stores, parts_of
from tests.support.http_server import serving_http
from tests.support.online import Publications
from tests.support.valkey_server import valkey_server

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


def test_a_paced_load_is_answered_and_a_bare_socket_is_faster() -> None:
    from feature_platform.adapters.object_store.memory import MemoryObjectStore
    from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
    from feature_platform.server.app import ServerApp

    objects = MemoryObjectStore()
    with valkey_server() as valkey:
        open_stores(objects, valkey, (CONTRACT,))
        RedisOnlineStore(valkey.connection_string).load(Publications(contract=CONTRACT, project=PROJECT).publish(VERSION, users(1_000)))
        with serving_http(ServerApp(lambda: parts_of(feature_server(objects, valkey, NoFeast())))) as port:
            load = paced(port, bodies(10, users=1_000, zipf=0.99)[:50], rate=40, seconds=1)
        with bare_server(answer_bytes=2_000) as port:
            bare = paced(port, bodies(10, users=1_000)[:50], rate=40, seconds=1)
        raw = raw_rate(valkey.host, valkey.port, 10, project=PROJECT, users=1_000, seconds=0.2)
    assert (load.errors, load.rate > 0, load.p99_ms >= load.p50_ms) == (0, True, True)
    assert (bare.errors, raw > load.rate) == (0, True)
    assert show([{"name": "x", "ours": 1, "unit": "requests/s"}]).row_count == 1


def test_a_log_over_promotes_and_rollbacks_is_proven() -> None:
    figure = proof_figure(rows=8_000, versions=8, users=2_000)
    assert figure["name"].startswith("8,000 logged rows over 8")
