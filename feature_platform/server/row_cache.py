"""Rows that were read before, kept in the worker, and never served after a newer load. Answers do not belong here (``answers``).

Between two loads, what is online is one immutable version, so a view's ``online`` marker is an exact token: rows that were read under it
are valid for as long as it stands, and no longer. Each request reads the marker with (or instead of) its rows: a marker that is not the
token makes the request read everything again, and one that says ``loading`` bypasses the cache. ttl is judged per answer, not here.

Bounded by an estimate of bytes. Two generations approximate least-recent use without touching an order on every hit: what is used moves to
the young one, and when that holds half of the budget, the old one is dropped.
"""

from collections.abc import Hashable, Sequence
from typing import Final

from feature_platform.server.answers import Row, decoded_rows
from feature_platform.server.metrics import CACHE_HITS, CACHE_MISSES, Counts
from feature_platform.server.online_reader import KeyColumns, OnlineReader, Rows, Wanted
from feature_platform.server.plans import ViewPlan
from feature_platform.server.proof import proof_of

_ROW_BYTES: Final = 200
_VALUE_BYTES: Final = 40
"""Estimated memory of a row, and of each value in it, besides the stored bytes: tuple, objects, dictionary entry."""

_Name = tuple[str, tuple[str, ...]]


class _Generations:
    """The rows of one view and one list of features, under one token."""

    __slots__ = ("old", "token", "young", "young_bytes")

    def __init__(self) -> None:
        self.token: bytes | None = None
        self.young: dict[Hashable, Row] = {}
        self.old: dict[Hashable, Row] = {}
        self.young_bytes = 0

    def restart(self, token: bytes | None) -> None:
        self.token, self.young, self.old, self.young_bytes = token, {}, {}, 0

    def rows(self, keys: Sequence[Hashable]) -> list[Row | None]:
        """The row of each key, None where it is not kept; what is found in the old generation moves to the young one."""
        found = list(map(self.young.get, keys))
        if self.old and None in found:
            for place, key in enumerate(keys):
                if found[place] is None and (row := self.old.pop(key, None)) is not None:
                    found[place] = self.young[key] = row
                    self.young_bytes += _ROW_BYTES + _VALUE_BYTES * len(row)
        return found

    def put(self, key: Hashable, row: Row, size: int) -> None:
        self.young[key] = row
        self.young_bytes += size


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

    async def read(self, wanted: Sequence[Wanted]) -> list[tuple[Rows, list[Row]]]:
        """Each view's markers and decoded rows, in the order of its keys. Errors are those of :meth:`OnlineReader.read`.

        Never mixes: the rows of a view are all valid under the markers that are returned with them.
        """
        for item in wanted:
            item.view.reads.require_types(item.keys)  # True would find the row of 1
        keys = [_row_keys(item.keys) for item in wanted]
        found = [self._generations(item.view).rows(each) for item, each in zip(wanted, keys, strict=True)]
        tokens = [self._generations(item.view).token for item in wanted]
        missing = [_without(item, rows) for item, rows in zip(wanted, found, strict=True)]
        read = await self._reader.read(missing)
        if all(_holds(rows, token) or not any(kept) for rows, token, kept in zip(read, tokens, found, strict=True)):
            return [self._merged(*each) for each in zip(missing, keys, found, read, strict=True)]
        # A load came between. What was read under the new marker is whole only if everything is read again.
        for item, rows, token in zip(wanted, read, tokens, strict=True):
            if not _holds(rows, token):
                self._generations(item.view).restart(None)
        again = await self._reader.read(wanted)
        nothing: list[list[Row | None]] = [[None] * len(each) for each in keys]
        return [self._merged(*each) for each in zip(wanted, keys, nothing, again, strict=True)]

    def _merged(self, item: Wanted, keys: Sequence[Hashable], found: list[Row | None], rows: Rows) -> tuple[Rows, list[Row]]:
        """The rows in order, those that were missing now kept."""
        fresh = decoded_rows(item.view, rows.replies)
        self._counts.add(CACHE_HITS, item.view.view.name, count=len(keys) - len(fresh))
        self._counts.add(CACHE_MISSES, item.view.view.name, count=len(fresh))
        if not fresh:
            return rows, found  # type: ignore[return-value]  # none is missing
        following = iter(fresh)
        merged = [next(following) if row is None else row for row in found]
        if rows.before and proof_of(item.view.view.name, rows.before, rows.after).is_exact:
            self._keep(item.view, rows.before, [key for key, row in zip(keys, found, strict=True) if row is None], fresh, rows)
        return rows, merged

    def _keep(self, view: ViewPlan, token: bytes, keys: Sequence[Hashable], fresh: Sequence[Row], rows: Rows) -> None:
        generations = self._generations(view)
        if generations.token != token:
            generations.restart(token)
        for key, row, reply in zip(keys, fresh, rows.replies, strict=True):
            generations.put(key, row, _ROW_BYTES + _VALUE_BYTES * len(row) + sum(map(len, filter(None, reply))))
        if sum(item.young_bytes for item in self._known.values()) > self._budget // 2:
            self._known = {name: item for name, item in self._known.items() if item.young}
            for item in self._known.values():
                item.old, item.young, item.young_bytes = item.young, {}, 0

    def _generations(self, view: ViewPlan) -> _Generations:
        name = (view.view.name, view.features)
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = _Generations()
        return known


def _row_keys(columns: KeyColumns) -> Sequence[Hashable]:
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def _without(item: Wanted, found: Sequence[Row | None]) -> Wanted:
    places = [place for place, row in enumerate(found) if row is None] if None in found else []
    return Wanted(item.view, [[column[place] for place in places] for column in item.keys])


def _holds(rows: Rows, token: bytes | None) -> bool:
    return token is not None and rows.before == token and rows.after == token
