"""Views and keys → rows and markers of a Redis Cluster: one connection to each primary, markers strictly before and after the rows.

The servers of a cluster do not order their work among each other, so the markers cannot be part of the rows' pipelines: markers are read,
then the rows of every server at once, then the markers again. That takes two round trips more than a single server, and is as exact. When a
slot has moved or a primary was replaced, the reader learns the slots again and reads everything again. Single servers belong to
``online_reader``.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from feature_platform.core.online.resp import command
from feature_platform.core.online.slots import SLOTS, key_slot
from feature_platform.errors import StorageError
from feature_platform.server.online_reader import Rows, Wanted, get_command, refuse_errors
from feature_platform.server.redis_link import Connect, DeadlineMissedError, RedisLink, retrieve

ATTEMPTS: Final = 3
_SLOTS_QUESTION: Final = command(b"CLUSTER", b"SLOTS")

Address = tuple[str, int]
Command = tuple[bytes, bytes]
"""A key, for its slot, and the command that reads it."""


class _SlotMovedError(StorageError):
    """A server replied that another one has the key now, or that the cluster is being changed."""


class ClusterReader:
    """See :class:`OnlineReader`: the reader of a cluster.

    Args:
        seeds: Some servers of the cluster; the first that answers says which server owns which slot.
        deadline_s: How long one read may take, learning the slots included.
    """

    def __init__(self, seeds: Sequence[Address], connect: Callable[[Address], Connect], *, deadline_s: float) -> None:
        self._seeds, self._connect, self._deadline_s = tuple(seeds), connect, deadline_s
        self._links: dict[Address, RedisLink] = {}
        self._owners: list[RedisLink] = []
        self._learning: asyncio.Task[None] | None = None

    async def read(self, wanted: Sequence[Wanted]) -> list[Rows]:
        markers: list[Command] = [(item.view.marker_key, get_command(item.view.marker_key)) for item in wanted]
        keys = [item.view.reads.keys(item.keys) if item.keys[0] else [] for item in wanted]
        rows = [(key, item.view.reads.command(key)) for item, each in zip(wanted, keys, strict=True) for key in each]

        async def attempt(expires_s: float) -> list[Rows]:
            before = await self._ask(markers, expires_s)
            replies = await self._ask(rows, expires_s)
            after = await self._ask(markers, expires_s)
            found, start = [], 0
            for place, each in enumerate(keys):
                found.append(Rows(before[place], replies[start : start + len(each)], after[place]))
                start += len(each)
            return found

        rows_found: list[Rows] = await self._repeated(attempt)
        return rows_found

    async def markers(self, keys: Sequence[bytes]) -> list[bytes | None]:
        commands = [(key, get_command(key)) for key in keys]
        found: list[bytes | None] = await self._repeated(lambda expires_s: self._ask(commands, expires_s))
        return found

    async def ping(self) -> None:
        """Every primary answers."""
        await self._repeated(self._ping)

    async def close(self) -> None:
        if self._learning:
            self._learning.cancel()
        for link in self._links.values():
            await link.close()

    async def _ping(self, expires_s: float) -> None:
        links = dict.fromkeys(self._owners)
        for replies in await asyncio.gather(*(link.read(command(b"PING"), 1, expires_s=expires_s) for link in links)):
            refuse_errors(replies, "the cluster")

    async def _repeated(self, attempt: Callable[[float], Any]) -> Any:
        """Try within the deadline, learning the slots before each further attempt."""
        expires_s = time.monotonic() + self._deadline_s
        for number in range(1, ATTEMPTS + 1):
            try:
                if not self._owners or number > 1:
                    await self._learn(expires_s)
                return await attempt(expires_s)
            except StorageError:
                if number == ATTEMPTS or time.monotonic() > expires_s:
                    raise
        raise AssertionError

    async def _ask(self, commands: Sequence[Command], expires_s: float) -> list[Any]:
        """The reply to each command, in order, from whichever server owns its key."""
        places: dict[RedisLink, list[int]] = {}
        for place, (key, _) in enumerate(commands):
            places.setdefault(self._owners[key_slot(key)], []).append(place)
        payloads = [(link, b"".join([commands[place][1] for place in owned]), len(owned)) for link, owned in places.items()]
        replies: list[Any] = [None] * len(commands)
        found = await asyncio.gather(*(link.read(payload, count, expires_s=expires_s) for link, payload, count in payloads))
        for owned, each in zip(places.values(), found, strict=True):
            _refuse_moved(each)
            refuse_errors(each, "the cluster")
            for place, reply in zip(owned, each, strict=True):
                replies[place] = reply
        return replies

    async def _learn(self, expires_s: float) -> None:
        """Learn which server owns which slot; requests that need it at the same time share one answer, which may come after a deadline."""
        if self._learning is None:
            self._learning = asyncio.create_task(self._learned())
            self._learning.add_done_callback(retrieve)
        try:
            async with asyncio.timeout(expires_s - time.monotonic()):
                await asyncio.shield(self._learning)
        except TimeoutError as error:
            raise DeadlineMissedError("The Redis Cluster did not say in time which server owns which slot.") from error

    async def _learned(self) -> None:
        try:
            await self._ask_for_slots()
        finally:
            self._learning = None
        owners = set(self._owners)
        for address in [address for address, link in self._links.items() if link not in owners and not link.waiting]:
            await self._links.pop(address).close()  # a server that left, or one that was only asked this

    async def _ask_for_slots(self) -> None:
        faults = []
        for address in dict.fromkeys([*self._links, *self._seeds]):
            try:
                (ranges,) = await self._link(address).read(_SLOTS_QUESTION, 1)
                refuse_errors([ranges], f"{address[0]}:{address[1]}")
            except StorageError as error:
                faults.append(str(error))
                continue
            self._owners = self._owned(ranges, contact=address[0])
            return
        raise StorageError(f"No server of the Redis Cluster says which server owns which slot. {faults[0]}")

    def _owned(self, ranges: Any, *, contact: str) -> list[RedisLink]:
        owners: list[RedisLink | None] = [None] * SLOTS
        for first, last, primary, *_replicas in ranges:
            link = self._link((primary[0].decode() or contact, int(primary[1])))
            owners[first : last + 1] = [link] * (last - first + 1)
        found = [link for link in owners if link is not None]
        if len(found) != SLOTS:
            raise StorageError(f"The Redis Cluster does not serve {SLOTS - len(found)} of {SLOTS} slots; wait until it is whole.")
        return found

    def _link(self, address: Address) -> RedisLink:
        link = self._links.get(address)
        if link is None:
            name = f"{address[0]}:{address[1]}"
            link = self._links[address] = RedisLink(self._connect(address), address=name, deadline_s=self._deadline_s)
        return link


def _refuse_moved(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, Exception) and str(reply).startswith(("MOVED ", "ASK ", "CLUSTERDOWN", "TRYAGAIN")):
            raise _SlotMovedError(f"The Redis Cluster is being changed: {reply}. Try again.")
