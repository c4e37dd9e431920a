"""The publishing protocols: commit a version, move latest, roll back, and project the head into ``latest/``.

Pure generators over ``core.publishing.requests``; the same code runs against S3, memory and the simulator. Invariants: nothing that the log
names is ever overwritten; the log is contiguous; ``latest/`` is only ever written for the head, against the ETags seen *before* the
head was read. Retention does not belong here (``core.publishing.retention``).

Source: Delta Lake's and Iceberg's numbered log over immutable files; ``docs/adr/0002-publication-protocol.md``.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from feature_platform.core.layout import CSV, FILES, METADATA, PARQUET, SCHEMA, FeatureSetLayout
from feature_platform.core.objects import IfAbsent, IfMatch, ObjectInfo, StoredObject
from feature_platform.core.publishing import decisions
from feature_platform.core.publishing.log_access import append, read_history, settle
from feature_platform.core.publishing.requests import Body, CopyOf, GetObject, HeadObject, PublishingProtocol, Put
from feature_platform.core.versions.feature_table import FileDigest
from feature_platform.core.versions.log import Head, History, Operation, Record, Version
from feature_platform.core.versions.version_metadata import VersionMetadata, parse_metadata
from feature_platform.errors import InvalidDataError, NotFoundError, StorageError

MAX_PASSES: Final = 1000
"""Most passes of a projection: one that still finds something to do does not converge, which is an error and not an endless loop."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who acts: a person or a run, why, and when by their clock. ``new_id`` yields an id that nobody else ever gets."""

    actor: str
    reason: str
    at: datetime
    new_id: Callable[[], str]

    def record(self, history: History, op: Operation, version: str, *, as_of: datetime, **facts: Any) -> Record:
        """The log record that would follow ``history``, in this author's name; ``facts`` are further fields of it."""
        written = {"write_id": self.new_id(), "actor": self.actor, "at": self.at, "reason": self.reason, "chain": history.chain}
        return Record(seq=history.next_sequence, op=op, version=version, as_of=as_of, **{**written, **facts})


@dataclass(frozen=True, slots=True)
class Prepare:
    """Ask the performer for the four files of a version under the id that was chosen."""

    version: str


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """One file of a version, ready to be written."""

    body: Body
    digest: FileDigest


