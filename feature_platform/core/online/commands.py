"""Rows of a feature view → Redis commands on the wire, in bulk: the buffer that is built here *is* what the socket sends.

Sending does not belong here, nor what surrounds the commands (transactions, fences: ``adapters.online_store.redis_channel``).

Every row becomes one binary value: one ``HSET`` with all fields of the view, so that a reader never sees half of a row, followed by
``PEXPIREAT`` and ``HDEL`` where they are needed. A row is framed as commands (``*n`` …) or, for a server-side script that issues them, as
arguments that begin with their number.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_platform.core.online.encoding import Lengths, encode_keys, encode_timestamps, value_pieces
from feature_platform.core.online.layout import ViewLayout
from feature_platform.core.online.resp import bulk

Framing = Literal["command", "argument"]

_BINARY: Final = pa.binary()
_DENSE_LENGTHS: Final = 4096
"""Up to this length a header is made for every possible length and looked up by it; beyond, only for lengths that occur."""


@dataclass(frozen=True, slots=True)
class Frames:
    """One framed value per row: ``commands`` commands each, ``arguments`` arguments each when a script issues them.

    ``keys`` are the Redis keys that the rows touch, for routing.
    """

    rows: pa.Array
    keys: pa.Array
    commands: int
    arguments: int


def upserts(
    batch: pa.RecordBatch, layout: ViewLayout, *, expire_at_ms: int | None = None, obsolete: tuple[bytes, ...] = (), framing: Framing
) -> Frames:
    """Commands that make each row's entity serve exactly this row.

    Args:
        expire_at_ms: When the server drops the keys (Unix time); never where left out.
        obsolete: Fields of features that the view had before, removed in passing.
        framing: Commands, or arguments of a script.

    Raises:
        InvalidDataError: A key or event timestamp is null, or a list holds nulls.
    """
    # HSET takes all fields of a row in one command, so that no reader sees half of it. HDEL and PEXPIREAT follow in the same chunk.
    keys = encode_keys(batch, layout)
    key_parts = _bulks(keys)
    count = 2 * len(layout.fields)
    parts: list[Any] = [_opening(b"HSET", count + 2, framing), *key_parts, bulk(layout.timestamp_key), *_bulks(_constant(batch, layout))]
    for (name, kind), field in zip(layout.features, layout.fields[1:], strict=True):
        pieces = value_pieces(batch.column(name), kind)
        parts += [bulk(field), *_framed(pieces.lengths, *pieces.parts)]
    commands, arguments = 1, count + 3
    if expire_at_ms is not None:
        # A moment and not a duration: every chunk of a load then agrees, however long the load takes.
        parts += [_opening(b"PEXPIREAT", 3, framing), *key_parts, bulk(b"%d" % expire_at_ms)]
        commands, arguments = commands + 1, arguments + 4
    if obsolete:
        parts += [_opening(b"HDEL", 2 + len(obsolete), framing), *key_parts, *map(bulk, obsolete)]
        commands, arguments = commands + 1, arguments + 3 + len(obsolete)
    return Frames(_join(parts), keys, commands, arguments)


def removals(keys: pa.Array, fields: tuple[bytes, ...], *, framing: Framing) -> Frames:
    """Commands that remove one view's fields of each entity; Redis drops a hash with its last field."""
    parts = [_opening(b"HDEL", 2 + len(fields), framing), *_bulks(keys), *map(bulk, fields)]
    return Frames(_join(parts), keys, commands=1, arguments=3 + len(fields))


def _opening(verb: bytes, arguments: int, framing: Framing) -> bytes:
    return (b"*%d\r\n" % arguments if framing == "command" else bulk(b"%d" % arguments)) + bulk(verb)


def _constant(batch: pa.RecordBatch, layout: ViewLayout) -> pa.Array | bytes:
    """The event timestamps; as one value where all are the same, which they are in a daily version."""
    column = batch.column(layout.timestamp_field)
    if len(column) and pc.all(pc.equal(column, column[0]), skip_nulls=False).as_py():
        return bytes(encode_timestamps(column.slice(0, 1))[0].as_py())
    return encode_timestamps(column)


def _bulks(values: pa.Array | bytes) -> list[Any]:
    if isinstance(values, bytes):
        return [bulk(values)]
    return _framed(pc.binary_length(values).to_numpy(zero_copy_only=False), values)


def _framed(lengths: Lengths, *parts: pa.Array) -> list[Any]:
    # The two ends are looked at first: where lengths differ, they nearly always differ there, and no pass is needed.
    if len(lengths) and lengths[0] == lengths[-1] and (lengths == lengths[0]).all():
        return [b"$%d\r\n" % lengths[0], *parts, b"\r\n"]
    return [_headers(lengths), *parts, b"\r\n"]


def _headers(lengths: Lengths) -> pa.Array:
    longest = int(lengths.max(initial=0))
    if longest < _DENSE_LENGTHS:
        known, place = np.arange(longest + 1), lengths
    else:
        known, place = np.unique(lengths, return_inverse=True)
    return pa.array([b"$%d\r\n" % length for length in known], _BINARY).take(pa.array(place))


def _join(parts: list[Any]) -> pa.Array:
    """One value per row; neighbouring constants are merged first, since every part costs a pass."""
    merged: list[Any] = []
    for part in parts:
        if isinstance(part, bytes) and merged and isinstance(merged[-1], bytes):
            merged[-1] += part
        else:
            merged.append(part)
    return pc.binary_join_element_wise(*(pa.scalar(part, _BINARY) if isinstance(part, bytes) else part for part in merged), b"")
