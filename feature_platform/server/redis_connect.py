"""Addresses → functions that make one connection: to a server, or to the primary that Sentinels name at that moment.

redis-py does it: users, databases, TLS. What goes over a connection does not belong here (``redis_link``).
"""

from typing import Any, Final

from feature_platform.adapters.online_store.redis_connection import RedisAddress
from feature_platform.errors import ConfigurationError
from feature_platform.server.redis_link import Connect

CONNECT_S: Final = 1.0
_OURS: Final = frozenset({"socket_timeout", "socket_connect_timeout"})
"""Options that are not passed on, because requests have deadlines of their own."""


def connector(address: RedisAddress, node: tuple[str, int] | None = None) -> Connect:
    """A function that connects to a node of an address, the first where none is named; to the current primary where there are Sentinels.

    A Sentinel that demotes a primary closes its clients' connections, so the next one goes to the new primary.

    Raises:
        ConfigurationError: An option is unknown.
    """
    pool_of(address, node or address.nodes[0])
    if address.sentinel_master:
        return lambda: _to_primary(address)
    host, port = node or address.nodes[0]
    return lambda: _connected(address, (host, port))


def pool_of(address: RedisAddress, node: tuple[str, int]) -> Any:
    """redis-py's pool for a node, which is used for nothing but making connections.

    Raises:
        ConfigurationError: An option is unknown.
    """
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    given = {name: value for name, value in address.options.items() if name not in _OURS}
    try:
        client = Redis(host=node[0], port=node[1], **given, protocol=2, retry=Retry(NoBackoff(), 0), socket_connect_timeout=CONNECT_S)
        pool: Any = client.connection_pool
        pool.make_connection()
    except TypeError as error:
        raise ConfigurationError("The Redis connection string has an unknown option.", [str(error)]) from error
    return pool


async def _connected(address: RedisAddress, node: tuple[str, int]) -> Any:
    connection = pool_of(address, node).make_connection()
    try:
        await connection.connect()
    except BaseException:  # cancelled as well: an open socket must not wait for the collector
        await connection.disconnect(nowait=True)
        raise
    return connection


async def _to_primary(address: RedisAddress) -> Any:
    from redis.asyncio.sentinel import Sentinel

    bounds = {"socket_timeout": CONNECT_S, "socket_connect_timeout": CONNECT_S}
    sentinel: Any = Sentinel(address.nodes, sentinel_kwargs=bounds)  # type: ignore[no-untyped-call]
    try:
        host, port = await sentinel.discover_master(address.sentinel_master)
    finally:
        for client in sentinel.sentinels:
            await client.aclose()
    return await _connected(address, (str(host), int(port)))
