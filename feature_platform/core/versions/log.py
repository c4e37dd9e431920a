"""The numbered log of a feature set: its records, and the state that follows from them.

The log alone says which versions exist and which one is the head. Deciding and writing do not belong here (``core.publishing.decisions``,
``core.publishing.publication``).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal

from feature_platform.core.versions.feature_table import FileDigest
from feature_platform.errors import StorageError

Operation = Literal["commit", "promote", "rollback", "expire"]
FIRST_SEQUENCE: Final = 1


@dataclass(frozen=True, slots=True)
class Record:
    """One log record, immutable once written.

    ``files`` names the four files of a committed version by SHA-256 and size; it is empty for other operations. ``write_id`` is unique
    to the record, so that its author recognises it. ``at`` is the author's clock and orders nothing. ``chain`` is :attr:`History.chain` of
    the records before it, so that none of them can be altered unnoticed; records of earlier releases have none. ``body`` is the record as
    it was read, or empty.
    """

    seq: int
    op: Operation
    version: str
    as_of: datetime
    write_id: str
    actor: str
    at: datetime
    reason: str = ""
    idempotency_key: str = ""
    schema_hash: str = ""
    content_hash: str = ""
    from_version: str = ""
    files: Mapping[str, FileDigest] = field(default_factory=dict)
    chain: str = ""
    body: bytes = field(default=b"", repr=False, compare=False)

    def to_json(self) -> bytes:
        if self.body:
            return self.body
        document: dict[str, Any] = {name: getattr(self, name) for name in _STORED}
        document |= {"as_of": self.as_of.isoformat(), "at": self.at.isoformat()}
        document["files"] = {name: asdict(digest) for name, digest in self.files.items()}
        return json.dumps(document, sort_keys=True, ensure_ascii=False, indent=1).encode()


_STORED: Final = [item.name for item in fields(Record) if item.name != "body"]


@lru_cache(maxsize=16_384)
def parse_record(body: bytes, *, uri: str) -> Record:
    """Read a stored record; records are immutable, so each is read once.

    Raises:
        StorageError: The object is not a log record; nothing is guessed from a damaged log.
    """
    try:
        document: dict[str, Any] = json.loads(body)
        files = {name: FileDigest(**digest) for name, digest in document.pop("files", {}).items()}
        moments: dict[str, Any] = {name: datetime.fromisoformat(document.pop(name)).astimezone(UTC) for name in ("as_of", "at")}
        return Record(**document, **moments, files=files, body=body)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StorageError(
            f"Log record {uri} is damaged ({error}); restore the object from a backup or its previous S3 version."
        ) from error


@dataclass(frozen=True, slots=True)
class Version:
    """A committed version as its commit record describes it."""

    version: str
    as_of: datetime
    sequence: int
    schema_hash: str
    content_hash: str
    idempotency_key: str
    files: Mapping[str, FileDigest]
    committed_at: datetime
    actor: str
    is_expired: bool = False

    @property
    def order(self) -> tuple[datetime, int]:
        """What orders versions: the moment first, then which was committed later."""
        return (self.as_of, self.sequence)


@dataclass(frozen=True, slots=True)
class Floor:
    """The newest moment that latest ever showed, which a promotion must not fall behind.

    ``is_held`` is True after a rollback to something older: then a promotion must lie strictly beyond the moment that was rolled back
    from, so that no rebuild or correction of it undoes a person's decision.
    """

    as_of: datetime
    sequence: int
    is_held: bool


@dataclass(frozen=True, slots=True)
class Head:
    """The version that ``latest`` shows, and the record that made it the head. The sequence grows with every move, also with a rollback."""

    version: str
    sequence: int
    operation: Operation
    at: datetime


@dataclass(frozen=True, slots=True)
class History:
    """The state that a log's records add up to. ``chain`` is a SHA-256 over the stored bytes of all of them, in order."""

    records: tuple[Record, ...]
    versions: Mapping[str, Version]
    expired: frozenset[str]
    head: Head | None
    floor: Floor | None
    chain: str = ""

    @property
    def next_sequence(self) -> int:
        return FIRST_SEQUENCE + len(self.records)

    @property
    def head_version(self) -> Version | None:
        return self.versions[self.head.version] if self.head else None

    @property
    def live(self) -> tuple[Version, ...]:
        """Versions that are not expired, in promotion order."""
        return tuple(sorted((v for v in self.versions.values() if not v.is_expired), key=lambda v: v.order))

    @property
    def newest_of_each_moment(self) -> tuple[Version, ...]:
        """Of the live versions of each moment the one that was committed last, in the order of the moments."""
        return tuple({version.as_of: version for version in self.live}.values())

    def newest_of(self, moment: datetime) -> Version | None:
        """The live version of a moment that was committed last."""
        return max((v for v in self.live if v.as_of == moment), key=lambda v: v.sequence, default=None)


EMPTY: Final = History(records=(), versions=MappingProxyType({}), expired=frozenset(), head=None, floor=None)


def fold(records: Iterable[Record], *, before: History = EMPTY) -> History:
    """The state after further records, in sequence order.

    Raises:
        StorageError: A sequence number is missing, a record moves the head to a version that was never committed, or a record's chain is
            not that of the records before it.
    """
    further: list[Record] = []
    versions, expired = dict(before.versions), set(before.expired)
    head, floor, chain = before.head, before.floor, before.chain
    for expected, record in enumerate(records, start=before.next_sequence):
        if record.seq != expected:
            raise StorageError(
                f"The log skips from record {expected - 1} to {record.seq}; expected {expected}. Restore the missing object."
            )
        if record.chain and record.chain != chain:
            raise StorageError(
                f"Log record {record.seq} was written after other records than the {expected - 1} before it: one of them was altered. "
                "Restore it from its previous S3 version."
            )
        if record.op == "commit":
            versions[record.version] = _version(record)
        elif record.op == "expire":
            expired.add(record.version)
        else:
            if record.version not in versions:
                raise StorageError(f"Log record {record.seq} moves latest to {record.version}, which was never committed.")
            floor = _floor(record, floor=floor, versions=versions)
            head = Head(version=record.version, sequence=record.seq, operation=record.op, at=record.at)
        further.append(record)
        chain = hashlib.sha256(chain.encode() + record.to_json()).hexdigest()
    for name in expired & versions.keys():
        if not versions[name].is_expired:
            versions[name] = replace(versions[name], is_expired=True)
    return History((*before.records, *further), MappingProxyType(versions), frozenset(expired), head, floor, chain)


def _version(record: Record) -> Version:
    return Version(
        version=record.version,
        as_of=record.as_of,
        sequence=record.seq,
        schema_hash=record.schema_hash,
        content_hash=record.content_hash,
        idempotency_key=record.idempotency_key,
        files=record.files,
        committed_at=record.at,
        actor=record.actor,
    )


def _floor(record: Record, *, floor: Floor | None, versions: Mapping[str, Version]) -> Floor:
    target = versions[record.version]
    if floor is None or record.op == "promote" or target.order >= (floor.as_of, floor.sequence):
        return Floor(as_of=target.as_of, sequence=target.sequence, is_held=False)
    return Floor(as_of=floor.as_of, sequence=floor.sequence, is_held=True)
