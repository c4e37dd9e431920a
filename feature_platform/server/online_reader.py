"""Views and keys → rows and markers of one Redis server, in one pipeline: every marker, then every row, then every marker again.

One server executes a pipeline in order, so one marker is read before the rows and one after them. Several servers need another reader
(``cluster_reader``). Making an answer of the replies does not belong here (``answers``, ``proof``).
"""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from feature_platform.adapters.online_store.redis_connection import server_error
from feature_platform.core.online.resp import command
from feature_platform.server.plans import ViewPlan
from feature_platform.server.redis_link import RedisLink

KeyColumns = Sequence[Sequence[Any]]


class Wanted(msgspec.Struct):
    """Rows of one view: one sequence of values for each join key, in the plan's order; all equally long, perhaps empty."""

    view: ViewPlan
    keys: KeyColumns


class Rows(msgspec.Struct):
    """One view's replies, or from a cache its decoded rows, and what its marker said before and after them."""

    before: bytes | None
    replies: Sequence[Any]
    after: bytes | None


class OnlineReader(Protocol):
    """Reads what plans need. Errors are those of :meth:`RedisLink.read`."""

    async def read(self, wanted: Sequence[Wanted]) -> list[Rows]:
        """Each view's rows between its markers; raises ``UnplannedRequestError`` for keys that are not of the join keys' types."""

    async def markers(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The markers that lie under these keys."""

    async def ping(self) -> None:
        """Return when the store answers."""

    async def close(self) -> None:
        """Drop every connection."""


class ServerReader:
    """The reader of a single server."""

    def __init__(self, link: RedisLink, *, address: str) -> None:
        self._link, self._address = link, address

    async def read(self, wanted: Sequence[Wanted]) -> list[Rows]:
        """See :class:`OnlineReader`."""
        markers = b"".join([get_command(item.view.marker_key) for item in wanted])
        payloads = [item.view.reads.payload(item.keys) for item in wanted if item.keys[0]]
        views, counts = len(wanted), [len(item.keys[0]) for item in wanted]
        replies = await self._link.read(b"".join((markers, *payloads, markers)), 2 * views + sum(counts))
        refuse_errors(replies, self._address)
        rows, start = [], views
        for place, count in enumerate(counts):
            rows.append(Rows(replies[place], replies[start : start + count], replies[place - views]))
            start += count
        return rows

    async def markers(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See :class:`OnlineReader`."""
        if not keys:
            return []
        replies = await self._link.read(b"".join(map(get_command, keys)), len(keys))
        refuse_errors(replies, self._address)
        return replies

    async def ping(self) -> None:
        """See :class:`OnlineReader`."""
        refuse_errors(await self._link.read(command(b"PING"), 1), self._address)

    async def close(self) -> None:
        """See :class:`OnlineReader`."""
        await self._link.close()


def get_command(key: bytes) -> bytes:
    """The command that reads one marker."""
    return b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key)


def refuse_errors(replies: Sequence[Any], address: str) -> None:
    """Raise the platform's error for an error reply, if there is one."""
    for kind in set(map(type, replies)):
        if issubclass(kind, Exception):
            error = next(reply for reply in replies if isinstance(reply, kind))
            raise server_error(str(error), address)
