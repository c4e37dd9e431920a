"""Logged answers over many versions, and how fast they are proven; everything in this process but Redis."""

import random
import time
from typing import Any

from feature_platform.adapters.feature_set_store.feature_sets import ObjectFeatureSetStore
from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.server.app import ServerApp
from feature_platform.server.metrics import Counts
from feature_platform.server.prove import Prover
from feature_platform.server.response_log import ResponseLog
from feature_platform.use_cases.serve import published_head
from tests.server.conftest import NoFeast, feature_server, open_stores, parts_of
from tests.support.asgi import AsgiClient
from tests.support.shipped_features import FEATURE_SET, publish_users, shipped_contract, today, user_rows
from tests.support.valkey_server import valkey_server

BASE, PROJECT = "s3://bucket/features", "feature_store_local"
ENTITIES = 1_000
FEATURES = [f"{FEATURE_SET}:{column.name}" for column in shipped_contract().feature_columns]


def proof_figure(*, rows: int, versions: int, users: int) -> dict[str, Any]:
    """Rows proven per second, of a log of at least ``rows`` rows over ``versions`` promotes and rollbacks.

    Raises:
        AssertionError: A row could not be proven.
    """
    objects, counts = MemoryObjectStore(), Counts()
    files: dict[str, bytes] = {}
    published: list[str] = []
    feature_sets = ObjectFeatureSetStore(objects, feature_base=BASE)
    with valkey_server() as valkey:
        open_stores(objects, valkey, (shipped_contract(),))
        log = ResponseLog(files.__setitem__, rate=1.0, counts=counts)
        server = feature_server(objects, valkey, NoFeast(), log=log, counts=counts)
        with AsgiClient(ServerApp(lambda: parts_of(server))) as client:
            chosen = random.Random(5)
            for turn in range(versions):
                if turn % 4 == 3:
                    feature_sets.rollback(FEATURE_SET, chosen.choice(published), actor="benchmark", reason="benchmark")
                else:
                    table = user_rows(range(1, users + 1), as_of=today(), shift=turn)
                    published.append(publish_users(objects, BASE, table, as_of=today(), rollback=turn > 3))
                with published_head(feature_sets, FEATURE_SET, project=PROJECT) as head:
                    RedisOnlineStore(valkey.connection_string).load(head.load)
                for _ in range(-(-rows // (versions * ENTITIES))):
                    ids = chosen.sample(range(1, users + users // 50), ENTITIES)
                    answer = client.post("/get-online-features", {"features": FEATURES, "entities": {"user_id": ids}})
                    assert answer.status == 200, answer.body
    begun_s = time.perf_counter()
    report = Prover(feature_sets).prove(iter(files.items()))
    took_s = time.perf_counter() - begun_s
    assert report.is_whole, report.faults[:3]
    total = report.rows["proven"]
    name = f"{total:,} logged rows over {versions} promotes and rollbacks proven, all of them"
    return {"name": name, "ours": round(total / took_s), "unit": "rows/s", "errors": 0}
