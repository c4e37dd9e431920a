"""Sends framed rows to a Redis server, pipelined; every chunk is applied only while its load still holds the fence.

Two kinds of chunk, chosen by measurement. On a single server a chunk is a transaction: ``WATCH fence`` and ``GET fence`` travel behind the
previous chunk, so that their answer is there when the next one is ready; ``EXEC`` then applies all or nothing. A transaction may not span
slots of a Redis Cluster, so there a chunk is a script that checks the fence and issues the commands, at about 60% of the speed of a node.

A channel has one chunk under way; several channels in turn keep the server busy. Encoding does not belong here, nor who may hold the
fence (``adapters.online_store.redis_lease``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final, Protocol

import hiredis
import numpy as np
import pyarrow as pa
from redis.connection import AbstractConnection

from feature_platform.adapters.online_store.redis_connection import RedisNode, RedisTopology, redis_errors, server_error
from feature_platform.core.online.commands import Frames, Framing
from feature_platform.core.online.resp import bulk, command
from feature_platform.errors import ConflictError, FeaturePlatformError, StorageError

CHUNK_ROWS: Final = 250
"""Rows applied at once, chosen by measurement: with 400 a row costs the server 10% more, because they no longer fit its CPU caches, and
readers wait longer; with fewer than 150 the server idles between chunks. A chunk of 250 is applied in 0.5 ms."""

CHUNK_BYTES: Final = 1 << 20
"""Wide rows go in smaller chunks: the server holds a whole chunk in memory before it applies it."""

CHANNELS: Final = 2
"""Connections per server, which reads 16 kB of each in turn. Measured: a row costs the server 1.9 µs with two, as without any fence, and
2.2 to 2.6 µs with three or four, because the chunks under way no longer fit its CPU caches."""

_RECEIVE_BYTES: Final = 1 << 18
_RECEIVE_S: Final = 0.4
_SIGNS_OF_LIFE: Final = 50
_SEND_S: Final = 5.0
"""A chunk fits the kernel's buffers, so sending waits for nobody unless those are full."""

_SCRIPT: Final = b"""
local fence = redis.call('GET', KEYS[1])
if fence ~= ARGV[1] then return redis.error_reply('FENCED') end
local i, n, call = 2, #ARGV, redis.call
while i <= n do
  local last = i + tonumber(ARGV[i])
  call(unpack(ARGV, i + 1, last))
  i = last + 1
end
return 1
"""


@dataclass(frozen=True, slots=True)
class Fence:
    """The key that holds the newest load's token on one node, and the token of this load."""

    key: bytes
    token: bytes


class Channel(Protocol):
    """One connection with at most one chunk under way."""

    def send(self, rows: bytes, *, count: int, commands: int, arguments: int) -> None:
        """Wait for the chunk before, then send ``count`` rows."""

    def settle(self) -> None:
        """Wait until the chunk under way is applied.

        Raises:
            ConflictError: Another load holds the fence, or the server lost it; nothing of the chunk was applied.
            StorageError: The server failed; the chunk may or may not have been applied.
        """

    def close(self) -> None:
        """Drop the connection."""


class _Socket:
    """The raw socket below a redis-py connection, which has authenticated on it and chosen the database.

    A busy server is waited for, an unreachable one is not: a ``PING`` on another connection tells them apart.
    """

    def __init__(self, node: RedisNode) -> None:
        self.address = node.address
        self._node = node
        pool = node.client.connection_pool
        self._connection: AbstractConnection = pool.connection_class(**pool.connection_kwargs)
        with redis_errors(self.address):
            self._connection.connect()
        # redis-py has no public way to read raw replies, and its parser costs more per reply than the server does per command.
        self._socket = self._connection._sock

    def send(self, data: bytes) -> None:
        with redis_errors(self.address):
            self._socket.settimeout(_SEND_S)
            self._socket.sendall(data)

    def receive(self) -> bytes:
        with redis_errors(self.address):
            data = self._patiently()
        if not data:
            raise StorageError(f"Redis at {self.address} closed the connection in the middle of a load; it restarted or shed clients.")
        return data

    def _patiently(self) -> bytes:
        self._socket.settimeout(_RECEIVE_S)
        for _ in range(_SIGNS_OF_LIFE):
            try:
                return bytes(self._socket.recv(_RECEIVE_BYTES))
            except TimeoutError:
                self._node.client.ping()
        raise StorageError(
            f"Redis at {self.address} is alive but did not apply a chunk in {_RECEIVE_S * _SIGNS_OF_LIFE:.0f} s. Load again."
        )

    def close(self) -> None:
        self._connection.disconnect()  # type: ignore[no-untyped-call]


