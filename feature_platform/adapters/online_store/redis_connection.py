"""Feast's connection string → clients of a Redis server or of every node of a Redis Cluster, with bounded waiting and our errors.

redis-py makes the connections (authentication, TLS, database). What is sent over them does not belong here.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    OutOfMemoryError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from feature_platform.core.online.slots import SLOTS, key_slot
from feature_platform.errors import ConfigurationError, FeaturePlatformError, StorageError

if TYPE_CHECKING:
    import numpy as np  # readers do without NumPy and Arrow
    import numpy.typing as npt
    import pyarrow as pa

_BOUNDS: Final = MappingProxyType({"socket_connect_timeout": 0.5, "socket_timeout": 1.0})
"""Seconds a server may take to accept, and to answer, at least: a black-holed one fails in 1.5 s.

Connection strings are written for readers, who wait 0.2 s; a load that gives up on every pause of a busy server would never end.
"""

SENTINEL_OPTION: Final = "sentinel_master"
_CLUSTER_ONLY: Final = frozenset({"skip_full_coverage_check"})
# The caller decides about retries; replies must stay bytes, in RESP2, whose lines `redis_channel` counts.
_OURS: Final = frozenset({"retry", "retry_on_timeout", "retry_on_error", "decode_responses", "protocol"})


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where to connect, and redis-py's own options. The first node is asked for the others where it belongs to a cluster.

    With a ``sentinel_master`` the nodes are Sentinels, which are asked where the primary of that name is.
    """

    nodes: tuple[tuple[str, int], ...]
    options: MappingProxyType[str, Any]
    sentinel_master: str = ""

    def __repr__(self) -> str:
        """The nodes alone: the options may hold a password."""
        return ",".join(f"{host}:{port}" for host, port in self.nodes)


@dataclass(frozen=True, slots=True)
class RedisNode:
    """One server that holds data: a client of it and, in a cluster, the slots it owns (inclusive ranges)."""

    address: str
    client: Any  # redis.Redis; its annotations mix synchronous and asynchronous answers
    slots: tuple[tuple[int, int], ...] = ((0, SLOTS - 1),)

    def info(self, section: str) -> Mapping[str, Any]:
        """A section of INFO, which also those may read who may not read CONFIG: managed servers and careful operators forbid that."""
        with redis_errors(self.address):
            facts: Mapping[str, Any] = self.client.info(section)
            return facts


@dataclass(frozen=True, slots=True)
class RedisTopology:
    """Every server that holds data, at one moment."""

    nodes: tuple[RedisNode, ...]
    clustered: bool

    def place(self, key: bytes) -> RedisNode:
        """The node that holds one key."""
        return self.nodes[0] if not self.clustered else self.nodes[int(self._owners()[key_slot(key)])]

    def places(self, keys: "pa.Array") -> "npt.NDArray[np.int64]":
        """The index of the node that holds each key."""
        import numpy as np

        from feature_platform.core.online.keys import key_slots

        return self._owners()[key_slots(keys)] if self.clustered else np.zeros(len(keys), np.int64)

    def close(self) -> None:
        for node in self.nodes:
            node.client.close()

    def _owners(self) -> "npt.NDArray[np.int64]":
        import numpy as np

        owners = np.zeros(SLOTS, np.int64)
        for index, node in enumerate(self.nodes):
            for first, last in node.slots:
                owners[first : last + 1] = index
        return owners


def parse_address(connection_string: str) -> RedisAddress:
    """Read Feast's form ``host:port[,host:port…][,option=value…]``, values in JSON where they are JSON.

    Raises:
        ConfigurationError: There is no ``host:port`` in it, or an option that loads do not follow.
    """
    # Feast splits at commas and reads values as JSON, so this does too: one string must mean one server to both.
    parts = connection_string.split(",")
    nodes = [re.fullmatch(r"\[?([^\[\]\s]+?)\]?:(\d{1,5})", part) for part in parts if "=" not in part]
    if not nodes or not all(nodes):
        raise ConfigurationError(
            "The Redis connection string has no usable address.",
            ["expected host:port[,option=value…], e.g. localhost:6379,db=0; a password must not hold a comma"],
        )
    options = {name: _json(value) for name, _, value in (part.partition("=") for part in parts if "=" in part)}
    # `retry=null` tells redis-py's readers not to repeat calls; loads never do.
    if options.get("retry", "") is None:
        del options["retry"]
    if ours := sorted(_OURS & options.keys()):
        raise ConfigurationError(
            "The Redis connection string has options that the platform decides itself; leave them out:",
            [f"{name}: a call is never repeated by the client, and replies stay bytes of protocol 2" for name in ours],
        )
    # A password of digits is a number as JSON; redis-py wants text.
    for name in ("username", "password"):
        if options.get(name) is not None:
            options[name] = str(options[name])
    master = str(options.pop(SENTINEL_OPTION, ""))
    given = {name: value for name, value in options.items() if name not in _CLUSTER_ONLY}
    wrong = [f"{name}: expected seconds, found {given[name]!r}" for name in _BOUNDS if not isinstance(given.get(name), int | float | None)]
    if wrong:
        raise ConfigurationError("The Redis connection string has options of another type:", wrong)
    bounds = {name: max(least, given.get(name) or least) for name, least in _BOUNDS.items()}
    return RedisAddress(tuple((node[1], int(node[2])) for node in nodes if node), MappingProxyType({**given, **bounds}), master)


