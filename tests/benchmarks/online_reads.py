"""Online reads through Feast's SDK, ours against Feast's own store, in the same process on the same server, turn by turn.

What is timed is one ``get_online_features`` call with its values taken out (``to_dict``), or with its message taken out (``proto``), which
is what Feast's HTTP server does. Both stores read the same hashes over the same registry; the peer's settings are Feast's best.
"""

import statistics
import time
from collections.abc import Callable
from random import Random
from typing import Any, Final, TypedDict

from tests.support.feast_reading import Readers, open_readers
from tests.support.online import contract_of, table_of
from tests.support.services import ValkeyDatabase

BATCHES: Final = (1, 10, 100, 1000)
CONTRACT: Final = contract_of(
    {"user_id": "int64", "f_count": "int64", "f_mean": "float64", "f_age": "int64"}, name="benchmark_users", ttl="3650d"
)
FEATURES: Final = [f"{CONTRACT.feature_set}:{column.name}" for column in CONTRACT.feature_columns]

Take = Callable[[Any], object]
TAKES: Final[dict[str, Take]] = {"values": lambda response: response.to_dict(), "message": lambda response: response.proto}


class Figure(TypedDict):
    """One row of the benchmark's table."""

    name: str
    ours: float
    peer: float
    ratio: float
    unit: str


def read_figures(valkey: ValkeyDatabase, *, users: int = 50_000, rounds: int = 20, seconds_per_round: float = 0.05) -> list[Figure]:
    """Requests per second by entities per request, ours and Feast's own.

    Args:
        valkey: An empty database.
        users: Entities online.
        rounds: Turns of each store, interleaved; the median counts.
        seconds_per_round: Length of one turn.
    """
    readers = open_readers(valkey, CONTRACT)
    for start in range(0, users, 10_000):
        ids = list(range(start, min(start + 10_000, users)))
        values: dict[str, list[Any]] = {
            "f_count": [user % 1000 for user in ids],
            "f_mean": [user / 7 for user in ids],
            "f_age": [user % 86_400 for user in ids],
        }
        readers.write(CONTRACT, table_of(CONTRACT, {"user_id": ids, **values}))
    return [
        _figure(readers, batch, name, take, users=users, rounds=rounds, seconds=seconds_per_round)
        for name, take in TAKES.items()
        for batch in BATCHES
    ]


def _figure(readers: Readers, batch: int, name: str, take: Take, *, users: int, rounds: int, seconds: float) -> Figure:
    random = Random(batch)
    requests = [{"user_id": [random.randrange(users) for _ in range(batch)]} for _ in range(32)]
    rates: dict[str, list[float]] = {"ours": [], "stock": []}
    for store in (readers.ours, readers.stock):
        _rate(store, requests, take, seconds=seconds)
    for _ in range(rounds):
        rates["ours"].append(_rate(readers.ours, requests, take, seconds=seconds))
        rates["stock"].append(_rate(readers.stock, requests, take, seconds=seconds))
    ours, peer = statistics.median(rates["ours"]), statistics.median(rates["stock"])
    return Figure(
        name=f"SDK read of {batch} entities, as {name}",
        ours=round(ours, 1),
        peer=round(peer, 1),
        ratio=round(ours / peer, 2),
        unit="requests/s",
    )


def _rate(store: Any, requests: list[dict[str, list[int]]], take: Take, *, seconds: float) -> float:
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        take(store.get_online_features(features=FEATURES, entity_rows=requests[count % len(requests)]))
        count += 1
    return count / elapsed