@dataclass(frozen=True, slots=True)
class Build:
    """What a build is, before it has a version id. ``write_id`` is unique to this attempt and stands in the files it writes.

    ``sources`` are the pins of what it was computed from (``VersionMetadata.rests_on``); None where nobody recorded them.
    """

    as_of: datetime
    write_id: str
    idempotency_key: str
    schema_hash: str
    content_hash: str
    sources: frozenset[tuple[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """The outcome of a commit. ``is_new`` is False when the version existed already and nothing was written."""

    version: Version
    is_new: bool


@dataclass(frozen=True, slots=True)
class CommittedVersion:
    """A committed version as its publisher sees it: its id, whether this call made it, where it is, and its metadata."""

    version: str
    is_new: bool
    uri: str
    metadata: VersionMetadata


@dataclass(frozen=True, slots=True)
class Move:
    """The outcome of a promotion or rollback: where latest is now, where it was, and why it did not move if it did not."""

    head: Version
    sequence: int
    previous: str | None
    has_moved: bool
    refusal: str | None = None
    writes: int = 0


def commit(layout: FeatureSetLayout, build: Build, *, author: Author) -> PublishingProtocol[Commit]:
    """Make a build an immutable version, or find the one that it already is.

    A version whose files are gone or replaced is not found again: rebuilding it makes the next correction of its moment. Nor is one that
    records other raw objects, even where the same rows follow: what a version says it rests on would stay untrue for ever.

    After it returns the version is named by the log and whole; latest has not moved.

    Raises:
        UnknownOutcomeError: The store did not say whether a write happened; running the same build again settles it.
    """
    history = yield from read_history(layout)
    taken: set[str] = set()
    broken: set[str] = set()
    while True:
        if existing := _existing(history, build, broken=broken):
            if (yield from _is_there(layout, existing)) and (yield from _rests_on(layout, existing, build.sources)):
                return Commit(version=existing, is_new=False)
            broken.add(existing.version)
            continue
        version, files = yield from _write_files(layout, build, history=history, taken=taken)
        history = yield from _append_commit(layout, build, version=version, files=files, author=author, broken=broken)
        if version in history.versions:
            return Commit(version=history.versions[version], is_new=True)
        taken.add(version)


def _is_there(layout: FeatureSetLayout, version: Version) -> PublishingProtocol[bool]:
    """Whether a version's files exist with the recorded sizes and, where user metadata has them, digests. No file is read."""
    for name, digest in version.files.items():
        seen = cast("ObjectInfo | None", (yield HeadObject(layout.version_file(version.version, name))))
        if seen is None or seen.size_bytes != digest.size_bytes or seen.sha256 not in (None, digest.sha256):
            return False
    return True


def _rests_on(layout: FeatureSetLayout, version: Version, sources: frozenset[tuple[str, str]] | None) -> PublishingProtocol[bool]:
    """Whether a version's metadata can be read, and records these raw objects and no others."""
    if sources is None:
        return True
    uri = layout.version_file(version.version, METADATA)
    stored = cast("StoredObject | None", (yield GetObject(uri)))
    try:
        return stored is not None and parse_metadata(stored.body, uri=uri).rests_on == sources
    except InvalidDataError:
        return False


def _existing(history: History, build: Build, *, broken: Collection[str]) -> Version | None:
    return decisions.existing_version(
        history,
        moment=build.as_of,
        idempotency_key=build.idempotency_key,
        schema_hash=build.schema_hash,
        content_hash=build.content_hash,
        broken=broken,
    )


def _write_files(
    layout: FeatureSetLayout, build: Build, *, history: History, taken: set[str]
) -> PublishingProtocol[tuple[str, Mapping[str, FileDigest]]]:
    """Claim a version id by creating its Parquet file, then create the other three, metadata last."""
    while True:
        version = decisions.next_version_id(history, moment=build.as_of, taken=taken)
        files = cast("Mapping[str, PreparedFile]", (yield Prepare(version)))
        for name in FILES:
            write_id = f"{build.write_id}:{version}:{name}"
            put = Put(layout.version_file(version, name), files[name].body, write_id, IfAbsent(), files[name].digest.sha256)
            if not (yield from settle(put)):
                break
        else:
            return version, {name: file.digest for name, file in files.items()}
        taken.add(version)


def _append_commit(
    layout: FeatureSetLayout, build: Build, *, version: str, files: Mapping[str, FileDigest], author: Author, broken: Collection[str]
) -> PublishingProtocol[History]:
    """Append the commit record, unless another writer committed the same build, or retention deleted our files, meanwhile."""
    while True:
        history = yield from read_history(layout)
        if _existing(history, build, broken=broken) or version in history.expired:
            return history
        record = author.record(
            history,
            "commit",
            version,
            as_of=build.as_of,
            idempotency_key=build.idempotency_key,
            schema_hash=build.schema_hash,
            content_hash=build.content_hash,
            files=files,
        )
        if (after := (yield from append(layout, record, after=history))) is not None:
            return after


def promote(layout: FeatureSetLayout, version: str, *, author: Author) -> PublishingProtocol[Move]:
    """Move latest to a version if it is not older than the head, then project. Acknowledged only once ``latest/`` shows the head.

    Raises:
        NotFoundError: The version was never committed or has expired.
    """
    return (yield from _move(layout, version, op="promote", author=author))


def rollback(layout: FeatureSetLayout, version: str, *, author: Author) -> PublishingProtocol[Move]:
    """Move latest to a version by name, whatever its age, then project.

    Raises:
        NotFoundError: The version was never committed or has expired.
    """
    return (yield from _move(layout, version, op="rollback", author=author))


def _move(layout: FeatureSetLayout, version: str, *, op: Operation, author: Author) -> PublishingProtocol[Move]:
    while True:
        history = yield from read_history(layout)
        decisions.committed(history, version)
        previous = history.head.version if history.head else None
        refusal = decisions.refusal_to_promote(history, version) if op == "promote" else None
        if refusal or previous == version:
            moved = False
            break
        record = author.record(
            history,
            op,
            version,
            as_of=history.versions[version].as_of,
            schema_hash=history.versions[version].schema_hash,
            content_hash=history.versions[version].content_hash,
            from_version=previous or "",
        )
        if moved := (yield from append(layout, record, after=history)) is not None:
            break
    history, writes = yield from project(layout, new_id=author.new_id)
    if history.head is None:
        raise NotFoundError(f"{layout.feature_set} has no latest to project.")
    head = history.versions[history.head.version]
    return Move(head=head, sequence=history.head.sequence, previous=previous, has_moved=moved, refusal=refusal, writes=writes)


def project(layout: FeatureSetLayout, *, new_id: Callable[[], str]) -> PublishingProtocol[tuple[History, int]]:
    """Make ``latest/`` show the log's head. Anybody may, at any time; it ends only with a pass that finds nothing to do.

    Returns:
        The history that the clean pass saw, and how many files were written.

    Raises:
        StorageError: It did not converge, or a file of the head is gone.
    """
    writes = 0
    for _ in range(MAX_PASSES):
        seen: dict[str, ObjectInfo | None] = {}
        for name in FILES:
            seen[name] = cast("ObjectInfo | None", (yield HeadObject(layout.latest_file(name))))
        history = yield from read_history(layout)
        head = history.head
        stale = [] if head is None else [name for name in FILES if not _shows(seen[name], head.sequence)]
        if head is None or not stale:
            return history, writes
        for name in stale:
            version = history.versions[head.version]
            if not (yield from _project_file(layout, name, seen=seen[name], head=head, version=version, new_id=new_id)):
                break
            writes += 1
    raise StorageError(f"{layout.latest} did not settle after {MAX_PASSES} passes; is something else writing there?")


def _shows(seen: ObjectInfo | None, sequence: int) -> bool:
    return seen is not None and seen.write_id is not None and seen.write_id.startswith(f"{sequence}:")


def _project_file(
    layout: FeatureSetLayout, name: str, *, seen: ObjectInfo | None, head: Head, version: Version, new_id: Callable[[], str]
) -> PublishingProtocol[bool]:
    """Write one file of the head over exactly the object that was seen; False when that has changed."""
    try:
        body = yield from _projected_body(layout, name, head=head, version=version)
        if body is None:
            return False
        condition = IfAbsent() if seen is None else IfMatch(seen.etag)
        put = Put(layout.latest_file(name), body, f"{head.sequence}:{name}:{new_id()}", condition)
        return (yield from settle(put))
    except (NotFoundError, InvalidDataError) as error:
        now = yield from read_history(layout)
        if now.head != head:  # what is gone, or is a thawed builder's under a spent id, belonged to a version that is latest no more
            return False
        if isinstance(error, InvalidDataError):
            raise
        raise StorageError(f"{error} It belongs to {head.version}, which is latest; roll back to a whole version.") from error


def _projected_body(layout: FeatureSetLayout, name: str, *, head: Head, version: Version) -> PublishingProtocol[Body | None]:
    """The head's file itself; after a rollback, Parquet and metadata that no earlier projection had.

    An ETag is a digest of the bytes, so a return to bytes that ``latest/`` had before would satisfy the condition of a writer that was
    frozen since then. A rollback therefore gets its own bytes: the Parquet file with padding between its last page and its footer
    (same pages, same footer), and the metadata with the sequence number and the padded file's digest, which is None until that file is
    there.
    """
    source, digest = layout.version_file(head.version, name), version.files[name]
    if head.operation != "rollback" or name in {CSV, SCHEMA}:
        return CopyOf(source, digest.sha256, size_bytes=digest.size_bytes)
    if name == PARQUET:
        padding = rollback_padding(layout, sequence=head.sequence)
        return CopyOf(source, digest.sha256, padding=padding, size_bytes=digest.size_bytes)
    padded = cast("ObjectInfo | None", (yield HeadObject(layout.latest_file(PARQUET))))
    stored = cast("StoredObject | None", (yield GetObject(source)))
    if padded is None or not _shows(padded, head.sequence):
        return None
    if stored is None:
        raise NotFoundError(f"{source} is gone.")
    return rolled_back_metadata(stored.body, sequence=head.sequence, sha256=padded.sha256, size_bytes=padded.size_bytes)


def rollback_padding(layout: FeatureSetLayout, *, sequence: int) -> bytes:
    """Padding that makes the Parquet file of one rollback differ from every file that ``latest/`` had before."""
    return f"rollback {sequence} {layout.feature_set}".encode()


def rolled_back_metadata(body: bytes, *, sequence: int, sha256: str | None, size_bytes: int) -> bytes:
    """A version's ``metadata.json`` as ``latest/`` shows it after a rollback: with the record's number and the padded file's digest."""
    document = json.loads(body)
    document["projection"] = {"sequence": sequence, "operation": "rollback"}
    document["files"][PARQUET] = {"sha256": sha256, "bytes": size_bytes}
    return json.dumps(document, indent=2, ensure_ascii=False).encode()