def connect(address: RedisAddress) -> RedisTopology:
    """Find every server behind an address and check that it answers.

    Raises:
        ConfigurationError: An option is unknown, or the server refuses the credentials.
        StorageError: No server answers in time.
    """
    # The server is asked, whatever the string says: without Feast's option for a cluster the first MOVED would end a load.
    host, port = _primary(address) if address.sentinel_master else address.nodes[0]
    client = _client(host, port, address)
    with redis_errors(repr(address)):
        facts = client.info("cluster")
        if not facts.get("cluster_enabled"):
            return RedisTopology((RedisNode(f"{host}:{port}", client),), clustered=False)
        ranges = client.cluster("SLOTS")
        client.close()
    return RedisTopology(tuple(_cluster_nodes(ranges, host, address)), clustered=True)


def _primary(address: RedisAddress) -> tuple[str, int]:
    """Where the Sentinels say that the primary is; redis-py confirms it with the server itself."""
    from redis.sentinel import MasterNotFoundError, Sentinel

    sentinel = Sentinel(address.nodes, sentinel_kwargs=dict(_BOUNDS))  # type: ignore[no-untyped-call]
    try:
        host, port = sentinel.discover_master(address.sentinel_master)  # type: ignore[no-untyped-call]
    except MasterNotFoundError as error:
        raise StorageError(f"No Sentinel of {address!r} knows a primary {address.sentinel_master!r} that answers: {error}") from error
    return str(host), int(port)


@contextmanager
def redis_errors(address: str) -> Iterator[None]:
    """Turn redis-py's errors into ours.

    Raises:
        ConfigurationError: Wrong credentials or missing permissions.
        StorageError: Everything that another attempt may cure.
    """
    try:
        yield
    except FeaturePlatformError:
        raise
    except (AuthenticationError, AuthorizationError, NoPermissionError) as error:
        raise ConfigurationError(f"Redis at {address} refuses this user.", [f"{error}; see docs/online.md for the permissions"]) from error
    except OutOfMemoryError as error:
        raise out_of_memory(address) from error
    except (RedisTimeoutError, TimeoutError) as error:
        raise StorageError(f"Redis at {address} did not answer in time ({error}).") from error
    except (RedisConnectionError, OSError) as error:
        raise StorageError(f"Redis at {address} cannot be reached, or closed the connection ({error}).") from error
    except RedisError as error:
        raise server_error(str(error), address) from error


def server_error(text: str, address: str) -> FeaturePlatformError:
    """The error that an error reply of a server means."""
    if text.startswith("OOM"):
        return out_of_memory(address)
    if text.startswith(("NOPERM", "NOAUTH", "WRONGPASS")):
        return ConfigurationError(f"Redis at {address} refuses this user.", [f"{text}; see docs/online.md for the permissions"])
    return StorageError(f"Redis at {address} refused a command: {text}")


def out_of_memory(address: str) -> StorageError:
    """The error for a Redis that is full and, as it is configured to, evicts nothing."""
    return StorageError(
        f"Redis at {address} is full (maxmemory reached). What was online before stays marked as not whole; raise maxmemory or free keys, "
        "then load again."
    )


def _json(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _client(host: str, port: int, address: RedisAddress) -> Any:
    # redis-py repeats failed commands by default, three times with pauses: a dead server then costs ten seconds, and a repeated
    # command may run twice. The caller decides about another attempt.
    try:
        return redis.Redis(host=host, port=port, **address.options, protocol=2, retry=Retry(NoBackoff(), 0))
    except TypeError as error:
        raise ConfigurationError(f"The Redis connection string for {host}:{port} has an unknown option.", [str(error)]) from error


def _cluster_nodes(ranges: Any, contact: str, address: RedisAddress) -> Iterator[RedisNode]:
    owned: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for first, last, primary, *_replicas in ranges:
        host = primary[0].decode() if primary[0] else contact
        owned.setdefault((host, int(primary[1])), []).append((int(first), int(last)))
    missing = SLOTS - sum(last - first + 1 for slots in owned.values() for first, last in slots)
    if missing:
        raise StorageError(f"Redis Cluster at {address!r} does not serve {missing} of {SLOTS} slots; wait until it is whole.")
    for (host, port), slots in sorted(owned.items()):
        yield RedisNode(f"{host}:{port}", _client(host, port, address), tuple(sorted(slots)))
