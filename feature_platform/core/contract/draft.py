"""A first source contract and a first feature contract, guessed from a sample of rows; every guess is listed for its author to check.

Reading the sample does not belong here (``adapters.events.sample``).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from feature_platform.core.contract import documents, types
from feature_platform.core.contract.source import CALENDAR
from feature_platform.errors import InvalidDataError

_EPOCHS: Final = {"s": (10**9, 10**10), "ms": (10**12, 10**13), "us": (10**15, 10**16)}
"""Unit → range of the whole numbers that mean a moment from 2001 to 2286 in this unit."""
_TIME_NAMES: Final = re.compile(r"(^|_)(event_?time|time_?stamp|time|ts|at|date|created|occurred)($|_)", re.IGNORECASE)
_ID_NAME: Final = re.compile(r"(^|_)(id|uuid|key)$|Id$|ID$")
_EVENT_ID: Final = re.compile(r"(^|_)(event|message|request|row|transaction)?_?(id|uuid)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Draft:
    """Two documents that pass a contract check, and the guesses that their author has to check."""

    source: Mapping[str, Any]
    feature_set: Mapping[str, Any]
    to_check: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Guess:
    name: str
    type: str
    epoch_unit: str | None
    values: pa.ChunkedArray

    @property
    def is_given(self) -> bool:
        """Whether any row of the sample has a value."""
        return bool(self.values.null_count < len(self.values))

    @property
    def has_nulls(self) -> bool:
        return bool(self.values.null_count)

    @property
    def is_distinct(self) -> bool:
        return not pa.types.is_null(self.values.type) and len(pc.unique(self.values)) == len(self.values)


def draft(sample: pa.Table, *, source: str, event_time: str | None = None, key: str | None = None) -> Draft:
    """Guess both contracts.

    Args:
        event_time: The column that says when an event happened; guessed where left out.
        key: The column whose entities have features; guessed where left out.

    Raises:
        InvalidDataError: No column can be the event time, or none the key; the message names the columns that were found.
    """
    columns, notes = _columns(sample)
    time = _chosen(columns, event_time, "event time", "--event-time", _times(columns))
    others = [column for column in columns if column.name != time.name]
    keys = [column for column in others if column.type in types.KEY_TYPES]
    entity = _chosen(others, key, "key", "--key", _entities(keys))
    events = [c for c in keys if c.name != entity.name and _EVENT_ID.search(c.name) and c.is_distinct and not c.has_nulls]
    dedup = [events[0].name] if events else []
    required = {time.name, entity.name, *dedup}
    notes = [
        f"event time: {time.name!r} is taken for when an event happened; a time without a zone is read as UTC",
        f"key: features are computed for each {entity.name!r}",
        "duplicates: " + (f"events with the same {dedup[0]!r} count once" if dedup else "only rows that are equal as a whole count once"),
        *notes,
    ]
    document = {
        "source": source,
        "version": "v1",
        "event_time": time.name,
        "dedup_keys": dedup,
        "columns": [_column(column, is_required=column.name in required) for column in columns],
    }
    return Draft(document, _feature_set(source, entity, [c for c in others if c.name not in required]), tuple(notes))


def _columns(sample: pa.Table) -> tuple[list[_Guess], list[str]]:
    found: list[_Guess] = []
    notes = []
    for name in sample.column_names:
        values = sample.column(name)
        kind, unit = _type_of(values, name)
        if same := next((column.name for column in found if column.name.casefold() == name.casefold()), None):
            notes.append(f"column {name!r} is left out: its name differs from {same!r} in case alone")
            continue
        if not re.fullmatch(documents.COLUMN_NAME, name) or kind is None:
            notes.append(f"column {name!r} ({values.type}) is left out: " + ("its name" if kind else "its type") + " fits no contract")
            continue
        if values.null_count == len(values):
            notes.append(f"column {name!r} is empty in the sample; its type is a guess")
        if unit:
            notes.append(f"column {name!r} is read as moments in {unit} since 1970")
        found.append(_Guess(name, kind, unit, values))
    return found, notes


def _type_of(values: pa.ChunkedArray, name: str) -> tuple[str | None, str | None]:
    """A contract type, and the unit of moments that are whole numbers; None for a type that no contract can name."""
    kind = values.type
    known: Sequence[tuple[Callable[[pa.DataType], bool], str]] = (
        (pa.types.is_boolean, "bool"),
        (pa.types.is_integer, "int64"),
        (pa.types.is_floating, "float64"),
        (pa.types.is_decimal, "float64"),
        (pa.types.is_timestamp, "timestamp"),
        (pa.types.is_date, "date"),
        (pa.types.is_binary, "bytes"),
        (pa.types.is_large_binary, "bytes"),
        (pa.types.is_null, "string"),
    )
    if pa.types.is_integer(kind) and _TIME_NAMES.search(name):
        unit = _epoch_unit(values)
        return ("timestamp", unit) if unit else ("int64", None)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        return _text_type(values), None
    if pa.types.is_list(kind):
        element = next((name for fits, name in known if fits(kind.value_type)), "string" if pa.types.is_string(kind.value_type) else None)
        return (f"list<{element}>" if element else None), None
    return next((name for fits, name in known if fits(kind)), None), None


def _epoch_unit(values: pa.ChunkedArray) -> str | None:
    bounds = pc.min_max(values).as_py()
    if bounds["min"] is None:
        return None
    return next((unit for unit, (low, high) in _EPOCHS.items() if low <= bounds["min"] and bounds["max"] < high), None)


def _text_type(values: pa.ChunkedArray) -> str:
    texts = [text for text in values.to_pylist() if text is not None]
    if not texts or not all(CALENDAR.match(text) for text in texts):
        return "string"
    if all(_reads(date.fromisoformat, text) for text in texts):
        return "date"
    return "timestamp" if all(_reads(datetime.fromisoformat, text) and ":" in text for text in texts) else "string"


def _reads(read: Callable[[str], object], text: str) -> bool:
    try:
        return bool(read(text))
    except (ValueError, TypeError):
        return False


def _times(columns: Sequence[_Guess]) -> list[_Guess]:
    """Columns that can be the event time, best first: by name, then by having a value in every row."""
    moments = [column for column in columns if column.type == "timestamp" and column.is_given]
    return sorted(moments, key=lambda column: (column.has_nulls, not _TIME_NAMES.search(column.name)))


def _entities(keys: Sequence[_Guess]) -> list[_Guess]:
    """Columns that can be the key, best first: called an id, in every row, and the same in several of them."""
    given = [column for column in keys if column.is_given]
    return sorted(given, key=lambda column: (not _ID_NAME.search(column.name), column.has_nulls, column.is_distinct))


def _chosen(columns: Sequence[_Guess], given: str | None, what: str, option: str, candidates: Sequence[_Guess]) -> _Guess:
    chosen = [column for column in candidates if given in {None, column.name}]
    if chosen:
        return chosen[0]
    found = ", ".join(f"{column.name} ({column.type})" for column in columns)
    wanted = f"{given!r} cannot be the {what}" if given else f"no column can be the {what}"
    raise InvalidDataError(f"The sample's columns are {found}; {wanted}. Name another by {option}, or write the contract by hand.")


def _column(column: _Guess, *, is_required: bool) -> dict[str, Any]:
    unit = {"epoch_unit": column.epoch_unit} if column.epoch_unit else {}
    return {"name": column.name, "type": column.type, **({"nullable": False} if is_required else {}), **unit}


def _feature_set(source: str, entity: _Guess, others: Sequence[_Guess]) -> dict[str, Any]:
    name = entity.name.lower().removesuffix("_id").lstrip("_0123456789") or "entity"
    features: list[dict[str, Any]] = [
        {"name": "f_events_7d", "type": "int64", "description": "Events in the last 7 days", "aggregation": _aggregation("count")},
        {
            "name": "f_last_event_age_sec",
            "type": "int64",
            "description": "Age of the last event, s",
            "aggregation": _aggregation("age_of_last"),
        },
    ]
    for column in [column for column in others if column.type in types.NUMERIC and not _ID_NAME.search(column.name)][:1]:
        formula = _aggregation("mean", column=column.name)
        features.append({"name": f"f_avg_{column.name.lower()}_7d"[:63], "type": "float64", "description": "", "aggregation": formula})
    return {
        "feature_set": f"{name}_features"[:63],
        "version": "v1",
        "entity": name[:63],
        "primary_keys": [entity.name],
        "source": source,
        "columns": [{"name": entity.name, "type": entity.type}, *features],
    }


def _aggregation(function: str, **taken: str) -> dict[str, str]:
    return {"function": function, "window": "7d", **taken}
