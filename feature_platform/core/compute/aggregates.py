"""The SQL of one aggregate over a window: over its events, or over the tiles of its days.

Either way the result is the same to the last bit: whole numbers are added, the least and the greatest are chosen, and the first and the
last follow the one order of validated events. Which aggregates a contract needs does not belong here (``core.compute.features_sql``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from feature_platform.core.compute.dialect import identifier, moment_literal
from feature_platform.core.compute.distinct_sql import packed, registers_of_events, registers_of_tiles
from feature_platform.core.contract.source import SourceColumn

EVENTS: Final = "events"
"""The relation that holds a window's events: the columns of the source contract, and :data:`POSITION`."""

POSITION: Final = "#position"
"""An integer that rises in the order of validated events. No source column can have this name."""

TILES: Final = "tiles"
"""The relation that holds tiles: the primary keys, :data:`DAY`, and a column for each aggregate or sketch."""

DAY: Final = "#day"
"""The start of a tile's day, or of the first of its days."""

_EXACT: Final = "DECIMAL(38, 0)"
"""Holds every sum of whole units on every engine; a 64-bit sum would wrap silently on one engine and fail on another."""

Kind = Literal["count", "sum", "squares", "min", "max", "first", "last"]

_MERGED: Final = {"min": "min", "max": "max", "first": "arg_min", "last": "arg_max"}


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregate of SQL over an event's columns (``*`` for the event itself): of a key's events that meet a rule, in a window of days."""

    kind: Kind
    taken: str
    rule: str
    days: int

    def of_events(self, window: str = "") -> str:
        """The aggregate over events that meet a further condition."""
        position, condition = identifier(POSITION), _all_of(window, self.rule)
        if self.kind == "count" and condition:  # FILTER takes 4% of a build more
            counted = "1" if self.taken == "*" else self.taken
            return f"count(CASE WHEN {condition} THEN {counted} END)"
        function = {
            "count": f"count({self.taken})",
            "sum": f"sum({self.taken})",
            # Squares of 64-bit integers, and sums of them, need 128 bits.
            "squares": f"sum(CAST({self.taken} AS HUGEINT) * CAST({self.taken} AS HUGEINT))",
            "min": f"min({self.taken})",
            "max": f"max({self.taken})",
            # By position and not by time: events of one moment have an order, and the answer must not depend on threads. Nulls are ignored.
            "first": f"arg_min({self.taken}, {position})",
            "last": f"arg_max({self.taken}, {position})",
        }[self.kind]
        return _filtered(function, condition)

    def kept(self) -> str:
        """The aggregate over the events of one day, as a tile keeps it."""
        return self._stored(self.of_events())

    def merged(self, name: str) -> str:
        """The aggregate over tiles, as a tile of all their days keeps it."""
        return self._stored(self.of_tiles(name))

    def _stored(self, value: str) -> str:
        """The value in a type that a Parquet file keeps exactly: a 128-bit integer would be rounded to a double there."""
        stored = {"sum": _EXACT, "squares": "VARCHAR"}.get(self.kind)
        return f"CAST({value} AS {stored})" if stored else value

    def of_tiles(self, name: str, window: str = "") -> str:
        """The aggregate over the tiles of days that meet a condition; ``name`` is the tiles' column of it."""
        if self.kind == "count":
            return f"coalesce(CAST({_filtered(f'sum({name})', window)} AS BIGINT), 0)"
        if self.kind == "sum":
            # The sum is cast and not each value: DuckDB takes three times as long for the casts as for the rest of the query.
            return f"CAST({_filtered(f'sum({name})', window)} AS HUGEINT)"
        if self.kind == "squares":
            return _filtered(f"sum(CAST({name} AS HUGEINT))", window)
        by = f", {identifier(DAY)}" if self.kind in {"first", "last"} else ""
        return _filtered(f"{_MERGED[self.kind]}({name}{by})", window)


@dataclass(frozen=True, slots=True)
class Sketch:
    """An approximate distinct count of a column's values: of a key's events that meet a rule, in a window of days."""

    column: SourceColumn
    keys: tuple[str, ...]
    rule: str
    days: int

    def of_events(self, window: str = "", *, events: str = EVENTS) -> str:
        """The registers that the events fill, one row per key and register."""
        return registers_of_events(self.column, keys=self.keys, events=events, condition=_all_of(window, self.rule))

    def kept(self) -> str:
        """The query for a day's registers, one list per key."""
        return packed(self.of_events(), keys=self.keys)

    def merged(self, name: str) -> str:
        """As :meth:`kept`, over tiles."""
        return packed(self.of_tiles(name), keys=self.keys)

    def of_tiles(self, name: str, window: str = "", *, tiles: str = TILES) -> str:
        """As :meth:`of_events`, merged over tiles."""
        return registers_of_tiles(name, keys=self.keys, tiles=tiles, condition=window)


@dataclass(frozen=True, slots=True)
class Rows:
    """A relation of the events of a window, or of the tiles of its days; a row outside the longest window is never in it.

    ``moment`` is the column with the moment of a row, ``longest`` the window's number of days. ``names`` are those of :func:`tile_names`
    where the rows are tiles.
    """

    relation: str
    moment: str
    as_of: datetime
    longest: int
    names: Mapping[str, str] | None = None

    def aggregate(self, item: Aggregate) -> str:
        """An aggregate over the rows of its own window."""
        window = self._within(item.days)
        return item.of_events(window) if self.names is None else item.of_tiles(self.names[item.kept()], window)

    def registers(self, item: Sketch) -> str:
        """The registers of a sketch over the rows of its own window."""
        window = self._within(item.days)
        if self.names is None:
            return item.of_events(window, events=self.relation)
        return item.of_tiles(self.names[item.kept()], window, tiles=self.relation)

    def _within(self, days: int) -> str:
        """The condition on a row of the last ``days`` days; none where that is every row."""
        # Filtering all rows by what their files already promise took 8 to 10% of a build.
        if days == self.longest:
            return ""
        return f"{identifier(self.moment)} >= {moment_literal(self.as_of - timedelta(days=days))}"


def tile_names(items: Iterable[Aggregate | Sketch]) -> dict[str, str]:
    """What a tile keeps, as SQL → the tile's column: each once, whatever windows need it, in the order of the SQL text."""
    return {kept: identifier(f"#t{place}") for place, kept in enumerate(sorted({item.kept() for item in items}))}


def _filtered(function: str, condition: str) -> str:
    return f"{function} FILTER (WHERE {condition})" if condition else function


def _all_of(*conditions: str) -> str:
    return " AND ".join(condition for condition in conditions if condition)
