"""Who may load a feature view: a lease that one load holds at a time, a fencing token that only grows, and the marker that both guard.

The lease keeps two live loads apart; Redis drops it when its holder stops renewing it. The fence makes that safe: a holder that was only
frozen wakes up with an old token, and no server applies its writes. Sending rows does not belong here
(``adapters.online_store.redis_channel``).
"""

import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

from redis.exceptions import WatchError

from feature_platform.adapters.online_store.redis_channel import Fence, fence_lost
from feature_platform.adapters.online_store.redis_connection import RedisNode, RedisTopology, redis_errors
from feature_platform.core.online.layout import ViewLayout
from feature_platform.core.online.marker import Marker, decode_marker, encode_marker, fence_key, lease_key, marker_key
from feature_platform.core.online.slots import key_slot
from feature_platform.errors import ConflictError, FeaturePlatformError

LEASE_S: Final = 15.0
"""Seconds without a renewal after which another load may take over; a load renews three times in this time."""

_log = logging.getLogger(__name__)
_POLL_S: Final = 0.05
_MICROS: Final = 1_000_000

# For the other nodes of a cluster: a transaction cannot span nodes, so there the comparison and the write are one script. Only upwards:
# a load that was frozen between its lease and this call must not lower a newer load's fence.
_RAISE_FENCE: Final = """
local held = redis.call('GET', KEYS[1])
if held and tonumber(string.match(held, '^%d+')) > tonumber(string.match(ARGV[1], '^%d+')) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""


@dataclass(frozen=True, slots=True)
class _Keys:
    lease: bytes
    fence: bytes
    marker: bytes


class Lease:
    """The right to load one view, while it lasts. Use as made by :func:`hold_lease`."""

    def __init__(self, topology: RedisTopology, layout: ViewLayout, *, lease_s: float) -> None:
        self._topology = topology
        self._view = f"{layout.project}:{layout.view}"
        self._keys = _Keys(*(make(layout.project, layout.view) for make in (lease_key, fence_key, marker_key)))
        self._home = topology.place(self._keys.fence)
        self._lease_ms = int(lease_s * 1000)
        self._renewed_at_s = 0.0
        self.token = b""

    @property
    def fences(self) -> tuple[Fence, ...]:
        return tuple(Fence(self._fence_on(node), self.token) for node in self._topology.nodes)

    def marker(self) -> Marker | None:
        return read_marker(self._home, self._keys.marker)

    def now(self) -> str:
        """The server's clock, ISO 8601, UTC, to the second."""
        return datetime.fromtimestamp(self._now_us() // _MICROS, UTC).isoformat()

    def now_ms(self) -> int:
        """The server's clock, Unix time."""
        return self._now_us() // 1000

    def write_marker(self, marker: Marker) -> None:
        """Write the marker, if this load still holds the fence.

        Raises:
            ConflictError: It does not.
        """
        self._guarded(("SET", self._keys.marker, encode_marker(marker)))

    def finish(self, marker: Marker) -> None:
        """Write the last marker and give the lease back, in one step."""
        self._guarded(("SET", self._keys.marker, encode_marker(marker)), ("DEL", self._keys.lease))

    def renew(self) -> None:
        """Extend the lease where a third of it has passed.

        Raises:
            ConflictError: Another load has taken over.
        """
        if (time.monotonic() - self._renewed_at_s) * 3000 >= self._lease_ms:
            self._guarded(("SET", self._keys.lease, self.token, "PX", self._lease_ms))
            self._renewed_at_s = time.monotonic()

    def acquire(self, *, wait_s: float) -> None:
        """Take the lease, waiting for the load that holds it to finish or to stop renewing it, and raise the fence on every node.

        Raises:
            ConflictError: Another load held the lease for ``wait_s`` seconds.
        """
        deadline_s, is_announced = time.monotonic() + wait_s, False
        while not self._take():
            if not is_announced:
                _log.warning(
                    "Another load of %s is running; this one waits for its end, up to %.0f s.",
                    self._view,
                    wait_s,
                    extra={"feature_set": self._view},
                )
                is_announced = True
            if time.monotonic() >= deadline_s:
                raise ConflictError(
                    f"Another load of {self._view} is running (lease {self._keys.lease.decode()}). It ends by itself, or "
                    f"{self._lease_ms / 1000:.0f} s after it fell silent; then load again."
                )
            time.sleep(_POLL_S)
        self._renewed_at_s = time.monotonic()
        for node, fence in zip(self._topology.nodes, self.fences, strict=True):
            if node is not self._home and not self._raise(node, fence):
                raise fence_lost(f"This load of {self._view}")

    def release(self) -> None:
        """Give the lease back where this load still holds it; a load that failed must not keep the next one waiting."""
        with suppress(FeaturePlatformError):
            self._guarded(("DEL", self._keys.lease))

    def _take(self) -> bool:
        with redis_errors(self._home.address), self._home.client.pipeline(transaction=True) as pipe:
            now_us = self._now_us()
            # WATCH before GET: where another load takes the lease between GET and EXEC, EXEC fails instead of overwriting it.
            pipe.watch(self._keys.lease, self._keys.fence)
            if pipe.get(self._keys.lease) is not None:
                return False
            held: Any = pipe.get(self._keys.fence)
            # The server's clock keeps tokens rising even where a flush removed the last one.
            number = max(now_us, int(held.split(b":")[0]) + 1 if held else 0)
            self.token = f"{number}:{uuid.uuid4().hex}".encode()
            pipe.multi()
            pipe.set(self._keys.lease, self.token, px=self._lease_ms)
            pipe.set(self._keys.fence, self.token)
            try:
                pipe.execute()
            except WatchError:
                return False
        return True

    def _raise(self, node: RedisNode, fence: Fence) -> bool:
        with redis_errors(node.address):
            return bool(node.client.eval(_RAISE_FENCE, 1, fence.key, fence.token))

    def _guarded(self, *commands: tuple[Any, ...]) -> None:
        with redis_errors(self._home.address), self._home.client.pipeline(transaction=True) as pipe:
            pipe.watch(self._keys.fence)
            if pipe.get(self._keys.fence) != self.token:
                raise fence_lost(f"This load of {self._view}")
            pipe.multi()
            for arguments in commands:
                pipe.execute_command(*arguments)
            try:
                pipe.execute()
            except WatchError as error:
                raise fence_lost(f"This load of {self._view}") from error

    def _now_us(self) -> int:
        with redis_errors(self._home.address):
            seconds, micros = self._home.client.time()
        return int(seconds) * _MICROS + int(micros)

    def _fence_on(self, node: RedisNode) -> bytes:
        """The fence's key on a node: the view's own at home, elsewhere one whose hash tag falls into a slot of that node."""
        if node is self._home:
            return self._keys.fence
        # The n-th small number whose slot the node owns; about one in as many tries as there are nodes.
        drawn = ((number, key_slot(f"{number}".encode())) for number in count())
        owned = next(number for number, slot in drawn if any(first <= slot <= last for first, last in node.slots))
        return f"feature_platform:{{{owned}}}:fence:{self._view}".encode()


@contextmanager
def hold_lease(topology: RedisTopology, layout: ViewLayout, *, lease_s: float = LEASE_S, wait_s: float | None = None) -> Iterator[Lease]:
    """Hold the lease of a view; both times are those of :class:`RedisOnlineStore`.

    Raises:
        ConflictError: Another load is running and stays alive.
    """
    lease = Lease(topology, layout, lease_s=lease_s)
    try:
        lease.acquire(wait_s=lease_s + 1 if wait_s is None else wait_s)
        yield lease
    finally:
        lease.release()


def read_marker(node: RedisNode, key: bytes) -> Marker | None:
    """The marker under a key; None where there is none."""
    with redis_errors(node.address):
        raw: Any = node.client.get(key)
    return None if raw is None else decode_marker(raw)


def doubt_marker(node: RedisNode, key: bytes, *, version: str) -> None:
    """Make the next load write every row: remove the basis from the marker, if ``version`` is still online and the account may write."""
    with suppress(FeaturePlatformError), redis_errors(node.address), node.client.pipeline(transaction=True) as pipe:
        pipe.watch(key)
        raw: Any = pipe.get(key)
        marker = decode_marker(raw) if raw else None
        if marker is None or marker.state != "online" or marker.basis is None or marker.target.version != version:
            return
        pipe.multi()
        pipe.set(key, encode_marker(replace(marker, basis=None)))
        with suppress(WatchError):  # a load began meanwhile
            pipe.execute()
