"""Free TCP ports on 127.0.0.1 for the embedded servers.

Binding them does not belong here: a port is free when it is chosen, and the caller chooses again where its server finds it taken.
"""

import socket
from collections.abc import Iterable
from random import SystemRandom
from typing import Final

from feature_platform.errors import StorageError

HOST: Final = "127.0.0.1"

# Below the range that kernels give to outgoing connections (32768 up on Linux), which would otherwise take a port between two runs.
_FIRST, _LAST = 12_000, 30_000


def is_free(port: int) -> bool:
    """True where nothing listens on a loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def choose_ports(names: Iterable[str], *, preferred: dict[str, int], offsets: dict[str, tuple[str, int]] | None = None) -> dict[str, int]:
    """One free port for each name: the preferred ones where all of them are free, new ones otherwise.

    Args:
        preferred: Ports of an earlier run, by name; may be empty.
        offsets: Names whose port is another name's port plus a number.

    Raises:
        StorageError: No free ports were found.
    """
    wanted, offsets = tuple(names), offsets or {}
    if set(preferred) == set(wanted) and all(is_free(port) for port in preferred.values()):
        return dict(preferred)
    random = SystemRandom()
    for _ in range(100):
        drawn = iter(random.sample(range(_FIRST, _LAST), len(wanted)))
        ports = {name: next(drawn) for name in wanted if name not in offsets}
        ports |= {name: ports[other] + offset for name, (other, offset) in offsets.items()}
        if len(set(ports.values())) == len(ports) and all(is_free(port) for port in ports.values()):
            return ports
    raise StorageError(
        f"No {len(wanted)} free ports were found on {HOST} between {_FIRST} and {_LAST}. Stop other servers, then run again."
    )
