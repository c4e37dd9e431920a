"""Which entities of an earlier version a later one lacks, and which Redis Cluster slot a key belongs to.

Both work on encoded keys in bulk and in bounded memory. Reading files and sending commands does not belong here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_platform.core.online.encoding import encode_keys
from feature_platform.core.online.layout import ViewLayout
from feature_platform.core.online.slots import SLOTS, hash_tag


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
    """The cluster slot of each key: CRC16 (XMODEM) modulo 16384 of its hash tag, or of the whole key where it has none.

    Source: Redis Cluster specification, "Hash tags". Binary keys may hold braces by accident, and Redis honours them.
    """
    hashed = _with_tags_cut(keys)
    lengths = pc.binary_length(hashed).to_numpy(zero_copy_only=False)
    offsets = np.frombuffer(hashed.buffers()[1], np.int32)[hashed.offset : hashed.offset + len(hashed)]
    data = np.frombuffer(hashed.buffers()[2] or b"", np.uint8)
    # One pass for each byte position over all keys; keys of one view have nearly one length.
    crc = np.zeros(len(hashed), np.uint16)
    for place in range(int(lengths.max(initial=0))):
        longer = np.flatnonzero(lengths > place)
        byte = data[offsets[longer] + place]
        crc[longer] = (crc[longer] << np.uint16(8)) ^ _CRC16[(crc[longer] >> np.uint16(8)) ^ byte]
    return crc & np.uint16(SLOTS - 1)


def _with_tags_cut(keys: pa.Array) -> pa.Array:
    braced = pc.match_substring(keys, b"{")
    if not pc.any(braced).as_py():
        return keys
    return pa.array([hash_tag(key) if has else key for key, has in zip(keys.to_pylist(), braced.to_pylist(), strict=True)], pa.binary())


def _crc16_table() -> npt.NDArray[np.uint16]:
    table = []
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
        table.append(crc)
    return np.array(table, np.uint16)


_CRC16: Final = _crc16_table()
