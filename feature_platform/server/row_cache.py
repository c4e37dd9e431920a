"""Rows that were read before, kept in the worker, and never served after a newer load. Answers do not belong here (``answers``).

Between two loads, what is online is one immutable version, so a view's ``online`` marker is an exact token: rows that were read under it
are valid for as long as it stands, and no longer. Each request reads the marker with (or instead of) its rows: a marker that is not the
token makes the request read everything again, and one that says ``loading`` bypasses the cache. ttl is judged per answer, not here.

Bounded by an estimate of bytes. Two generations approximate least-recent use without touching an order on every hit: what is used moves to
the young one, and when that holds half of the budget, the old one is dropped.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Final

import msgspec

from feature_platform.server.answers import Row, decoded_rows
from feature_platform.server.metrics import CACHE_HITS, CACHE_MISSES, Counts, Number
from feature_platform.server.online_reader import OnlineReader, Rows, Wanted
from feature_platform.server.plans import ViewPlan
from feature_platform.server.proof import proof_of

_ROW_BYTES: Final = 200
_VALUE_BYTES: Final = 40
"""Estimated memory of a row, and of each value in it, besides their bytes as JSON: tuple, objects, dictionary entry."""

_encode: Final = msgspec.json.Encoder().encode

_Name = tuple[str, tuple[str, ...]]


class _Generations:
    """The rows of one view and one list of features, under one token; ``grown`` is called when the young ones have become more."""

    __slots__ = ("grown", "hits", "misses", "old", "token", "young", "young_bytes")

    def __init__(self, hits: Number, misses: Number, grown: Callable[[], None]) -> None:
        self.hits, self.misses, self.grown = hits, misses, grown
        self.token: bytes | None = None
        self.young: dict[Hashable, Row] = {}
        self.old: dict[Hashable, Row] = {}
        self.young_bytes = 0

    def restart(self, token: bytes | None) -> None:
        self.token, self.young, self.old, self.young_bytes = token, {}, {}, 0

    def rows(self, keys: Sequence[Hashable]) -> list[Row | None]:
        """The row of each key, None where it is not kept; what is found in the old generation moves to the young one."""
        found = list(map(self.young.get, keys))
        if self.old and not all(found):
            for place, key in enumerate(keys):
                if found[place] is None and (row := self.old.pop(key, None)) is not None:
                    found[place] = row
                    self._add(key, row)
            self.grown()
        return found

    def put(self, keys: Sequence[Hashable], rows: Sequence[Row]) -> None:
        for key, row in zip(keys, rows, strict=True):
            self._add(key, row)
        self.grown()

    def _add(self, key: Hashable, row: Row) -> None:
        self.young[key] = row
        self.young_bytes += _ROW_BYTES + _VALUE_BYTES * len(row) + len(_encode(row))


class RowCache:
    """The cache of one worker, in front of its reader.

    Args:
        reader: The online store.
        budget_bytes: Memory that all rows together may take, by estimate.
        counts: Where hits and misses are counted.
    """

    def __init__(self, reader: OnlineReader, *, budget_bytes: int, counts: Counts) -> None:
        self._reader, self._budget, self._counts = reader, budget_bytes, counts
        self._known: dict[_Name, _Generations] = {}

    async def read(self, wanted: Sequence[Wanted]) -> list[Rows]:
        """Each view's markers and, instead of replies, decoded rows. Errors are those of :meth:`OnlineReader.read`.

        Never mixes: the rows of a view are all valid under the markers that are returned with them.
        """
        found = [_Found(item, self._generations(item.view)) for item in wanted]
        if all(map(_Found.is_whole, found)):  # one look at each marker says as much as two
            markers = await self._reader.markers([item.view.marker_key for item in wanted])
            read = [Rows(marker, [], marker) for marker in markers]
        else:
            read = await self._reader.read([each.missing() for each in found])
        if not all(map(_Found.is_valid_at, found, read)):
            # A load came between. What was read under the new marker is whole only if everything is read again.
            for each, rows in zip(found, read, strict=True):
                each.forget_unless(rows)
            read = await self._reader.read(wanted)
        return list(map(self._merged, found, read))

    def _merged(self, found: "_Found", read: Rows) -> Rows:
        """The rows in order, those that were missing now kept."""
        view, missed = found.item.view, len(read.replies)
        found.generations.hits.value += len(found.rows) - missed
        if not missed:
            return Rows(read.before, found.rows, read.after)
        found.generations.misses.value += missed
        fresh = decoded_rows(view, read.replies)
        if read.before and proof_of(view.view.name, read.before, read.after).is_exact:
            self._keep(found, read.before, fresh)
        following = iter(fresh)
        return Rows(read.before, [next(following) if row is None else row for row in found.rows], read.after)

    def _keep(self, found: "_Found", token: bytes, fresh: Sequence[Row]) -> None:
        generations = self._generations(found.item.view)
        if generations.token != token:
            generations.restart(token)
        generations.put([key for key, row in zip(found.keys, found.rows, strict=True) if row is None], fresh)

    def _bound(self) -> None:
        """Drop every old generation where the young ones hold half of the budget."""
        if sum(item.young_bytes for item in self._known.values()) > self._budget // 2:
            self._known = {name: item for name, item in self._known.items() if item.young}
            for item in self._known.values():
                item.old, item.young, item.young_bytes = item.young, {}, 0

    def _generations(self, view: ViewPlan) -> _Generations:
        name = (view.view.name, view.features)
        known = self._known.get(name)
        if known is None:
            hits, misses = (self._counts.number(metric, view.view.name) for metric in (CACHE_HITS, CACHE_MISSES))
            known = self._known[name] = _Generations(hits, misses, self._bound)
        return known


class _Found:
    """What is kept of the rows that are wanted of one view, and the token under which it is valid."""

    __slots__ = ("generations", "item", "keys", "rows", "token")

    def __init__(self, item: Wanted, generations: _Generations) -> None:
        item.view.reads.require_types(item.keys)  # True would find the row of 1
        self.item, self.generations, self.token = item, generations, generations.token
        self.keys: Sequence[Hashable] = item.keys[0] if len(item.keys) == 1 else list(zip(*item.keys, strict=True))
        self.rows: list[Row | None] = generations.rows(self.keys)

    def is_whole(self) -> bool:
        return all(self.rows)

    def missing(self) -> Wanted:
        places = [place for place, row in enumerate(self.rows) if row is None]
        return Wanted(self.item.view, [[column[place] for place in places] for column in self.item.keys])

    def is_valid_at(self, read: Rows) -> bool:
        """Whether it belongs together with what was read; nothing belongs to everything."""
        return _holds(read, self.token) or not any(self.rows)

    def forget_unless(self, read: Rows) -> None:
        """From now on nothing is found, and nothing is kept under another token than that which was read."""
        if not _holds(read, self.generations.token):
            self.generations.restart(None)
        self.rows = [None] * len(self.keys)


def _holds(read: Rows, token: bytes | None) -> bool:
    return token is not None and read.before == token and read.after == token
