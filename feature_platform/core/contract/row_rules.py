"""Rules for the rows of every version: sorted by primary key, each key once, keys and timestamp present, floats finite.

Bounds that an author chooses (``checks`` of a contract) do not belong here.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_platform.core.contract.feature_set import Contract
from feature_platform.errors import InvalidDataError


class RowRules:
    """Checks a version's rows batch by batch; state carries over from one batch to the next."""

    def __init__(self, contract: Contract) -> None:
        self._name = contract.feature_set
        self._keys = contract.primary_keys
        self._required = [*contract.primary_keys, contract.timestamp_field]
        self._last: list[pa.Array] | None = None
        self._rows = 0

    def check(self, batch: pa.RecordBatch) -> None:
        """Check the next rows.

        Raises:
            InvalidDataError: With one sentence for each rule that a row breaks, naming the first such row.
        """
        faults = [
            f"column {name!r}: row {self._rows + _first(batch[name].is_null())} is null; expected a value in every row"
            for name in self._required
            if batch[name].null_count
        ]
        faults += self._not_finite(batch)
        if not faults:
            faults += self._disorder(batch)
        if faults:
            raise InvalidDataError(f"Rows of {self._name!r} cannot become a version; correct how they are computed:", faults)
        self._rows += batch.num_rows
        if batch.num_rows:
            self._last = [batch[key].slice(batch.num_rows - 1) for key in self._keys]

    def _not_finite(self, batch: pa.RecordBatch) -> list[str]:
        faults = []
        for field, column in zip(batch.schema, batch.columns, strict=True):
            is_list = pa.types.is_list(field.type)
            values = column.flatten() if is_list else column
            if not pa.types.is_floating(values.type):
                continue
            finite = np.isfinite(values.to_numpy(zero_copy_only=False)) | _nulls(values)
            if not finite.all():
                place = int(np.argmin(finite))
                where = "a list" if is_list else f"row {self._rows + place}"
                faults.append(f"column {field.name!r}: {where} holds {values[place].as_py()}; expected finite numbers or null")
        return faults

    def _disorder(self, batch: pa.RecordBatch) -> list[str]:
        keys = [batch[key] for key in self._keys]
        if self._last is not None:
            keys = [pa.concat_arrays([last, key]) for last, key in zip(self._last, keys, strict=True)]
        if len(keys[0]) < 2:
            return []
        rises, same = _compare(keys)
        if rises.all():
            return []
        place = int(np.argmin(rises))
        row = self._rows + place + (0 if self._last is not None else 1)
        key = ", ".join(f"{name}={values[place + 1].as_py()!r}" for name, values in zip(self._keys, keys, strict=True))
        if same[place]:
            return [f"primary key: {key} stands twice, the second time in row {row}; expected each key once"]
        return [f"primary key: row {row} ({key}) stands after a greater key; expected rows sorted by {', '.join(self._keys)}"]


def _compare(keys: list[pa.Array]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """For each row but the first: is its key greater than the one before, and is it the same."""
    rises = np.zeros(len(keys[0]) - 1, dtype=np.bool_)
    same = np.ones(len(keys[0]) - 1, dtype=np.bool_)
    for values in keys:
        before, after = values.slice(0, len(values) - 1), values.slice(1)
        rises |= same & pc.greater(after, before).to_numpy(zero_copy_only=False)
        same &= pc.equal(after, before).to_numpy(zero_copy_only=False)
    return rises, same


def _nulls(values: pa.Array) -> np.ndarray[Any, Any]:
    nulls: np.ndarray[Any, Any] = values.is_null().to_numpy(zero_copy_only=False)
    return nulls


def _first(mask: pa.Array) -> int:
    return int(pc.index(mask, True).as_py())
