"""One connection to Redis that every request of a worker shares: commands out as they come, replies back in their order.

redis-py makes the connection (address, TLS, authentication, database); after that the bytes go straight to the transport and hiredis
parses them, since packing and parsing by redis-py cost more than the server's work. What the commands mean does not belong here.

No request waits longer than its deadline. Where a server is silent for that long, its connection is closed, and until it accepts a new one
requests fail at once instead of queueing.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import hiredis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from feature_platform.errors import ConfigurationError, StorageError

CHECK_S: Final = 0.02
"""Seconds between two looks at deadlines: one timer for all requests, because a timer for each costs more than a small read."""

BACKOFF_S: Final = 0.2
"""Seconds for which a server that refused a connection is not asked again."""

Connect = Callable[[], Awaitable[Any]]
"""Makes a ``redis.asyncio`` connection that is connected."""


class DeadlineMissedError(StorageError):
    """Redis did not answer within a request's deadline."""


class _Batch:
    """Commands under way: how many replies are still to come, and those that came."""

    __slots__ = ("count", "expires_s", "future", "replies")

    def __init__(self, count: int, future: "asyncio.Future[list[Any]]", expires_s: float) -> None:
        self.count, self.future, self.expires_s = count, future, expires_s
        self.replies: list[Any] = []


class _Protocol(asyncio.Protocol):
    """The parser of one connection; ``lost`` is called when it ends."""

    def __init__(self, lost: Callable[["_Protocol"], None], writer: Any) -> None:
        self.pending: deque[_Batch] = deque()
        self.heard_s = time.monotonic()
        self.transport = writer.transport
        self.transport.set_protocol(self)
        self._writer = writer
        self._reader = hiredis.Reader()
        self._lost = lost
        self._out: list[bytes] = []

    def send(self, payload: bytes, batch: _Batch) -> None:
        """Send together with everything else of this turn of the event loop, since one system call costs more than a small read."""
        self.pending.append(batch)
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(payload)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if not self.transport.is_closing():  # where it is, `connection_lost` fails the requests that wait
            self.transport.write(b"".join(out))

    def data_received(self, data: bytes) -> None:
        self.heard_s = time.monotonic()
        reader, pending = self._reader, self.pending
        reader.feed(data)
        gets = reader.gets
        while pending:
            batch = pending[0]
            replies = batch.replies
            for _ in range(batch.count - len(replies)):
                if (reply := gets()) is False:
                    return
                replies.append(reply)
            pending.popleft()
            if not batch.future.done():
                batch.future.set_result(replies)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._lost(self)


def retrieve(task: "asyncio.Task[Any]") -> None:
    """Read the error of a task that nobody waits for any more; asyncio would log it as never retrieved."""
    if not task.cancelled():
        task.exception()


class RedisLink:
    """A connection that is made when needed and made again when lost.

    Args:
        connect: Makes a new connection.
        address: How messages call the server.
        deadline_s: How long one read may take, connecting included.
    """

    def __init__(self, connect: Connect, *, address: str, deadline_s: float) -> None:
        self._connect, self._address, self.deadline_s = connect, address, deadline_s
        self._protocol: _Protocol | None = None
        self._opening: asyncio.Task[_Protocol] | None = None
        self._refused_s, self._refusal = -BACKOFF_S, ""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Requests that wait for replies."""
        return len(self._protocol.pending) if self._protocol else 0

    async def read(self, payload: bytes, count: int, *, expires_s: float = 0.0) -> list[Any]:
        """Send commands and return their ``count`` replies, in order.

        A connection that ends meanwhile is replaced once: reading twice harms nobody.

        Args:
            expires_s: When it must have happened, by the monotonic clock; after the link's own deadline where left out.

        Raises:
            DeadlineMissedError: The deadline passed.
            StorageError: The server cannot be reached, or it refused a command.
            ConfigurationError: It refuses this user.
        """
        expires_s = expires_s or time.monotonic() + self.deadline_s
        for attempt in (1, 2):
            protocol = self._protocol or await self._open(expires_s)
            future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
            protocol.send(payload, _Batch(count, future, expires_s))
            try:
                return await future
            except ConnectionResetError as error:
                if attempt == 2:
                    raise StorageError(f"Redis at {self._address} closed the connection twice. Try again.") from error
        raise AssertionError

    async def _open(self, expires_s: float) -> _Protocol:
        if self._opening is None:
            if time.monotonic() - self._refused_s < BACKOFF_S:
                raise StorageError(f"Redis at {self._address} cannot be reached: {self._refusal}")
            self._opening = asyncio.create_task(self._opened())
            self._opening.add_done_callback(retrieve)
        try:
            async with asyncio.timeout(expires_s - time.monotonic()):
                return await asyncio.shield(self._opening)
        except TimeoutError as error:
            raise DeadlineMissedError(f"Redis at {self._address} did not accept a connection in time.") from error

    async def _opened(self) -> _Protocol:
        try:
            connection = await self._connect()
        except (AuthenticationError, NoPermissionError) as error:
            self._refused_s, self._refusal = time.monotonic(), str(error)
            raise ConfigurationError(f"Redis at {self._address} refuses this user.", [f"{error}; see docs/serving.md"]) from error
        except (RedisError, OSError) as error:
            self._refused_s, self._refusal = time.monotonic(), str(error)
            raise StorageError(f"Redis at {self._address} cannot be reached: {error}") from error
        finally:
            self._opening = None
        # redis-py has no public way to hand over a connected transport; the pin of redis in pyproject.toml says so. Its own objects lose
        # their references, because their destructors would close it.
        protocol = _Protocol(self._ended, connection._writer)
        connection._reader = connection._writer = None
        self._protocol = protocol
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CHECK_S, self._check)
        return protocol

    def _check(self) -> None:
        """Fail requests that are past their deadline; close the connection where nothing was received for a whole deadline."""
        self._timer = asyncio.get_running_loop().call_later(CHECK_S, self._check) if self._protocol else None
        protocol = self._protocol
        if protocol is None:
            return
        now_s = time.monotonic()
        for batch in protocol.pending:
            if batch.expires_s > now_s:
                break
            if not batch.future.done():
                batch.future.set_exception(DeadlineMissedError(f"Redis at {self._address} did not answer in {self.deadline_s:g} s."))
        if protocol.pending and protocol.pending[0].expires_s < now_s and now_s - protocol.heard_s > self.deadline_s:
            self._refused_s, self._refusal = now_s, "it stopped answering"
            protocol.transport.abort()
            self._ended(protocol)

    def _ended(self, protocol: _Protocol) -> None:
        if self._protocol is protocol:
            self._protocol = None
        pending, protocol.pending = protocol.pending, deque()
        for batch in pending:
            if not batch.future.done():
                batch.future.set_exception(ConnectionResetError())

    async def close(self) -> None:
        """Drop the connection; whoever waits gets an error."""
        if self._timer:
            self._timer.cancel()
        if self._opening:
            self._opening.cancel()
            with contextlib.suppress(asyncio.CancelledError, StorageError, ConfigurationError):
                await self._opening
        if self._protocol:
            self._protocol.transport.abort()
            self._ended(self._protocol)
            await asyncio.sleep(0)  # the loop closes it in its next turn
