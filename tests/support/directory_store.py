"""A read-mostly object store over a local directory, for benchmarks that must not measure a network."""

import functools
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from feature_platform.core.objects import Condition, Content, ObjectInfo, StoredObject
from feature_platform.errors import ConflictError, NotFoundError


class DirectoryStore:
    """Objects as files below one directory; ETags are MD5 of the content, conditions are not checked."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, uri: str) -> Path:
        return self._root / uri.removeprefix("s3://")

    def head(self, uri: str) -> ObjectInfo | None:
        path = self.path(uri)
        if not path.is_file():
            return None
        found = path.stat()
        etag = _etag(path, found.st_size, found.st_mtime_ns)
        sha256 = path.with_name(path.name + ".sha256")
        return ObjectInfo(
            uri=uri,
            etag=etag,
            size_bytes=found.st_size,
            modified_at=datetime.fromtimestamp(found.st_mtime, UTC),
            sha256=sha256.read_text() if sha256.is_file() else None,
        )

    def get(self, uri: str) -> StoredObject | None:
        info = self.head(uri)
        return StoredObject(info, self.path(uri).read_bytes()) if info else None

    def open(self, uri: str, *, etag: str) -> BinaryIO:
        info = self.head(uri)
        if info is None or info.etag != etag:
            raise ConflictError(f"{uri} is not what it was: expected ETag {etag}, found {info}")
        return self.path(uri).open("rb")

    def download(self, uri: str, target: Path, *, etag: str | None = None) -> ObjectInfo:
        info = self.head(uri)
        if info is None:
            raise NotFoundError(uri)
        shutil.copyfile(self.path(uri), target)
        return info

    def scan(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        root = self.path(prefix)
        for path in sorted(root.rglob("*")) if root.is_dir() else ():
            info = self.head(f"s3://{path.relative_to(self._root)}") if path.suffix != ".sha256" else None
            if info and info.uri > after:
                yield info

    def directories(self, prefix: str) -> Sequence[str]:
        root = self.path(prefix)
        return sorted(f"{prefix}{path.name}/" for path in (root.iterdir() if root.is_dir() else ()) if path.is_dir())

    def put(self, uri: str, body: Content, *, write_id: str, sha256: str | None, condition: Condition) -> str:
        path = self.path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(body, Path):
            shutil.copyfile(body, path)
        elif isinstance(body, bytes):
            path.write_bytes(body)
        else:
            with path.with_name(f".{path.name}").open("wb") as file:
                body(file)
            path.with_name(f".{path.name}").replace(path)
        if sha256:
            path.with_name(path.name + ".sha256").write_text(sha256)
        info = self.head(uri)
        assert info is not None
        return info.etag

    def delete(self, uri: str) -> None:
        self.path(uri).unlink(missing_ok=True)


@functools.cache
def _etag(path: Path, size_bytes: int, modified_at_ns: int) -> str:
    """Computed once a content: a store does not read an object to list it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
