"""The reader behind a Redis address: of a server, of the primary that Sentinels name, or of a cluster, which one question finds out.

How each is read does not belong here (``online_reader``, ``cluster_reader``).
"""

from collections.abc import Sequence
from typing import Final

from feature_platform.adapters.online_store.redis_connection import RedisAddress
from feature_platform.core.online.resp import command
from feature_platform.server.cluster_reader import ClusterReader
from feature_platform.server.online_reader import OnlineReader, Rows, ServerReader, Wanted
from feature_platform.server.redis_connect import connector
from feature_platform.server.redis_link import RedisLink

_QUESTION: Final = command(b"CLUSTER", b"SLOTS")


class StoreReader:
    """A reader that learns at its first use what it reads from."""

    def __init__(self, address: RedisAddress, *, deadline_s: float) -> None:
        self._address, self._deadline_s = address, deadline_s
        self._link = RedisLink(connector(address), address=repr(address), deadline_s=deadline_s)
        self._known: OnlineReader | None = None

    async def read(self, wanted: Sequence[Wanted]) -> list[Rows]:
        return await (self._known or await self._learned()).read(wanted)

    async def markers(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return await (self._known or await self._learned()).markers(keys)

    async def ping(self) -> None:
        await (self._known or await self._learned()).ping()

    async def close(self) -> None:
        await self._link.close()
        if self._known:
            await self._known.close()

    async def _learned(self) -> OnlineReader:
        """The reader by the reply: a list of slots means a cluster, an error (also for a user who may not ask) a single server."""
        (reply,) = await self._link.read(_QUESTION, 1)
        if isinstance(reply, list):
            nodes = tuple(self._address.nodes)
            self._known = ClusterReader(nodes, lambda node: connector(self._address, node), deadline_s=self._deadline_s)
        else:
            self._known = ServerReader(self._link, address=repr(self._address))
        return self._known
