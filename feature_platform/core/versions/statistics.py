"""Statistics of a table's columns, gathered while its rows stream by: nulls, min, max, mean, quantiles, distinct.

Everything is deterministic for equal rows in equal order cut into equal batches. Judging the figures does not belong here.
"""

import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from feature_platform.core.versions.content_hash import fixed_values, null_bytes

QUANTILES: Final = 21
"""How many quantiles: the 0th, 5th … 100th percentile."""

SAMPLE_ROWS: Final = 32_768
"""Quantiles are those of at least half this many evenly spaced values, and exact below it."""

DISTINCT_EXACT: Final = 4_096
"""Distinct counts are exact up to this many values, and within about 1.6% (one standard error) above."""

LONGEST_TEXT: Final = 128
"""Minimum and maximum of strings and bytes are cut to this many characters."""

_FIRST: Final = 1_024
"""How many hashes of a column's first rows are merged at once, to know the values of a column that has few; too few to fill a sketch."""

_TABLE_BITS: Final = 12
_SHIFT: Final = np.uint64(64 - _TABLE_BITS)


class ColumnStatistics:
    """Statistics of one column.

    Args:
        arrow: The column's type. Quantiles and mean exist for numbers, min and max for all scalars, distinct for all scalars but bytes.
    """

    def __init__(self, arrow: pa.DataType) -> None:
        self._type = arrow
        self._numeric = pa.types.is_integer(arrow) or pa.types.is_floating(arrow)
        self._ordered = not pa.types.is_list(arrow)
        self._nulls = self._count = 0
        self._sum = 0.0
        self._min: Any = None
        self._max: Any = None
        self._sample = _EvenSample()
        self._distinct = _SmallestHashes()

    def update(self, array: pa.Array) -> None:
        count = len(array) - array.null_count
        self._nulls += array.null_count
        if count and self._ordered:
            self._extend_range(array)
            # Dropping nulls copies the values. Only numbers are copied: for strings it takes longer than everything else here.
            present = array.drop_null() if self._numeric and array.null_count else array
            if self._numeric:
                values = fixed_values(present)
                with np.errstate(over="ignore"):  # a mean that no double can hold is left out
                    self._sum += float(values.sum(dtype=np.float64))
                self._sample.update(values, first=self._count)
            if not pa.types.is_binary(self._type):
                hashes = pl.Series(present).hash(seed=0).to_numpy()
                self._distinct.update(hashes[~null_bytes(present)] if present.null_count else hashes)
        self._count += count

    def _extend_range(self, array: pa.Array) -> None:
        found = pc.min_max(array)
        low, high = found["min"], found["max"]
        self._min = low if self._min is None or pc.less(low, self._min).as_py() else self._min
        self._max = high if self._max is None or pc.greater(high, self._max).as_py() else self._max

    def summary(self) -> Mapping[str, object]:
        """JSON values; ``None`` where a statistic does not apply or there was no value."""
        some = bool(self._count) and self._ordered
        return {
            "nulls": self._nulls,
            "min": _json_value(self._min) if some else None,
            "max": _json_value(self._max) if some else None,
            "mean": self._sum / self._count if some and self._numeric and math.isfinite(self._sum) else None,
            "quantiles": self._sample.quantiles() if some and self._numeric else None,
            "distinct": self._distinct.estimate() if self._ordered and not pa.types.is_binary(self._type) else None,
        }


class _EvenSample:
    """Every n-th value; n doubles whenever too many would be kept, so the rows that are kept do not depend on batches."""

    def __init__(self) -> None:
        self._stride, self._size = 1, 0
        self._parts: list[np.ndarray[Any, Any]] = []

    def update(self, values: np.ndarray[Any, Any], *, first: int) -> None:
        taken = values[-first % self._stride :: self._stride]
        while self._size + len(taken) > SAMPLE_ROWS:
            self._parts = [np.concatenate(self._parts)[::2]] if self._parts else []
            self._stride, self._size = self._stride * 2, sum(map(len, self._parts))
            taken = values[-first % self._stride :: self._stride]
        self._parts.append(taken.astype(np.float64))
        self._size += len(taken)

    def quantiles(self) -> list[float]:
        values = np.sort(np.concatenate(self._parts))
        places = np.rint(np.linspace(0, len(values) - 1, QUANTILES)).astype(np.int64)
        return [float(value) for value in values[places]]


class _SmallestHashes:
    """A bottom-k sketch: the k smallest distinct hashes give an estimate of the number of distinct values."""

    def __init__(self) -> None:
        self._kept = np.empty(0, dtype=np.uint64)
        self._pending: list[np.ndarray[Any, Any]] = []
        self._pending_size = 0

    def update(self, hashes: np.ndarray[Any, Any]) -> None:
        if len(self._kept) < DISTINCT_EXACT:
            if not len(self._kept):
                self._pending.append(hashes[:_FIRST])
            self._merge()
            hashes = _smallest_distinct(self._unknown(hashes))
        else:
            hashes = hashes[hashes < self._kept[-1]]
        self._pending.append(hashes)
        self._pending_size += len(hashes)
        if self._pending_size > DISTINCT_EXACT:
            self._merge()

    def _unknown(self, hashes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The hashes without most of those that are kept already, which saves nearly all work for a column of few distinct values.

        A table has one place for all hashes with the same first bits; an unused place holds a hash that belongs to another place.
        """
        table = np.arange(1 << _TABLE_BITS, dtype=np.uint64)[::-1] << _SHIFT
        table[self._kept >> _SHIFT] = self._kept
        unknown: np.ndarray[Any, Any] = hashes[table[hashes >> _SHIFT] != hashes]
        return unknown

    def _merge(self) -> None:
        merged = np.concatenate([self._kept, *self._pending])
        self._kept = _in_order(merged)[:DISTINCT_EXACT]
        self._pending, self._pending_size = [], 0

    def estimate(self) -> int:
        self._merge()
        if len(self._kept) < DISTINCT_EXACT:
            return len(self._kept)
        return round((DISTINCT_EXACT - 1) * 2.0**64 / float(self._kept[-1]))


def _smallest_distinct(hashes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The smallest distinct hashes: as many as a sketch can keep, or all there are; in no order.

    Hashes are spread evenly, so about three times as many as a sketch keeps lie below ``limit``. Looking only at those takes a tenth of the
    time of finding all distinct ones, and is enough unless many are equal.
    """
    if len(hashes) > 6 * DISTINCT_EXACT:
        limit = np.uint64(2**64 // len(hashes) * 3 * DISTINCT_EXACT)
        few = _in_order(hashes[hashes < limit])
        if len(few) >= DISTINCT_EXACT:
            return few[:DISTINCT_EXACT]
    distinct = pl.Series(hashes).unique().to_numpy()  # a table of hashes is faster than sorting them all
    return distinct if len(distinct) <= DISTINCT_EXACT else np.partition(distinct, DISTINCT_EXACT)[:DISTINCT_EXACT]


def _in_order(hashes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The distinct hashes, rising; NumPy's ``unique`` builds a table first, which takes three times as long for some thousands."""
    ordered = np.sort(hashes)
    distinct: np.ndarray[Any, Any] = ordered[np.diff(ordered, prepend=~ordered[:1]) != 0]
    return distinct


def _json_value(scalar: pa.Scalar) -> object:
    value = scalar.as_py()
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value[: LONGEST_TEXT // 2].hex()
    return value[:LONGEST_TEXT] if isinstance(value, str) else value
