"""The rows that a training set is made for: their moments, their keys, and what is wrong with them. Reading files does not belong here."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_platform.core.training.lookup import asked_schema
from feature_platform.core.versions.feature_table import FileDigest
from feature_platform.errors import InvalidDataError

_MOMENT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of any shape; ``batches`` may be called more than once and yields the same rows each time."""

    schema: pa.Schema
    batches: Callable[[], Iterator[pa.RecordBatch]]


@dataclass(frozen=True, slots=True)
class StagedFile:
    """Rows in a local Parquet file that is about to be kept."""

    path: Path
    digest: FileDigest
    rows: int
    schema: pa.Schema


def check_labels(
    labels: Rows, *, timestamp: str, keys: Sequence[pa.Field], taken: Sequence[str], now: datetime
) -> tuple[datetime, datetime]:
    """The oldest and the newest moment of the labels, where they can be used.

    Args:
        timestamp: The column that says when each example's answer was known.
        taken: Columns that the training set adds.
        now: Nothing can be known of what lies beyond it.

    Raises:
        InvalidDataError: Columns are missing, have other types or nulls, collide with what is added, or a moment lies in the future.
    """
    faults = _shape_faults(labels.schema, timestamp, keys, taken)
    moments: list[datetime] = []
    if not faults:
        moments, faults = _value_faults(labels, timestamp, keys)
        if not moments and not faults:
            faults = ["there is no row; expected at least one"]
    if moments and max(moments) > now:
        faults.append(f"column {timestamp!r} goes to {max(moments).isoformat()}, in the future: what will be known then is not known yet")
    if faults:
        raise InvalidDataError("The labels cannot be used:", faults)
    return min(moments), max(moments)


def _value_faults(labels: Rows, timestamp: str, keys: Sequence[pa.Field]) -> tuple[list[datetime], list[str]]:
    """The oldest and the newest moment of each batch, and what is wrong with moments and keys."""
    moments: list[datetime] = []
    nulls = dict.fromkeys([timestamp, *(key.name for key in keys)], 0)
    unfit: dict[str, str] = {}
    for batch in labels.batches():
        for name in nulls:
            nulls[name] += batch.column(name).null_count
        for key in keys:
            try:
                batch.column(key.name).cast(key.type)
            except pa.ArrowException as error:
                unfit[key.name] = f"key {key.name!r} does not fit {key.type}: {error}"
        # Cut to microseconds first: Python's moments have no nanoseconds.
        ends = pc.min_max(batch.column(timestamp).cast(_MOMENT, safe=False)).as_py()
        moments += [moment for moment in ends.values() if moment is not None]
    faults = [f"column {name!r} is null in {count} row(s); expected a value in each" for name, count in nulls.items() if count]
    return moments, faults + list(unfit.values())


def _shape_faults(schema: pa.Schema, timestamp: str, keys: Sequence[pa.Field], taken: Sequence[str]) -> list[str]:
    names = schema.names
    faults = [f"column {name!r} stands more than once" for name in sorted({name for name in names if names.count(name) > 1})]
    faults += [f"column {name!r} is there already; rename it, or ask for full feature names" for name in taken if name in names]
    wanted = {timestamp: None, **{key.name: key.type for key in keys}}
    faults += [f"column {name!r} is missing; found {', '.join(names)}" for name in wanted if name not in names]
    if timestamp in names and names.count(timestamp) == 1:
        kind = schema.field(timestamp).type
        if not pa.types.is_timestamp(kind) or kind.tz is None:
            faults.append(f"column {timestamp!r} is {kind}; expected a timestamp with a time zone, e.g. UTC")
    for name, expected in wanted.items():
        found = schema.field(name).type if expected is not None and names.count(name) == 1 else None
        if found is not None and found != expected and not _widens(found, expected):
            faults.append(f"key {name!r} is {found}; expected {expected}")
    return faults


def _widens(found: pa.DataType, expected: pa.DataType) -> bool:
    if pa.types.is_integer(expected):
        return bool(pa.types.is_integer(found))
    return bool(pa.types.is_large_string(found) or pa.types.is_string_view(found) or _is_dictionary_of_text(found))


def _is_dictionary_of_text(found: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(found) and (pa.types.is_string(found.value_type) or pa.types.is_large_string(found.value_type)))


def asked(batches: Iterator[pa.RecordBatch], *, timestamp: str, keys: Sequence[pa.Field]) -> pa.RecordBatchReader:
    """What lookups are asked with: position, moment and keys of every label row. Moments are cut to whole microseconds, never later."""
    schema = asked_schema(keys)

    def rows() -> Iterator[pa.RecordBatch]:
        place = 0
        for batch in batches:
            moment = batch.column(timestamp).cast(_MOMENT, safe=False)
            positions = pa.array(np.arange(place, place + batch.num_rows))
            columns = [batch.column(key.name).cast(key.type) for key in keys]
            yield pa.RecordBatch.from_arrays([positions, moment, *columns], schema=schema)
            place += batch.num_rows

    return pa.RecordBatchReader.from_batches(schema, rows())
