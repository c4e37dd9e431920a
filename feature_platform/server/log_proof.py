"""Rows of a response log compared with the published files of the versions that they name; vectorised. Pure; loads Arrow.

A row is proven where one version that its marker allowed has this entity with exactly these values, compared as bytes, so that a float must
be equal to its last bit. A row without values is proven where the version lacks the entity, or has it and the row was past its ttl. Finding
files does not belong here (``prove``).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_platform.core.contract import types
from feature_platform.core.online.encoding import encode_keys, encode_values
from feature_platform.core.online.layout import ViewLayout
from feature_platform.errors import InvalidDataError
from feature_platform.server.log_rows import FORMAT, IDENTITY, OWN_TYPES, PREFIX

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LogTable:
    """The rows of one log file, and the layout and ttl of the view that they were served from."""

    name: str
    table: pa.Table
    layout: ViewLayout
    ttl_s: float | None

    def column(self, name: str) -> pa.ChunkedArray:
        return self.table.column(PREFIX + name)


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that no allowed version explains, or a file that is damaged or missing."""

    file: str
    said: str
    row: int | None = None


def log_table(name: str, table: pa.Table) -> LogTable:
    """A log file's table with its identity.

    Raises:
        InvalidDataError: It is no response log, or one of another format.
    """
    try:
        identity = json.loads(table.schema.metadata[IDENTITY.encode()])
        pairs = {part: tuple((str(column), str(kind)) for column, kind in identity[part]) for part in ("keys", "features")}
        layout = ViewLayout(identity["project"], identity["view"], pairs["keys"], pairs["features"], PREFIX + "event_timestamp")
        found, ttl_s = str(identity["format"]), identity["ttl_s"]
        expected = {**OWN_TYPES, **{column: types.arrow_type(kind) for column, kind in (*layout.keys, *layout.features)}}
    except (TypeError, KeyError, ValueError) as error:
        raise InvalidDataError(f"{name} is no response log: {error!r}.") from error
    if found != FORMAT:
        raise InvalidDataError(f"{name} is a response log of format {found}, expected {FORMAT}.")
    wrong = [column for column, kind in expected.items() if column not in table.column_names or table.schema.field(column).type != kind]
    if wrong or set(table.column_names) != set(expected):
        raise InvalidDataError(f"{name} lacks columns of a response log, or has them of another type: {', '.join(wrong) or 'too many'}.")
    nulls = [column for column in OWN_TYPES if table.column(column).null_count and column != PREFIX + "event_timestamp"]
    if nulls or pc.list_flatten(table.column(PREFIX + "versions")).null_count:
        raise InvalidDataError(f"{name} was changed: every row says how it was served, found nulls in {', '.join(nulls or ['@versions'])}.")
    return LogTable(name, table.combine_chunks(), layout, ttl_s)


def claims(log: LogTable) -> dict[tuple[str, tuple[str, ...]], npt.NDArray[np.int64]]:
    """(state, versions) → the places of the rows that say they were served from these versions in this state; each row is in one."""
    texts = pc.binary_join_element_wise(log.column("state"), pc.binary_join(log.column("versions"), " "), "|")
    encoded = texts.combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    found = {}
    for code, text in enumerate(encoded.dictionary.to_pylist()):
        state, _, versions = text.partition("|")
        found[state, tuple(versions.split())] = np.flatnonzero(codes == code)
    return found


