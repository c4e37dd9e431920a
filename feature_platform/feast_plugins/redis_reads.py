"""Many ``HMGET`` commands in one write and one read loop, in bounded time, on a pooled redis-py connection.

redis-py makes the connection: address, TLS, authentication, database. Its per-command packing and parsing cost more than the server's
work, so the bytes go straight to the socket and hiredis parses them. What the commands mean does not belong here (``read_plan``).
"""

import time
from typing import Any, Final

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

DEADLINE_S: Final = 1.0
"""Seconds for all replies of one request together, in addition to the timeout of each packet."""

_CHUNK_BYTES: Final = 1 << 16


def fetch(client: Any, commands: list[bytes]) -> list[list[bytes | None]]:
    """The reply to each command, in order.

    A connection that the server had closed is replaced once; a timeout is not repeated.

    Raises:
        redis.exceptions.TimeoutError: No answer within the connection's timeouts or :data:`DEADLINE_S`.
        redis.exceptions.ConnectionError: The server cannot be reached.
        redis.exceptions.ResponseError: The server refused a command.
    """
    payload, pool = b"".join(commands), client.connection_pool
    try:
        return _exchange(pool, payload, len(commands))
    except RedisConnectionError:
        # A pooled connection may have been closed while it was idle, which shows only now. Reads can be repeated. After a timeout the
        # server is not asked again, because the reader has waited once already.
        return _exchange(pool, payload, len(commands))


def _exchange(pool: Any, payload: bytes, count: int) -> list[Any]:
    connection = pool.get_connection()
    # A connection whose replies were not all read would hand them to the next request: it is dropped unless it was read to the end.
    whole = False
    try:
        replies = _replies(connection, payload, count)
        whole = True
    except TimeoutError as error:
        raise RedisTimeoutError(f"Redis at {_address(connection)} did not answer {count} reads in time.") from error
    except OSError as error:
        raise RedisConnectionError(f"Redis at {_address(connection)} broke the connection: {error}.") from error
    finally:
        if not whole:
            connection.disconnect()
        pool.release(connection)
    for reply in replies:
        if type(reply) is not list:
            raise ResponseError(f"Redis at {_address(connection)} refused a read: {reply}.")
    return replies


def _replies(connection: Any, payload: bytes, count: int) -> list[Any]:
    socket = connection._sock
    socket.sendall(payload)
    deadline_s = time.monotonic() + DEADLINE_S
    reader = hiredis.Reader()
    replies: list[Any] = []
    append, gets = replies.append, reader.gets
    while len(replies) < count:
        data = socket.recv(_CHUNK_BYTES)
        if not data:
            raise ConnectionResetError("closed by the server")
        reader.feed(data)
        while (reply := gets()) is not False:
            append(reply)
        if time.monotonic() > deadline_s and len(replies) < count:
            raise TimeoutError
    return replies


def _address(connection: Any) -> str:
    return f"{getattr(connection, 'host', '?')}:{getattr(connection, 'port', '?')}"
