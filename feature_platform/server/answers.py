"""Replies of the online store → the bytes of an answer, in the form of Feast's HTTP server.

Pure. Which version the values are of does not belong here (``proof``), nor reading them.

Only values differ from one answer to the next: statuses and timestamps of a whole version are one text, so they are kept as bytes, and
values are encoded column by column.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec

from feature_platform.core.online.decoding import Raw, timestamp_of
from feature_platform.server.plans import RequestPlan, ViewPlan
from feature_platform.server.proof import Proof
from feature_platform.server.values import timestamp_text

Reply = Sequence[Raw]
"""One entity's row: the bytes of its features in the plan's order, then of its event timestamp."""

Row = tuple[Any, ...]
"""The same row decoded: values, then the bytes of the event timestamp."""

_encode: Final = msgspec.json.Encoder().encode
_EPOCH: Final = b""
"""Event timestamp of an entity that is not online: Feast's Redis store serves it as nulls of 1970 with status PRESENT, and so do we."""


class ViewColumns(msgspec.Struct):
    """One view's part of an answer: values by column, stored event timestamps, and what follows the values in each column's JSON.

    ``late`` says of each row whether it is past its ttl, None where none is.
    """

    plan: ViewPlan
    columns: list[list[Any]]
    stamps: Sequence[Raw]
    tail: bytes
    late: list[bool] | None


@dataclass(frozen=True, slots=True)
class LoggedAnswer:
    """One answer as it was given; ``keys`` are join key → values."""

    at_s: float
    number: int
    project: str
    keys: Mapping[str, Sequence[Any]]
    views: Sequence[ViewColumns]
    proofs: Sequence[Proof]


def view_columns(plan: ViewPlan, replies: Sequence[Reply], *, now_s: float) -> ViewColumns:
    """Decode one view's replies; rows past their ttl at ``now_s`` (Unix time) become nulls.

    Raises:
        UnplannedRequestError: A stored value is of a type that no contract allows.
    """
    *columns, stamps = zip(*replies)  # noqa: B905  as in columns_of_rows
    late, tail = _judged(plan, stamps, now_s=now_s)
    if late is not None:
        columns = [tuple(None if gone else raw for raw, gone in zip(column, late, strict=True)) for column in columns]
    read = [reader(columns[place]) for place, reader in enumerate(plan.readers)]
    return ViewColumns(plan, read, stamps, tail, late)


def decoded_rows(plan: ViewPlan, replies: Sequence[Reply]) -> list[Row]:
    """One view's replies decoded row by row, for a cache: the ttl is not applied yet. Errors are those of :func:`view_columns`."""
    *columns, stamps = zip(*replies, strict=True)
    return list(zip(*(read(column) for read, column in zip(plan.readers, columns, strict=True)), map(_shared, stamps), strict=True))


@lru_cache(maxsize=65_536)
def _shared(stamp: Raw) -> Raw:
    """The same object for equal event timestamps: a version has few, and each row's own would be one more object to fetch from memory."""
    return stamp


def columns_of_rows(plan: ViewPlan, rows: Sequence[Row], *, now_s: float) -> ViewColumns:
    """What :func:`view_columns` makes of replies, from rows that were decoded before."""
    *columns, stamps = map(list, zip(*rows))  # noqa: B905  looking for rows of other lengths costs as much as a small request's rows
    late, tail = _judged(plan, stamps, now_s=now_s)
    if late is not None:
        columns = [[None if gone else value for value, gone in zip(column, late, strict=True)] for column in columns]
    return ViewColumns(plan, columns, stamps, tail, late)


def _judged(plan: ViewPlan, stamps: Sequence[Raw], *, now_s: float) -> tuple[list[bool] | None, bytes]:
    first = stamps[0]
    is_uniform = stamps.count(first) == len(stamps)  # nearly always: a version has one; cheaper than hashing each
    if is_uniform and not _is_late(plan, first, now_s):
        return None, _uniform_tail(len(stamps), first or _EPOCH)
    past_ttl = {raw for raw in set(stamps) if _is_late(plan, raw, now_s)}
    late = [raw in past_ttl for raw in stamps] if past_ttl else None
    statuses = [b'"OUTSIDE_MAX_AGE"' if gone else b'"PRESENT"' for gone in late or [False] * len(stamps)]
    return late, _tail(statuses, [timestamp_text(raw or _EPOCH) for raw in stamps])


def _is_late(plan: ViewPlan, stamp: Raw, now_s: float) -> bool:
    ttl_s = plan.view.ttl_s
    if not stamp or ttl_s is None:
        return False
    return now_s - _moment_s(stamp) > ttl_s


@lru_cache(maxsize=65_536)
def _moment_s(stamp: bytes) -> float:
    seconds, nanos = timestamp_of(stamp)
    return seconds + nanos / 1e9


@lru_cache(maxsize=256)
def _uniform_tail(count: int, stamp: bytes) -> bytes:
    return _tail([b'"PRESENT"'] * count, [timestamp_text(stamp)] * count)


def _tail(statuses: Sequence[bytes], stamps: Sequence[str]) -> bytes:
    return b',"statuses":[%s],"event_timestamps":["%s"]}' % (b",".join(statuses), '","'.join(stamps).encode())


def answer_body(plan: RequestPlan, keys: Mapping[str, list[Any]], views: Sequence[ViewColumns]) -> bytes:
    """The JSON document: join keys as columns first, then every view's features."""
    # One join of all parts: the texts that all values share are ten times as long as the values, and every other way copies them twice.
    opening, parts = b'{"results":[{"values":', list[bytes]()
    for values in keys.values():
        parts += (opening, _encode(values), _uniform_tail(len(values), _EPOCH))
        opening = b',{"values":'
    for view in views:
        tail = view.tail
        for values in view.columns:
            parts += (opening, _encode(values), tail)
    parts += (b'],"metadata":{"feature_names":', _names(tuple(keys), plan.names), plan.metadata, b"}}")
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _names(keys: tuple[str, ...], features: tuple[str, ...]) -> bytes:
    return json.dumps([*keys, *features], separators=(",", ":"), ensure_ascii=False).encode()
