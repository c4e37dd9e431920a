"""The reader behind a Redis address: of a server, of the primary that Sentinels name, or of a cluster, which one question finds out.

How each is read does not belong here (``online_reader``, ``cluster_reader``).
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

from feature_platform.adapters.online_store.redis_connection import RedisAddress
from feature_platform.core.online.resp import command
from feature_platform.server.cluster_reader import ClusterReader
from feature_platform.server.online_reader import OnlineReader, Rows, ServerReader, Wanted, refuse_errors
from feature_platform.server.redis_connect import connector
from feature_platform.server.redis_link import RedisLink

_QUESTION: Final = command(b"CLUSTER", b"SLOTS")
_SINGLE: Final = ("disabled", "unknown", "unsupported", "noperm")
"""Words of the replies of servers without a cluster, of proxies that do not know the command, and to users who may not ask."""


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
        """The reader by the reply: a list of slots means a cluster, an error that says there are none a single server.

        Any other error, such as that of a server that is still loading its data, says nothing: it is raised, and the question asked again.
        """
        (reply,) = await self._link.read(_QUESTION, 1)
        is_cluster = isinstance(reply, list)
        if not is_cluster and not any(word in str(reply).lower() for word in _SINGLE):
            refuse_errors([reply], repr(self._address))
        if self._known is None:  # another request may have had its reply meanwhile
            nodes = tuple(self._address.nodes)
            connect = partial(connector, self._address)
            cluster = ClusterReader(nodes, connect, deadline_s=self._deadline_s) if is_cluster else None
            self._known = cluster or ServerReader(self._link, address=repr(self._address))
        return self._known
