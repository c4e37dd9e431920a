"""How two versions of one feature set differ, row by row and column by column: two files sorted by key, merged in bounded memory.

A value that would be stored by other bytes is another one: 0.0 is not -0.0. Reading files and sending commands does not belong here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_platform.core.contract import types
from feature_platform.core.online.encoding import encode_keys, encode_values
from feature_platform.core.online.layout import ViewLayout

PATTERNS: Final = 64
"""How many different sets of changed columns one batch writes separately; rows with a rarer set are written with all their columns."""

_BITS: Final = {"float32": pa.int32(), "float64": pa.int64()}


@dataclass(frozen=True, slots=True)
class Changed:
    """Rows in which the same features changed, and a layout of only these features. The event timestamp is always written too."""

    rows: pa.RecordBatch
    layout: ViewLayout


@dataclass(frozen=True, slots=True)
class Difference:
    """One range of keys: rows that the later version changed or added, keys that it lacks, and how many rows it has in the range."""

    changed: Sequence[Changed]
    vanished: pa.Array
    rows: int


class _Sorted:
    """A version's batches, taken from the front."""

    def __init__(self, batches: Iterator[pa.RecordBatch], layout: ViewLayout) -> None:
        self._batches = (batch for batch in batches if batch.num_rows)
        self._keys = [name for name, _ in layout.keys]
        self.batch = next(self._batches, None)

    @property
    def last(self) -> tuple[Any, ...]:
        """The key of the last row of the present batch."""
        assert self.batch is not None
        return self._key(self.batch.num_rows - 1)

    def take(self, until: tuple[Any, ...]) -> pa.RecordBatch | None:
        """The rows of the present batch up to and including a key; None where there is no batch."""
        if self.batch is None:
            return None
        if self.last <= until:
            taken, self.batch = self.batch, next(self._batches, None)
            return taken
        low, high = 0, self.batch.num_rows
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self._key(middle) <= until else (low, middle)
        taken, self.batch = self.batch.slice(0, low), self.batch.slice(low)
        return taken

    def _key(self, row: int) -> tuple[Any, ...]:
        assert self.batch is not None
        return tuple(self.batch.column(name)[row].as_py() for name in self._keys)


def differences(earlier: Iterator[pa.RecordBatch], later: Iterator[pa.RecordBatch], layout: ViewLayout) -> Iterator[Difference]:
    """What to write and remove so that a store that holds the earlier version holds the later one.

    Args:
        earlier: Rows of the earlier version, sorted by primary key, with the columns of the layout.
        later: Rows of the later version, in the same order and shape.
    """
    before, after = _Sorted(earlier, layout), _Sorted(later, layout)
    while before.batch is not None or after.batch is not None:
        # Both are cut at the same key, so that an added or removed row shifts the rows after it only until the next cut.
        until = min(side.last for side in (before, after) if side.batch is not None)
        yield _compared(before.take(until), after.take(until), layout)


def _compared(before: pa.RecordBatch | None, after: pa.RecordBatch | None, layout: ViewLayout) -> Difference:
    nothing = pa.array([], pa.binary())
    if before is None or not before.num_rows:
        new = [] if after is None or not after.num_rows else [Changed(after, layout)]
        return Difference(new, nothing, after.num_rows if after is not None else 0)
    if after is None or not after.num_rows:
        return Difference([], encode_keys(before, layout), 0)
    if _have_equal_keys(before, after, layout):
        return Difference(_changed(before, after, layout), nothing, after.num_rows)
    old, new = encode_keys(before, layout), encode_keys(after, layout)
    places = pc.index_in(new, value_set=old)
    added = after.filter(places.is_null())
    changed = _changed(before.take(places.drop_null()), after.filter(places.is_valid()), layout)
    return Difference(
        [*changed, *([Changed(added, layout)] if added.num_rows else [])],
        old.filter(pc.invert(pc.is_in(old, value_set=new))),
        after.num_rows,
    )


def _have_equal_keys(before: pa.RecordBatch, after: pa.RecordBatch, layout: ViewLayout) -> bool:
    return before.num_rows == after.num_rows and all(before.column(name).equals(after.column(name)) for name, _ in layout.keys)


def _changed(before: pa.RecordBatch, after: pa.RecordBatch, layout: ViewLayout) -> list[Changed]:
    """Changed rows, grouped by which features changed; both batches have the same keys in the same order."""
    timestamp = _differs(before.column(layout.timestamp_field), after.column(layout.timestamp_field), "timestamp")
    columns = [_differs(before.column(name), after.column(name), kind) for name, kind in layout.features]
    any_changed = np.logical_or.reduce([timestamp, *columns])
    if not any_changed.any():
        return []
    rows = after.filter(pa.array(any_changed))
    pattern = np.column_stack([column[any_changed] for column in columns]) if columns else np.zeros((rows.num_rows, 0), np.bool_)
    packed = np.packbits(pattern, axis=1) if columns else np.zeros((rows.num_rows, 1), np.uint8)
    width = pa.binary(packed.shape[1])
    encoded = pa.Array.from_buffers(width, rows.num_rows, [None, pa.py_buffer(np.ascontiguousarray(packed))]).dictionary_encode()
    groups = encoded.indices.to_numpy(zero_copy_only=False)
    common = np.argsort(-np.bincount(groups))[:PATTERNS]
    found = []
    for group in common:
        chosen = groups == group
        names = pattern[np.argmax(chosen)]
        features = tuple(feature for feature, has in zip(layout.features, names, strict=True) if has)
        found.append(Changed(rows.filter(pa.array(chosen)), replace(layout, features=features)))
    rare = ~np.isin(groups, common)
    return [*found, Changed(rows.filter(pa.array(rare)), layout)] if rare.any() else found


def _differs(before: pa.Array, after: pa.Array, kind: str) -> npt.NDArray[np.bool_]:
    """For each row, whether the two columns would be stored as different bytes; it may be True in vain, never False wrongly."""
    if types.element_type(kind) is not None:
        before, after = encode_values(before, kind), encode_values(after, kind)
    elif kind in _BITS:
        before, after = before.view(_BITS[kind]), after.view(_BITS[kind])
    if not before.null_count and not after.null_count:
        return np.asarray(pc.not_equal(before, after).to_numpy(zero_copy_only=False), np.bool_)
    # Arrow's comparison is null where either side is null; then the values differ where only one side is.
    unequal = pc.coalesce(pc.not_equal(before, after), pc.xor(before.is_null(), after.is_null()))
    return np.asarray(unequal.to_numpy(zero_copy_only=False), np.bool_)
