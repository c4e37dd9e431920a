"""The numbered log over an object store: read to its end, and appended to by conditional writes.

Only new records are read: a process remembers what it has read, and a fresh one starts from the *checkpoint*, a copy of the log's first
records. The log stays the truth: a checkpoint is used only where the chain in the log's own records proves it, so one that is missing, old,
damaged or forged costs reads, and never changes the result. What is appended does not belong here (``core.publishing.publication``).
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, cast

from feature_platform.core.layout import FeatureSetLayout
from feature_platform.core.objects import IfAbsent, IfMatch, ObjectInfo, StoredObject
from feature_platform.core.publishing.requests import GetImmutable, GetObject, HeadObject, PublishingProtocol, Put, Recall, Remember, Scan
from feature_platform.core.versions.log import EMPTY, History, Record, fold, parse_record
from feature_platform.errors import ConflictError, FeaturePlatformError, FullDiskError, StorageError, UnknownOutcomeError

SETTLE_ATTEMPTS: Final = 3
"""How often a conditional write is sent at most, and looked up where its outcome is unknown, beyond the client's own retries."""

CHECKPOINT_EVERY: Final = 4
"""Records between checkpoints: a fresh process reads at most this many one by one, and a day with one version appends two."""

LARGEST_CHECKPOINT: Final = 1 << 28
"""Bytes that a checkpoint may unpack to, some 250,000 records: a forged one must not fill memory."""


def read_history(layout: FeatureSetLayout) -> PublishingProtocol[History]:
    """The feature set's history: what this process remembers, or else the checkpoint, and then the records after it.

    Raises:
        StorageError: The log is damaged or has a gap.
    """
    known = cast("History | None", (yield Recall(layout.log)))
    if known is None:
        known = yield from _checkpoint(layout)
        yield Remember(layout.log, known)
    return (yield from _read_on(layout, known))


def read_whole_log(layout: FeatureSetLayout) -> PublishingProtocol[History]:
    """The feature set's history, every record read again: this finds one that was lost or altered since it was first read.

    Raises:
        StorageError: The log is damaged or has a gap.
    """
    return (yield from _read_on(layout, EMPTY))


def _read_on(layout: FeatureSetLayout, known: History) -> PublishingProtocol[History]:
    """The history after the records that follow ``known``, whose last one must still be there."""
    last = known.next_sequence - 1
    found = cast("tuple[ObjectInfo, ...]", (yield Scan(layout.log, after=layout.log_record(last - 1))))
    listed = {layout.sequence_of(info.uri): info for info in found}
    if last and (last not in listed or listed[last].size_bytes != len(known.records[-1].to_json())):
        return (yield from _read_on(layout, EMPTY))  # the log was removed by hand and begun anew
    uris = tuple(info.uri for sequence, info in listed.items() if sequence is not None and sequence > last)
    if not uris:
        return known
    bodies = cast("tuple[bytes, ...]", (yield GetImmutable(uris)))
    history = fold((parse_record(body, uri=uri) for uri, body in zip(uris, bodies, strict=True)), before=known)
    yield Remember(layout.log, history)
    return history


def _checkpoint(layout: FeatureSetLayout) -> PublishingProtocol[History]:
    """The state after the records of the checkpoint, or that of an empty log where there is none that can be proved.

    Its last record must equal the log's own record byte by byte; the chain in it then proves all records before it.
    """
    stored = cast("StoredObject | None", (yield GetObject(layout.log_checkpoint)))
    history = _unpacked(stored.body, uri=layout.log_checkpoint) if stored else EMPTY
    if not history.records or not history.records[-1].chain:
        return EMPTY
    last = history.records[-1]
    original = cast("StoredObject | None", (yield GetObject(layout.log_record(last.seq))))
    return history if original is not None and original.body == last.body else EMPTY


def _unpacked(body: bytes, *, uri: str) -> History:
    try:
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(body, LARGEST_CHECKPOINT)
        if not unpacking.eof:
            return EMPTY
        return fold(parse_record(record.encode(), uri=uri) for record in json.loads(text))
    except (zlib.error, ValueError, TypeError, AttributeError, StorageError):
        return EMPTY


def packed(records: Sequence[Record]) -> bytes:
    """Records as a checkpoint holds them."""
    return zlib.compress(json.dumps([record.to_json().decode() for record in records], ensure_ascii=False).encode(), level=1)


def append(layout: FeatureSetLayout, record: Record, *, after: History) -> PublishingProtocol[History | None]:
    """Put one record at its sequence number if that is still free.

    Returns:
        The history with it, or None where another writer's record has that number.
    """
    body = record.to_json()
    if not (yield from settle(Put(layout.log_record(record.seq), body, record.write_id, IfAbsent()))):
        return None
    history = fold([replace(record, body=body)], before=after)
    yield Remember(layout.log, history)
    if record.seq % CHECKPOINT_EVERY == 0:
        yield from _keep_checkpoint(layout, history)
    return history


def _keep_checkpoint(layout: FeatureSetLayout, history: History) -> PublishingProtocol[None]:
    """Put a checkpoint in place of an older one. It only saves reads, so a write that fails is not repeated."""
    last = history.records[-1]
    try:
        seen = cast("ObjectInfo | None", (yield HeadObject(layout.log_checkpoint)))
        if seen is None or _sequence(seen) < last.seq:
            condition = IfAbsent() if seen is None else IfMatch(seen.etag)
            yield Put(layout.log_checkpoint, packed(history.records), f"{last.seq}:{last.write_id}", condition)
    except (ConflictError, StorageError):
        pass


def _sequence(checkpoint: ObjectInfo) -> int:
    """The last record that a checkpoint says it holds; 0 for one that the platform did not write."""
    number = (checkpoint.write_id or "").split(":", 1)[0]
    return int(number) if number.isdecimal() and number.isascii() else 0


def settle(put: Put) -> PublishingProtocol[bool]:
    """Do a conditional write and find out whether it succeeded, even where its answer was lost.

    Returns:
        True when the object is the one that this write made; False when another writer's object is there.

    Raises:
        UnknownOutcomeError: That could not be found out. A later attempt under the same idempotency key will.
        FullDiskError: The body could not be spooled on this machine.
        StorageError: Nothing was written: the store refused each attempt, or what was to be copied could not be read.
    """
    problem: FeaturePlatformError | None = None
    is_unknown = False
    for _ in range(SETTLE_ATTEMPTS):
        try:
            yield put
        except FullDiskError:
            raise
        except (ConflictError, StorageError) as error:
            problem = error
            is_unknown = is_unknown or isinstance(error, ConflictError | UnknownOutcomeError)
        else:
            return True
        try:
            seen = cast("ObjectInfo | None", (yield HeadObject(put.uri)))
        except StorageError as error:
            problem = error
            continue
        if seen is not None and seen.write_id == put.write_id:
            return True
        if _is_lost(put, seen):
            return False
    if problem is not None and not is_unknown:
        raise problem
    raise UnknownOutcomeError(f"It is unknown whether {put.uri} was written ({problem}); run the same operation again.") from problem


def _is_lost(put: Put, seen: ObjectInfo | None) -> bool:
    """Whether a condition can no longer hold, given what is there now. Otherwise the write may simply be sent again."""
    if isinstance(put.condition, IfMatch):
        return seen is None or seen.etag != put.condition.etag
    return seen is not None
