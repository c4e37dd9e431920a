"""The rows of the response log: how answers become Arrow tables, and which columns they have. Pure; loads Arrow.

Shape: one row per logged entity and view of an answer, in request order. ``at`` when it was answered (UTC, microseconds), ``answer`` which
answer it is part of, ``state`` and ``versions`` what it was served from (``proof``), ``event_timestamp`` (null where the entity was not
online), ``late`` whether its values were withheld because it was past its ttl; then the join keys and the features under their own names
and types, as they were served.
"""

import io
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from feature_platform.core.contract import types
from feature_platform.core.online.decoding import timestamp_of
from feature_platform.core.online.layout import NULL_TIMESTAMP
from feature_platform.server.answers import LoggedAnswer, ViewColumns
from feature_platform.server.plans import ViewPlan
from feature_platform.server.proof import Proof

FORMAT: Final = "1"
PREFIX: Final = "@"
"""Begins the names of the log's own columns, so that no feature's name collides with them."""

_MOMENT: Final = pa.timestamp("us", tz="UTC")
_OWN: Final = {
    "at": _MOMENT,
    "answer": pa.string(),
    "state": pa.string(),
    "versions": pa.list_(pa.string()),
    "event_timestamp": _MOMENT,
    "late": pa.bool_(),
}
OWN_TYPES: Final = {PREFIX + name: kind for name, kind in _OWN.items()}
IDENTITY: Final = "feature_server_log"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BUCKETS: Final = 1 << 32


@dataclass
class _Part:
    """Rows of one view and one list of features."""

    view: ViewPlan
    project: str
    own: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in _OWN})
    values: list[list[Any]] = field(default_factory=list)
    """Of the join keys, then of the features, in the plan's order."""


class LogRows:
    """Rows that are collected for files.

    Args:
        worker: Begins the id of every answer; unique to the worker.
        rate: The share of entities that is kept, by a hash of their keys.
    """

    def __init__(self, worker: str, *, rate: float) -> None:
        self._worker, self._rate = worker, rate
        self._parts: dict[tuple[int, tuple[str, ...]], _Part] = {}
        self.count = 0

    def add(self, answer: LoggedAnswer) -> None:
        for columns, proof in zip(answer.views, answer.proofs, strict=True):
            plan = columns.plan
            keys = [answer.keys[name] for name in plan.join_keys]
            places = self._sampled(keys)
            if places:
                # Not by name: a registry that was read meanwhile may have other keys or types under it.
                part = self._parts.setdefault((id(plan.view), plan.features), _Part(plan, answer.project))
                self._append(part, answer, columns, proof, keys, places)
                self.count += len(places)

    def _sampled(self, keys: Sequence[Sequence[Any]]) -> list[int]:
        rows = range(len(keys[0]))
        if self._rate >= 1:
            return list(rows)
        bound = int(self._rate * _BUCKETS)
        return [place for place in rows if zlib.crc32(repr([column[place] for column in keys]).encode()) < bound]

    def _append(
        self, part: _Part, answer: LoggedAnswer, columns: ViewColumns, proof: Proof, keys: Sequence[Sequence[Any]], places: Sequence[int]
    ) -> None:
        count = len(places)
        own: dict[str, list[Any]] = {
            "at": [_EPOCH + timedelta(seconds=answer.at_s)] * count,
            "answer": [f"{self._worker}-{answer.number}"] * count,
            "state": [proof.state] * count,
            "versions": [[version.version for version in proof.versions]] * count,
            "event_timestamp": [_moment(columns.stamps[place]) for place in places],
            "late": [bool(columns.late and columns.late[place]) for place in places],
        }
        values = [[column[place] for place in places] for column in (*keys, *columns.columns)]
        # Only now, so that an answer that cannot be logged leaves nothing of it behind.
        part.values = part.values or [[] for _ in values]
        for into, fresh in zip((*part.own.values(), *part.values), (*own.values(), *values), strict=True):
            into.extend(fresh)

    def files(self) -> Iterator[tuple[str, bytes, int]]:
        """View, Parquet bytes and rows of each file."""
        for part in self._parts.values():
            table = _table(part)
            sink = io.BytesIO()
            pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
            yield part.view.view.name, sink.getvalue(), table.num_rows


def _table(part: _Part) -> pa.Table:
    view = part.view.view
    columns = {PREFIX + name: pa.array(values, OWN_TYPES[PREFIX + name]) for name, values in part.own.items()}
    kinds = {**dict(view.keys), **dict(view.features)}
    for name, values in zip((*part.view.join_keys, *part.view.features), part.values, strict=True):
        columns[name] = served_array(values, kinds[name])
    known = {name: kinds[name] for name in (*part.view.join_keys, *part.view.features)}
    identity = {
        "format": FORMAT,
        "project": part.project,
        "view": view.name,
        "keys": [list(pair) for pair in view.keys],
        "features": [[name, known[name]] for name in part.view.features],
        "ttl_s": view.ttl_s,
    }
    return pa.table(columns).replace_schema_metadata({IDENTITY: json.dumps(identity)})


def served_array(values: Sequence[Any], kind: str) -> pa.Array:
    """Served JSON values of a registry's type as Arrow; a registry has no dates, only timestamps."""
    element = types.element_type(kind)
    if (element or kind) in {"float32", "float64"}:
        # NaN and the infinities, which JSON has no numbers for, were served as text that float() reads.
        values = [_numbers(value) for value in values]
    if (element or kind) == "timestamp":
        seconds = pa.int64() if element is None else pa.list_(pa.int64())
        stamp = pa.timestamp("s", tz="UTC") if element is None else pa.list_(pa.timestamp("s", tz="UTC"))
        if element is None:
            values = [None if value == NULL_TIMESTAMP else value for value in values]
        return pa.array(values, seconds).cast(stamp).cast(types.arrow_type(kind))
    return pa.array(values, types.arrow_type(kind))


def _numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [float(item) for item in value]
    return None if value is None else float(value)


def _moment(raw: bytes | None) -> datetime | None:
    if not raw:
        return None
    seconds, nanos = timestamp_of(raw)
    return _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
