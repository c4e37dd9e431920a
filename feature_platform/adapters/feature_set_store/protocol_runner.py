"""Runs the pure protocols of ``core`` against an object store: performs each request and hands back its answer or its error.

Decisions do not belong here: what is requested, and what follows from an answer, is decided in ``core``.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from feature_platform.adapters.feature_set_store.parquet_padding import pad_parquet
from feature_platform.adapters.machine.hashed_sink import HashedSink
from feature_platform.adapters.machine.spool import spool
from feature_platform.core.parquet import footer_start
from feature_platform.core.publishing.requests import (
    CopyOf,
    Delete,
    GetImmutable,
    GetObject,
    HeadObject,
    PublishingProtocol,
    Put,
    Recall,
    Remember,
    ResultT,
    Scan,
    Wait,
)
from feature_platform.core.versions.feature_table import FileDigest
from feature_platform.core.versions.log import History
from feature_platform.errors import FeaturePlatformError, InvalidDataError, NotFoundError, StorageError
from feature_platform.ports.object_store import ObjectStore

SPOOL_BYTES: Final = 4 << 30
"""Bytes of a version's rows or of one of its files from which on nothing of it lies on the local disk."""

COPIED_BYTES: Final = 16 << 20
"""Bytes of a long file that one request reads."""

_PARALLEL_READS: Final = 16
"""Log records read at once when a process reads the log for the first time; half of the S3 client's connections."""

Handler = Callable[[Any], object]


class ProtocolRunner:
    """Performs protocols against one store, and remembers the logs that they read.

    Args:
        workdir: Where copies are spooled; needs room for one file.
        spool_bytes: Longer objects are copied as streams, without a local file.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        workdir: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
        spool_bytes: int = SPOOL_BYTES,
    ) -> None:
        self._store, self._spool_bytes = store, spool_bytes
        self._workdir = workdir
        self._logs: dict[str, History] = {}
        self._handlers: dict[type, Handler] = {
            HeadObject: lambda request: store.head(request.uri),
            GetObject: lambda request: store.get(request.uri),
            GetImmutable: self._get_immutable,
            Scan: lambda request: tuple(store.scan(request.prefix, after=request.after)),
            Recall: lambda request: self._logs.get(request.log),
            Remember: lambda request: self._logs.update({request.log: request.history}),
            Put: self._put,
            Delete: lambda request: store.delete(request.uri),
            Wait: lambda request: sleep(request.seconds),
        }

    def run(self, protocol: PublishingProtocol[ResultT], *, handlers: Mapping[type, Handler] | None = None) -> ResultT:
        """Drive a protocol to its end.

        Args:
            protocol: A fresh protocol generator.
            handlers: Functions that answer the protocol's own request types.

        Raises:
            FeaturePlatformError: Whatever the protocol does not handle itself.
        """
        known = {**self._handlers, **(handlers or {})}
        answer: object = None
        problem: FeaturePlatformError | None = None
        while True:
            try:
                request = protocol.send(answer) if problem is None else protocol.throw(problem)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # PEP 479 carries no type for it
            answer, problem = None, None
            try:
                answer = known[type(request)](request)
            except FeaturePlatformError as error:
                problem = error

    def _get_immutable(self, request: GetImmutable) -> tuple[bytes, ...]:
        with ThreadPoolExecutor(min(_PARALLEL_READS, len(request.uris))) as pool:
            return tuple(pool.map(self._read, request.uris))

    def _read(self, uri: str) -> bytes:
        stored = self._store.get(uri)
        if stored is None:
            raise StorageError(f"{uri} was listed and is gone; log records are never deleted. Restore it from its previous S3 version.")
        return stored.body

    def _put(self, request: Put) -> str:
        if not isinstance(request.body, CopyOf):
            sha256 = request.sha256
            if sha256 is None and isinstance(request.body, bytes | Path):
                sha256 = digest(request.body).sha256
            return self._store.put(request.uri, request.body, write_id=request.write_id, sha256=sha256, condition=request.condition)
        if request.body.size_bytes > self._spool_bytes:
            return self._stream(request, request.body)
        # Downloaded and sent again, not copied by the server: not every store honours conditions on copies, and the bytes are checked here.
        with spool("copy-", parent=self._workdir) as directory:
            path = directory / "copy"
            sha256 = self._copy(request.body, path)
            return self._store.put(request.uri, path, write_id=request.write_id, sha256=sha256, condition=request.condition)

    def _stream(self, request: Put, body: CopyOf) -> str:
        """Copy an object as it is read; with padding it is read twice, because its digest has to be known first."""
        info = self._store.head(body.uri)
        if info is None:
            raise NotFoundError(f"{body.uri} does not exist.")

        def write(sink: BinaryIO) -> None:
            read = HashedSink()
            with self._store.open(body.uri, etag=info.etag) as source:
                start = footer_start(source, body.uri) if body.padding else info.size_bytes
                source.seek(0)
                for place in range(0, info.size_bytes, COPIED_BYTES):
                    chunk = source.read(COPIED_BYTES)
                    read.write(chunk)
                    before = max(0, min(start - place, len(chunk)))
                    sink.write(chunk[:before])
                    if place <= start < place + len(chunk):
                        sink.write(body.padding or b"")
                    sink.write(chunk[before:])
            if read.sha256 != body.sha256:
                raise _damaged(body, read.sha256)

        sha256 = body.sha256
        if body.padding:
            padded = HashedSink()
            write(cast("Any", padded))
            sha256 = padded.sha256
        return self._store.put(request.uri, write, write_id=request.write_id, sha256=sha256, condition=request.condition)

    def _copy(self, body: CopyOf, path: Path) -> str:
        """Read the source whole, a second time where its bytes arrived damaged, and pad it where that is asked."""
        for _ in range(2):
            self._store.download(body.uri, path)
            found = digest(path).sha256
            if found == body.sha256:
                break
        else:
            raise _damaged(body, found)
        if body.padding is None:
            return found
        pad_parquet(path, padding=body.padding)
        return digest(path).sha256


def _damaged(body: CopyOf, found: str) -> InvalidDataError:
    return InvalidDataError(
        f"{body.uri} has SHA-256 {found}, expected {body.sha256}: the published file is damaged. Restore the object from its "
        "previous S3 version, or roll back to a whole version."
    )


def digest(body: bytes | Path) -> FileDigest:
    """SHA-256 and size of bytes or of a local file, read in chunks.

    Raises:
        NotFoundError: The file is not there.
    """
    if isinstance(body, bytes):
        return FileDigest.of(body)
    try:
        with body.open("rb") as file:
            return FileDigest(hashlib.file_digest(file, "sha256").hexdigest(), body.stat().st_size)
    except FileNotFoundError as error:
        raise NotFoundError(f"Local file {body} is gone; it was removed before it was uploaded.") from error