class TransactionChannel:
    """Chunks as ``WATCH`` / ``MULTI`` / ``EXEC`` transactions, for a server that owns every slot."""

    framing: Framing = "command"

    def __init__(self, node: RedisNode, fence: Fence) -> None:
        self._socket = _Socket(node)
        self._token = fence.token
        self._watch = command(b"WATCH", fence.key) + command(b"GET", fence.key)
        self._held = b"+OK\r\n" + bulk(fence.token)
        self._open, self._close = command(b"MULTI"), command(b"EXEC") + self._watch
        self._commands: int | None = None
        self._socket.send(self._watch)

    def send(self, rows: bytes, *, count: int, commands: int, arguments: int) -> None:  # noqa: ARG002  scripts need the arguments
        self.settle()
        self._socket.send(b"".join((self._open, rows, self._close)))
        self._commands = count * commands

    def settle(self) -> None:
        if self._commands is None:
            self._expect(self._held, results=0, tail=b"")
        elif self._commands:
            queued = b"+OK\r\n" + b"+QUEUED\r\n" * self._commands + b"*%d\r\n" % self._commands
            self._expect(queued, results=self._commands, tail=self._held)
        self._commands = 0

    def close(self) -> None:
        self._socket.close()

    def _expect(self, head: bytes, *, results: int, tail: bytes) -> None:
        """Read ``head``, then ``results`` integers, then ``tail``; anything else ends the load.

        The answer of a chunk that was applied is known but for its integers, so lines are counted and no reply becomes an object:
        14 µs of processor time a chunk of 250 commands, where ``hiredis.Reader`` takes 36 (docs/adr/0014-redis-replies.md).
        """
        reply, lines = b"", head.count(b"\n") + results + tail.count(b"\n")
        while reply.count(b"\n") < lines:
            reply += self._socket.receive()
            # An error or a null reply has fewer lines than the reply it replaces, so counting on would wait for lines that never come.
            if not head.startswith(reply[: len(head)]) or b"\n-" in reply or reply.endswith(b"$-1\r\n"):
                raise self._refusal(reply)
        body = reply[len(head) : len(reply) - len(tail)]
        if not reply.endswith(tail) or not body.count(b":") == body.count(b"\n") == results:
            raise self._refusal(reply)

    def _refusal(self, reply: bytes) -> FeaturePlatformError:
        """The error that an unexpected answer means; reads on until a whole reply tells it."""
        reader = hiredis.Reader()
        reader.feed(reply)
        while True:
            while (answer := reader.gets()) is False:
                reader.feed(self._socket.receive())
            for item in answer if isinstance(answer, list) else [answer]:
                if isinstance(item, hiredis.ReplyError):
                    return server_error(str(item), self._socket.address)
            # EXEC answers null where the watched fence was written to; GET answers null, or another token, where it is not ours.
            if answer is None or (isinstance(answer, bytes) and answer not in {b"OK", b"QUEUED", self._token}):
                return fence_lost(f"This load on Redis at {self._socket.address}")


class ScriptChannel:
    """Chunks as scripts, for a node of a cluster; the fence's key must be in one of the node's slots."""

    framing: Framing = "argument"

    def __init__(self, node: RedisNode, fence: Fence) -> None:
        self._socket = _Socket(node)
        self._reader = hiredis.Reader()
        self._head = bulk(b"EVAL") + bulk(_SCRIPT) + bulk(b"1") + bulk(fence.key) + bulk(fence.token)
        self._waiting = False

    def send(self, rows: bytes, *, count: int, commands: int, arguments: int) -> None:  # noqa: ARG002  transactions need the commands
        self.settle()
        self._socket.send(b"".join((b"*%d\r\n" % (5 + count * arguments), self._head, rows)))
        self._waiting = True

    def settle(self) -> None:
        if not self._waiting:
            return
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.receive())
        self._waiting = False
        if reply != 1:
            text = str(reply)
            address = self._socket.address
            raise fence_lost(f"This load on Redis at {address}") if "FENCED" in text else server_error(text, address)

    def close(self) -> None:
        self._socket.close()


class Channels:
    """Sends framed rows to the servers that hold their keys.

    Args:
        fences: The fence on each of them, in the same order.
    """

    def __init__(self, topology: RedisTopology, fences: tuple[Fence, ...]) -> None:
        kind = ScriptChannel if topology.clustered else TransactionChannel
        self.framing: Framing = kind.framing
        self._topology = topology
        self._channels: list[list[Channel]] = []
        try:
            for node, fence in zip(topology.nodes, fences, strict=True):
                self._channels.append([])
                self._channels[-1].extend(kind(node, fence) for _ in range(CHANNELS))
        except BaseException:
            self.close()
            raise
        self._turns = [cycle(ring) for ring in self._channels]

    def send(self, frames: Frames) -> None:
        """Send rows; on return all but the last few chunks of each node are applied. Errors are those of :meth:`Channel.settle`."""
        for turn, rows in zip(self._turns, self._routed(frames), strict=True):
            for data, count in _chunks(rows):
                next(turn).send(data, count=count, commands=frames.commands, arguments=frames.arguments)

    def settle(self) -> None:
        """Wait until everything that was sent is applied."""
        for ring in self._channels:
            for channel in ring:
                channel.settle()

    def close(self) -> None:
        for ring in self._channels:
            for channel in ring:
                channel.close()

    def _routed(self, frames: Frames) -> list[pa.Array]:
        if not self._topology.clustered:
            return [frames.rows]
        places = self._topology.places(frames.keys)
        return [frames.rows.take(pa.array(np.flatnonzero(places == index))) for index in range(len(self._topology.nodes))]


def _chunks(rows: pa.Array) -> Iterator[tuple[bytes, int]]:
    """Consecutive rows as one buffer and their number; nothing is copied, since rows lie one after the other in Arrow's buffer."""
    if not len(rows):
        return
    offsets = np.frombuffer(rows.buffers()[1], np.int32)[rows.offset : rows.offset + len(rows) + 1]
    data: Any = memoryview(rows.buffers()[2])
    start = 0
    while start < len(rows):
        fitting = int(np.searchsorted(offsets, offsets[start] + CHUNK_BYTES, side="right")) - 1
        stop = min(max(fitting, start + 1), start + CHUNK_ROWS, len(rows))
        yield data[offsets[start] : offsets[stop]], stop - start
        start = stop


def fence_lost(load: str) -> ConflictError:
    """The error of a load, as messages call it, whose fence another load holds or no server knows."""
    return ConflictError(
        f"{load} lost its fence: a newer load began, or the server was flushed or restarted empty. "
        "Nothing more was written; load the head again: feature-platform online load <feature_set>"
    )
