"""Answers under promotes, corrections and rollbacks: never stale, never mixed, with the row cache on; and all of them proven afterwards."""

import asyncio
import io
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from feature_platform.adapters.feature_set_store.feature_sets import ObjectFeatureSetStore
from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.server.app import ServerApp
from feature_platform.server.metrics import CACHE_HITS, Counts
from feature_platform.server.prove import Prover
from feature_platform.server.response_log import ResponseLog
from feature_platform.use_cases.serve import published_head
from tests.faults.figures import record_figure
from tests.server.conftest import NoFeast, feature_server, open_stores, parts_of
from tests.support.asgi import AsgiClient
from tests.support.shipped_features import FEATURE_SET, publish_users, shipped_contract, today, user_rows
from tests.support.valkey_server import ValkeyServer, valkey_server

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.slow,
]

FULL = os.environ.get("FAULTS") == "full"
MOVES = 100 if FULL else 6
USERS = range(2, 4_002 if FULL else 802)
POLLERS = 4
BASE, PROJECT, PATH = "s3://bucket/features", "feature_store_local", "/get-online-features"
FEATURES = [f"{FEATURE_SET}:{name}" for name in ("f_total_events_7d", "f_last_country", "f_purchases_1d")]


@dataclass
class Campaign:
    """Versions that move, pollers that check, and what they saw."""

    objects: MemoryObjectStore
    valkey: ValkeyServer
    client: AsgiClient
    shifts: dict[str, int] = field(default_factory=dict)
    finished: int = 0
    """The sequence of the last load that had ended."""
    ended: bool = False
    seen: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    @property
    def feature_sets(self) -> ObjectFeatureSetStore:
        return ObjectFeatureSetStore(self.objects, feature_base=BASE)

    def move(self, turn: int) -> None:
        """A promote, a correction or a rollback, then its load."""
        if turn % 5 == 4:
            versions = sorted(self.shifts)
            self.feature_sets.rollback(FEATURE_SET, versions[turn % len(versions)], actor="test", reason="test")
        else:
            version = publish_users(self.objects, BASE, user_rows(USERS, as_of=today(), shift=turn), as_of=today(), rollback=turn > 4)
            self.shifts[version] = turn
        with published_head(self.feature_sets, FEATURE_SET, project=PROJECT) as head:
            RedisOnlineStore(self.valkey.connection_string).load(head.load)
            self.finished = head.load.sequence

    async def poll(self, seed: int) -> None:
        """Ask for skewed users until the moves have ended; every answer is checked."""
        chosen = random.Random(seed)
        while not self.ended:
            ids = [USERS[min(int(chosen.paretovariate(0.6)), len(USERS)) - 1] for _ in range(30)]
            known = self.finished
            body = f'{{"features": {FEATURES}, "entities": {{"user_id": {ids}}}}}'.replace("'", '"').encode()
            answer = await self.client.request("POST", PATH, body)
            if answer.status != 200:
                self.violations.append(f"status {answer.status}: {answer.body[:200]!r}")
                continue
            self._check(answer.headers["feature-version"], ids, answer.document, known=known)

    def _check(self, said: str, ids: list[int], document: Any, *, known: int) -> None:
        parts = dict(item.split("=", 1) for item in said.split(";")[1:])
        allowed = [parts["version"]] if parts["state"] == "online" else parts["versions"].strip('"').split(" ")
        self.seen[parts["state"]] += 1
        if parts["state"] == "online" and int(parts["sequence"]) < known:
            self.violations.append(f"stale: {said}, although record {known} was online before")
        columns = {name: item["values"] for name, item in zip(document["metadata"]["feature_names"], document["results"], strict=True)}
        for place, user in enumerate(ids):
            row = tuple(columns[name.partition(":")[2]][place] for name in FEATURES)
            if row not in {_row(user, self.shifts[version]) for version in allowed if version in self.shifts}:
                self.violations.append(f"mixed: {said}, user {user} has {row}")


def _row(user: int, shift: int) -> tuple[Any, ...]:
    count: Any = None if user % 5 == 0 else user * 3 + shift
    if user == USERS[0]:
        count = 2**60 + 1
    return (count, None if user % 4 == 0 else f"Österreich {user + shift}", (user + shift) % 11)


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with valkey_server() as server:
        yield server


@pytest.mark.timeout(0 if FULL else 300)
def test_no_answer_is_stale_or_mixed_and_every_one_is_proven(valkey: ValkeyServer) -> None:
    objects, files, counts = MemoryObjectStore(), {}, Counts()
    open_stores(objects, valkey, (shipped_contract(),))
    log = ResponseLog(files.__setitem__, rate=1.0, counts=counts)
    server = feature_server(objects, valkey, NoFeast(), cache_bytes=1 << 22, counts=counts, log=log)
    with AsgiClient(ServerApp(lambda: parts_of(server))) as client:
        campaign = Campaign(objects, valkey, client)
        campaign.move(0)

        async def moves() -> None:
            for turn in range(1, MOVES + 1):
                await asyncio.to_thread(campaign.move, turn)
            campaign.ended = True

        async def all_together() -> None:
            await asyncio.gather(moves(), *(campaign.poll(seed) for seed in range(POLLERS)))

        client.run(all_together())
    report = Prover(campaign.feature_sets).prove(iter(files.items()))
    rows = sum(pq_rows(body) for body in files.values())
    record_figure("answers while versions move, checked by pollers", tried=campaign.seen.total(), violations=len(campaign.violations))
    record_figure("rows of logged answers, proven", tried=rows, violations=report.rows.total() - report.rows["proven"])
    assert campaign.violations == []
    assert campaign.seen["online"] > 0
    assert campaign.seen["loading"] > 0
    assert counts.value(CACHE_HITS, FEATURE_SET) > 0
    assert (report.faults, report.rows["proven"]) == ([], rows)


def pq_rows(body: bytes) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(io.BytesIO(body)).num_rows)
