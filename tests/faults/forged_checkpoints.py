"""Checkpoints of a log as they must never be believed: torn, cut short, altered anywhere, or of records that do not exist."""

import random
from collections.abc import Callable
from dataclasses import replace

from feature_platform.core.publishing.log_access import packed
from feature_platform.core.publishing.requests import Put
from feature_platform.core.versions.log import Record, fold, parse_record
from tests.faults.simulated_store import LAYOUT, SimStore


def forge_checkpoint(store: SimStore, rng: random.Random) -> None:
    """Put a false checkpoint, made from the log that is there, in the place of the true one."""
    uris = [uri for uri in sorted(store.objects) if LAYOUT.sequence_of(uri) is not None]
    records = [parse_record(store.objects[uri].body, uri=uri) for uri in uris]
    if not records:
        return
    body = rng.choice(FORGERIES)(records, rng)
    sequence = rng.choice((0, len(records), 10**6))
    store.write(Put(LAYOUT.log_checkpoint, body, f"{sequence}:forged", None), body)


def _torn(records: list[Record], rng: random.Random) -> bytes:
    body = packed(records)
    return body[: rng.randrange(len(body))]


def _short(records: list[Record], rng: random.Random) -> bytes:
    return packed(records[: rng.randint(1, len(records))])


def _altered(records: list[Record], rng: random.Random) -> bytes:
    """One record says something else."""
    place = rng.randrange(len(records))
    return packed([*records[:place], _other(records[place]), *records[place + 1 :]])


def _rechained(records: list[Record], rng: random.Random) -> bytes:
    """One record says something else, and all that follow agree with it, except the last, which is the log's own."""
    place = rng.randrange(len(records))
    forged = [*records[:place], _other(records[place])]
    for record in records[place + 1 : -1]:
        forged.append(replace(record, chain=fold(forged).chain, body=b""))
    return packed([*forged[: len(records) - 1], records[-1]])


def _future(records: list[Record], rng: random.Random) -> bytes:
    """Records that nobody appended follow the true ones."""
    del rng
    history = fold(records)
    return packed([*records, replace(records[-1], seq=history.next_sequence, chain=history.chain, body=b"")])


def _other(record: Record) -> Record:
    return replace(record, write_id="?" * len(record.write_id), body=b"")  # of equal size, which is looked at too


FORGERIES: tuple[Callable[[list[Record], random.Random], bytes], ...] = (_torn, _short, _altered, _rechained, _future)
