"""The store that simulated processes share: linearizable, with conditions and ETags as S3 has them; faults are decided elsewhere."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from feature_platform.core.layout import FeatureSetLayout
from feature_platform.core.objects import IfAbsent, IfMatch, ObjectInfo, StoredObject
from feature_platform.core.publishing.requests import Delete, GetImmutable, GetObject, HeadObject, Put, Scan, Wait
from feature_platform.errors import ConflictError

LAYOUT = FeatureSetLayout("s3://sim/features", "fs")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class InvariantError(AssertionError):
    """An invariant does not hold; the message names the seed."""


class CrashError(Exception):
    """The simulated process dies here."""


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@dataclass
class SimObject:
    body: bytes
    etag: str
    write_id: str
    sha256: str
    modified_at: datetime


@dataclass
class SimStore:
    """Linearizable object store; ETags are digests of bytes, as S3's are."""

    objects: dict[str, SimObject] = field(default_factory=dict)
    now: datetime = EPOCH
    changes: int = 0

    def info(self, uri: str) -> ObjectInfo | None:
        found = self.objects.get(uri)
        return found and ObjectInfo(uri, found.etag, len(found.body), found.modified_at, found.write_id, found.sha256)

    def read(self, request: Any) -> object:
        match request:
            case HeadObject():
                return self.info(request.uri)
            case GetObject():
                info = self.info(request.uri)
                return info and StoredObject(info, self.objects[request.uri].body)
            case GetImmutable():
                return tuple(self.objects[uri].body for uri in request.uris)
            case Scan():
                below = [uri for uri in sorted(self.objects) if uri.startswith(request.prefix) and uri > request.after]
                return tuple(info for uri in below if (info := self.info(uri)))
            case Wait():
                self.now += timedelta(seconds=request.seconds)
                return None
        raise TypeError(request)

    def write(self, request: Put | Delete, body: bytes) -> object:
        self.changes += 1
        if isinstance(request, Delete):
            self.objects.pop(request.uri, None)
            return None
        found = self.objects.get(request.uri)
        if isinstance(request.condition, IfAbsent) and found is not None:
            raise ConflictError("412")
        if isinstance(request.condition, IfMatch) and (found is None or found.etag != request.condition.etag):
            raise ConflictError("412")
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        self.objects[request.uri] = SimObject(body, etag, request.write_id, sha(body), self.now)
        return etag