def proven(log: LogTable, places: npt.NDArray[np.int64], version: pa.Table, *, timestamp_field: str) -> Mask:
    """Which of a log's rows one published version explains.

    Args:
        version: The version's keys, event timestamp and features of the log.
    """
    rows = log.table.take(pa.array(places))
    at = places_in(rows, version, log.layout)
    known = at.is_valid().to_numpy(zero_copy_only=False)
    there = rows.column(PREFIX + "event_timestamp").is_valid().to_numpy()
    late = rows.column(PREFIX + "late").to_numpy()
    matching = version.take(at.fill_null(0)) if version.num_rows else version
    if not version.num_rows:
        return np.asarray(~there & _withheld(rows, log))
    same_moment = _equal(rows.column(PREFIX + "event_timestamp"), matching.column(timestamp_field))
    served = np.ones(len(places), np.bool_)
    for name, kind in log.layout.features:
        published = matching.column(name) if name in matching.column_names else _never_written(rows, kind)
        served &= _same_values(rows.column(name), published, kind)
    withheld = _withheld(rows, log) & _was_late(rows, log)
    return np.asarray(np.where(there, known & same_moment & np.where(late, withheld, served), ~known & _withheld(rows, log)))


def places_in(rows: pa.Table, version: pa.Table, layout: ViewLayout) -> pa.Array:
    """Where each row's entity stands in the version; null where it does not."""
    if any(name not in version.column_names for name, _ in layout.keys):
        return pa.nulls(rows.num_rows, pa.int64())  # the registry has the keys of a contract that is not online yet
    first, _ = layout.keys[0]
    wanted = pc.unique(rows.column(first))
    near = np.flatnonzero(pc.is_in(version.column(first), value_set=wanted).to_numpy())
    keys = _entity_keys(version.select([name for name, _ in layout.keys]).take(pa.array(near)), layout)
    found = pc.index_in(_entity_keys(rows, layout), value_set=keys)
    return pa.array(near).take(found)


def _entity_keys(table: pa.Table, layout: ViewLayout) -> pa.Array:
    batches = table.select([name for name, _ in layout.keys]).combine_chunks().to_batches()
    return encode_keys(batches[0], layout) if batches else pa.array([], pa.binary())


def _same_values(logged: pa.ChunkedArray, published: pa.ChunkedArray, kind: str) -> Mask:
    left, right = encode_values(_whole(logged), kind), encode_values(_whole(published), _stored(published, kind))
    return _equal(left, right)


def _never_written(rows: pa.Table, kind: str) -> pa.ChunkedArray:
    """A feature that the registry has and the version that is online lacks yet."""
    return pa.chunked_array([pa.nulls(rows.num_rows, types.arrow_type(kind))])


def _stored(published: pa.ChunkedArray, kind: str) -> str:
    """The contract type of a published column: a registry calls a date a timestamp."""
    return "date" if pa.types.is_date(published.type) else kind


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) and whole.num_chunks else whole


def _equal(left: Any, right: Any) -> Mask:
    return np.asarray(pc.fill_null(pc.equal(left, right), False).to_numpy(zero_copy_only=False) if len(left) else np.zeros(0, np.bool_))


def _withheld(rows: pa.Table, log: LogTable) -> Mask:
    empty = np.ones(rows.num_rows, np.bool_)
    for name, _ in log.layout.features:
        empty &= rows.column(name).is_null().to_numpy()
    return empty


def _was_late(rows: pa.Table, log: LogTable) -> Mask:
    if log.ttl_s is None:
        return np.zeros(rows.num_rows, np.bool_)
    age = pc.subtract(rows.column(PREFIX + "at"), rows.column(PREFIX + "event_timestamp"))
    return np.asarray(pc.fill_null(pc.greater(age, pa.scalar(timedelta(seconds=log.ttl_s), pa.duration("us"))), False).to_numpy())


def described_row(log: LogTable, place: int, *, versions: Sequence[str], published: Mapping[str, Any] | None) -> str:
    """One unexplained row in a sentence: the entity, what was served, and what the last version that was compared has."""
    row = {name: log.table.column(name)[place].as_py() for name in log.table.column_names if not name.startswith(PREFIX)}
    keys = ", ".join(f"{name}={row.pop(name)!r}" for name, _ in log.layout.keys)
    expected = "the version lacks it" if published is None else f"expected { ({name: published.get(name) for name in row})!r}"
    return f"{log.layout.view} {keys}: served {row!r}, {expected} ({', '.join(versions) or 'no version'})"
