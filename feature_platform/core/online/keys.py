"""Which entities of an earlier version a later one lacks, and which Redis Cluster slot a key belongs to.

Both work on encoded keys in bulk and in bounded memory. Reading files and sending commands does not belong here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_platform.core.online.encoding import encode_keys
from feature_platform.core.online.layout import ViewLayout
from feature_platform.core.online.slots import key_slot


@dataclass(frozen=True, slots=True)
class KeyBatch:
    """Consecutive entities of a version in primary key order: their Redis keys, and the last one's primary key values."""

    keys: pa.Array
    last: tuple[Any, ...]


def key_batches(batches: Iterator[pa.RecordBatch], layout: ViewLayout) -> Iterator[KeyBatch]:
    """The keys of a version's rows, which are sorted by primary key."""
    for batch in batches:
        if batch.num_rows:
            yield KeyBatch(encode_keys(batch, layout), tuple(batch.column(name)[-1].as_py() for name, _ in layout.keys))


def vanished(earlier: Iterator[KeyBatch], current: Iterator[KeyBatch]) -> Iterator[pa.Array]:
    """Keys that ``earlier`` has and ``current`` lacks, batch by batch, holding only the batches that overlap.

    Both must be sorted by the same primary key columns.
    """
    # A merge of two sorted files: of the current version only the batches that reach into this earlier batch are held. Keys are compared by
    # value and not as bytes, because little-endian integers do not sort as numbers.
    window: list[KeyBatch] = []
    for batch in earlier:
        while not window or window[-1].last < batch.last:
            following = next(current, None)
            if following is None:
                break
            window.append(following)
        yield absent(batch.keys, [item.keys for item in window])
        window = [item for item in window if item.last > batch.last]


def absent(keys: pa.Array, present: list[pa.Array]) -> pa.Array:
    """Those of ``keys`` that none of the arrays ``present`` holds."""
    if not present:
        return keys
    return keys.filter(pc.invert(pc.is_in(keys, value_set=pa.concat_arrays(present))))


def key_slots(keys: pa.Array) -> npt.NDArray[np.uint16]:
    """The cluster slot of each key; see :func:`key_slot`. One by one: passes of numpy over all keys, byte by byte, take as long."""
    return np.fromiter(map(key_slot, keys.to_pylist()), np.uint16, len(keys))
