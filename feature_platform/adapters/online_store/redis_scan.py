"""Reads what Redis holds: every entity of a view by a scan of the keyspace, and the stored bytes of given entities.

Used where it is not known what Redis holds (after a flush, for a repair) and to compare. Writing does not belong here.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import pyarrow as pa

from feature_platform.adapters.online_store.redis_connection import RedisNode, RedisTopology, redis_errors
from feature_platform.core.online.decoding import project_of_key
from feature_platform.core.online.keys import KeyBatch, absent
from feature_platform.core.online.layout import ViewLayout
from feature_platform.core.online.parity import OnlineRows

SCAN_COUNT: Final = 2_000
"""Hashes a SCAN step looks at. Redis serves nobody else during a step, so readers wait that long."""

CANDIDATES: Final = 200_000
"""Keys held at once while they are looked up in the version, about 20 MB."""

READ_ROWS: Final = 1_000
"""Entities per pipeline: bounds what both sides buffer."""

_NONE: Final = pa.array([], pa.binary())


def strays(topology: RedisTopology, layout: ViewLayout, version_keys: Callable[[], Iterator[KeyBatch]]) -> Iterator[tuple[int, pa.Array]]:
    """Redis keys of entities that have this view but are not in the version, found by a scan of every node.

    Yields, after each step of the scan, how many hashes of the project the step saw and which strays are known by now, mostly none: whoever
    holds a lease can renew it meanwhile.

    Args:
        layout: The view. Entities stored under other join keys count as strays too.
        version_keys: Reads the version's keys; called once per :data:`CANDIDATES` keys found.
    """
    waiting: list[bytes] = []
    for node in topology.nodes:
        for scanned, found in _having_view(node, layout):
            waiting += found
            if len(waiting) < CANDIDATES:
                yield scanned, _NONE
            else:
                yield scanned, _not_in(waiting, version_keys)
                waiting = []
    if waiting:
        yield 0, _not_in(waiting, version_keys)


def stored_rows(topology: RedisTopology, layout: ViewLayout, keys: pa.Array) -> OnlineRows:
    """The stored bytes of entities, in their order; a field that is not there is null."""
    replies: list[list[bytes | None]] = []
    names = [layout.timestamp_field, *(name for name, _ in layout.features)]
    for start in range(0, len(keys), READ_ROWS):
        replies += _read(topology, keys.slice(start, READ_ROWS), layout.fields)
    columns = {name: pa.array([reply[place] for reply in replies], pa.binary()) for place, name in enumerate(names)}
    present = columns[layout.timestamp_field].is_valid().to_numpy(zero_copy_only=False)
    return OnlineRows(columns, present)


def _having_view(node: RedisNode, layout: ViewLayout) -> Iterator[tuple[int, list[bytes]]]:
    project, cursor = layout.key_suffix, 0
    with redis_errors(node.address):
        while True:
            cursor, page = node.client.scan(cursor, count=SCAN_COUNT, _type="hash")
            # First the cheap comparison of the ending, then the whole key. Not MATCH, which would read some bytes of a key as a pattern.
            ours = [key for key in page if key.endswith(project) and project_of_key(key) == project]
            yield len(ours), _with_field(node, ours, layout.timestamp_key)
            if cursor == 0:
                return


def _with_field(node: RedisNode, keys: list[bytes], field: bytes) -> list[bytes]:
    if not keys:
        return []
    with node.client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hexists(key, field)
        return [key for key, has in zip(keys, pipe.execute(), strict=True) if has]


def _not_in(keys: list[bytes], version_keys: Callable[[], Iterator[KeyBatch]]) -> pa.Array:
    left = pa.array(keys, pa.binary())
    for batch in version_keys():
        if not len(left):
            break
        left = absent(left, [batch.keys])
    return left


def _read(topology: RedisTopology, keys: pa.Array, fields: tuple[bytes, ...]) -> list[list[bytes | None]]:
    places, values = topology.places(keys), keys.to_pylist()
    replies: list[Any] = [None] * len(values)
    for index, node in enumerate(topology.nodes):
        rows = [row for row, place in enumerate(places) if place == index]
        if not rows:
            continue
        with redis_errors(node.address), node.client.pipeline(transaction=False) as pipe:
            for row in rows:
                pipe.hmget(values[row], fields)
            for row, reply in zip(rows, pipe.execute(), strict=True):
                replies[row] = reply
    return replies
