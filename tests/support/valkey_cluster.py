"""A Valkey cluster of a few servers on loopback that together own every slot."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.support.valkey_server import ValkeyServer, free_port, valkey_server

_SLOTS = 16_384
_DEADLINE_S = 60


@contextmanager
def valkey_cluster(*, nodes: int = 3, replicas: int = 0) -> Iterator[list[ValkeyServer]]:
    """Servers that know each other and serve, primaries first, then as many replicas, one of each of the first; gone afterwards."""
    with ExitStack() as stack:
        ports = [free_port() for _ in range(nodes + replicas)]
        options = {"cluster_enabled": "yes", "cluster_node_timeout": "5000", "cluster_announce_ip": "127.0.0.1"}
        servers = [stack.enter_context(valkey_server(cluster_port=str(port), **options)) for port in ports]
        share = -(-_SLOTS // nodes)
        for index, (server, port) in enumerate(zip(servers, ports, strict=True)):
            with server.client() as client:
                if index < nodes:
                    client.execute_command("CLUSTER", "ADDSLOTSRANGE", index * share, min(_SLOTS, (index + 1) * share) - 1)
            with servers[0].client() as client:
                client.execute_command("CLUSTER", "MEET", server.host, server.port, port)
        _wait(lambda: all(_is_whole(server, nodes + replicas) for server in servers), "the cluster did not form")
        for primary, replica in zip(servers, servers[nodes:], strict=False):
            _replicate(primary, replica)
        yield servers


def _replicate(primary: ValkeyServer, replica: ValkeyServer) -> None:
    with primary.client() as client, replica.client() as other:
        other.execute_command("CLUSTER", "REPLICATE", client.execute_command("CLUSTER", "MYID"))
        _wait(lambda: other.info("replication").get("master_link_status") == "up", "a replica did not follow")


def _wait(holds: Callable[[], bool], said: str) -> None:
    deadline_s = time.monotonic() + _DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline_s, said
        time.sleep(0.05)


def _is_whole(server: ValkeyServer, nodes: int) -> bool:
    with server.client() as client:
        facts = client.cluster("INFO")
        return facts["cluster_state"] == "ok" and int(facts["cluster_known_nodes"]) == nodes
