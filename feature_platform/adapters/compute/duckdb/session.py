"""DuckDB connections that can read only the files they were given: memory, threads and disk bounded, no network, no extensions.

Objects are read through :class:`ObjectStore` as ``pinned://`` files, each pinned to its ETag. Queries do not belong here.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import duckdb
import pyarrow as pa
from fsspec import AbstractFileSystem  # type: ignore[import-untyped]  # it ships no types

from feature_platform.adapters.compute.duckdb.interrupts import interruptible
from feature_platform.core.compute.dialect import text_literal
from feature_platform.core.events.validated import DataFile
from feature_platform.settings import variable

if TYPE_CHECKING:  # a third of what a process that runs a transform takes to start
    from feature_platform.ports.object_store import ObjectStore

PROTOCOL: Final = "pinned"
FETCHED_ROWS: Final = 131_072
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What one computation may use. Beyond ``memory_bytes`` it spills to disk, beyond ``spill_bytes`` it fails."""

    memory_bytes: int = 1 << 30
    threads: int = 2
    spill_bytes: int = 256 << 30
    transform_timeout_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class PinnedObject:
    """One object version that a query may read."""

    uri: str
    etag: str
    size_bytes: int


@contextmanager
def open_session(
    *, store: "ObjectStore", objects: Mapping[str, PinnedObject], directory: Path, limits: EngineLimits
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that can read the given objects, by :func:`pinned_path` of their names, and nothing else.

    Args:
        objects: Name → object.
        directory: Where the connection may spill to; created, and left for the caller to remove.
    """
    files = _PinnedFiles(store, objects)
    connection = _connect(directory, limits)
    try:
        connection.register_filesystem(files)
        _lock(connection, f"allowed_directories = [{text_literal(f'{PROTOCOL}://')}, {_spill(directory)}]")
        try:
            with interruptible(connection):
                yield connection
        except duckdb.Error as error:
            files.raise_cause(error)
            raise
    finally:
        connection.close()
        files.close()


@contextmanager
def open_local_session(*, files: Sequence[Path], directory: Path, limits: EngineLimits) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that can read the given local files and nothing else; otherwise as :func:`open_session`."""
    connection = _connect(directory, limits)
    try:
        if files:
            connection.execute(f"SET allowed_paths = [{', '.join(text_literal(str(file)) for file in files)}]")
        _lock(connection, f"allowed_directories = [{_spill(directory)}]")
        with interruptible(connection):
            yield connection
    finally:
        connection.close()


def fetch_batches(relation: duckdb.DuckDBPyRelation, *, rows: int = FETCHED_ROWS) -> Iterator[pa.RecordBatch]:
    """A query's rows, at most so many in each batch.

    Raises:
        duckdb.Error: The query failed; Arrow, which hands the rows over, would call that an error of the operating system.
    """
    reader = relation.to_arrow_reader(rows)
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except (OSError, pa.ArrowException) as error:
            raise duckdb.Error(str(error)) from error
        yield batch


def _connect(directory: Path, limits: EngineLimits) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        config={
            "memory_limit": f"{limits.memory_bytes}B",
            "threads": limits.threads,
            "temp_directory": str(directory / "spill"),
            "max_temp_directory_size": f"{limits.spill_bytes}B",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _lock(connection: duckdb.DuckDBPyConnection, reachable: str) -> None:
    connection.execute(f"SET {reachable}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _spill(directory: Path) -> str:
    return text_literal(str(directory / "spill"))


def failure(error: duckdb.Error, limits: EngineLimits) -> str:
    """The engine's error in one sentence, with the remedy where it lacked memory or disk."""
    said = str(error).split("\n\n", 1)[0].removeprefix("Invalid Input Error: ")
    if not said.startswith("Out of Memory Error"):
        return said
    has = f"It had {limits.memory_bytes >> 20} MiB of memory and {limits.spill_bytes >> 20} MiB of disk"
    return f"{said}. {has}; read less, or give it more ({variable('engine_memory_mib')}, or the container's limit)."


def pinned_path(name: str) -> str:
    """The path by which a query reads an object of its session.

    >>> pinned_path("0.parquet")
    'pinned://0.parquet'
    """
    return f"{PROTOCOL}://{name}"


def pinned(files: Iterable[DataFile]) -> dict[str, PinnedObject]:
    """Data files by the names under which a session reads them, in their order."""
    return {f"{place}.parquet": PinnedObject(file.uri, file.etag, file.size_bytes) for place, file in enumerate(files)}


class _PinnedFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """A file system that holds the given objects only, and remembers why a read failed."""

    protocol = PROTOCOL
    cachable = False

    def __init__(self, store: "ObjectStore", objects: Mapping[str, PinnedObject]) -> None:
        super().__init__()
        self._store, self._objects = store, dict(objects)
        self._opened: list[_ReaderPerThread] = []
        self._failures: list[Exception] = []

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        name = self._strip_protocol(path)
        if name not in self._objects:
            raise FileNotFoundError(path)
        return {"name": path, "size": self._objects[name].size_bytes, "type": "file"}

    def exists(self, path: str, **_: Any) -> bool:
        return self._strip_protocol(path) in self._objects

    def glob(self, path: str, **_: Any) -> list[str]:
        return [path] if self.exists(path) else []

    def modified(self, path: str) -> datetime:  # noqa: ARG002  an object version never changes
        return _EPOCH

    def _open(self, path: str, mode: str = "rb", **_: Any) -> "_ReaderPerThread":
        name = self._strip_protocol(path)
        if mode != "rb" or name not in self._objects:
            raise PermissionError(f"{path} may not be opened for {mode}")
        reader = _ReaderPerThread(self._store, self._objects[name], self._failures)
        self._opened.append(reader)
        return reader

    def raise_cause(self, error: duckdb.Error) -> None:
        """Raise the error of our own read, where DuckDB reports that a read failed."""
        if self._failures:
            raise self._failures[0] from error

    def close(self) -> None:
        for reader in self._opened:
            reader.close()


class _ReaderPerThread:
    """A read-only file with a position of its own for each thread.

    DuckDB seeks and reads one Python file from several threads without a lock in between: with one shared position it reads wrong bytes.
    """

    def __init__(self, store: "ObjectStore", pinned: PinnedObject, failures: list[Exception]) -> None:
        self._store, self._pinned, self._failures = store, pinned, failures
        self._readers: dict[int, BinaryIO] = {}
        self.closed = False

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._reader().seek(offset, whence)

    def tell(self) -> int:
        return self._reader().tell()

    def read(self, length: int = -1) -> bytes:
        try:
            return self._reader().read(length)
        except Exception as error:
            self._failures.append(error)
            raise

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def flush(self) -> None:
        """Nothing is ever written."""

    def close(self) -> None:
        self.closed = True
        for reader in self._readers.values():
            with suppress(ValueError):
                reader.close()

    def _reader(self) -> BinaryIO:
        thread = threading.get_ident()
        if thread not in self._readers:
            try:
                self._readers[thread] = self._store.open(self._pinned.uri, etag=self._pinned.etag)
            except Exception as error:
                self._failures.append(error)
                raise
        return self._readers[thread]
