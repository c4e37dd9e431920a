"""Objects whose bytes a function writes: whole or not at all, under the same conditions, in one part or in several."""

import hashlib
from typing import BinaryIO

import pytest

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.objects import IfAbsent, IfMatch
from feature_platform.errors import ConflictError, InvalidDataError
from feature_platform.ports.object_store import ObjectStore
from tests.contract.test_object_store import HELLO_SHA256, put
from tests.support.services import S3Bucket


class WrittenObjectContract:
    """Inherit it and provide ``store`` and ``root``, as for ``ObjectStoreContract``."""

    @pytest.mark.parametrize("pieces", [0, 1, 11], ids=["empty", "one part", "several parts"])
    def test_what_a_function_writes_is_an_object_under_the_same_conditions(self, store: ObjectStore, root: str, pieces: int) -> None:
        body = b"".join(bytes([65 + piece]) * 1_000_000 for piece in range(pieces))
        sha256 = hashlib.sha256(body).hexdigest()

        def write(sink: BinaryIO) -> None:
            sink.writelines(body[start : start + 300_000] for start in range(0, len(body), 300_000))

        etag = put(store, root + "x", write, condition=IfAbsent(), sha256=sha256)
        stored = store.get(root + "x")
        assert stored is not None
        assert (stored.body, stored.info.etag, stored.info.write_id, stored.info.sha256) == (body, etag, "w-1", sha256)
        with pytest.raises(ConflictError):
            put(store, root + "x", write, condition=IfAbsent())
        with pytest.raises(InvalidDataError, match="x was not written"):
            put(store, root + "x", write, sha256=HELLO_SHA256)
        assert store.head(root + "x") == stored.info
        with pytest.raises(ConflictError):
            put(store, root + "x", write, condition=IfMatch("0" * 32))
        put(store, root + "x", lambda sink: sink.write(b"hello"), condition=IfMatch(etag))
        assert [info.size_bytes for info in store.scan(root)] == [5]


class TestMemoryObjectStore(WrittenObjectContract):
    @pytest.fixture
    def root(self) -> str:
        return "s3://bucket/"

    @pytest.fixture
    def store(self) -> ObjectStore:
        return MemoryObjectStore()


class TestS3ObjectStoreOnSeaweedFS(WrittenObjectContract):
    @pytest.fixture
    def root(self, s3: S3Bucket) -> str:
        return s3.uri

    @pytest.fixture
    def store(self, s3: S3Bucket) -> ObjectStore:
        return s3.store


def test_a_write_that_fails_midway_leaves_neither_an_object_nor_its_parts(s3: S3Bucket) -> None:
    def write(sink: BinaryIO) -> None:
        sink.write(b"x" * 11_000_000)
        raise InvalidDataError("rows end here")

    with pytest.raises(InvalidDataError, match="rows end here"):
        put(s3.store, s3.uri + "x", write)
    assert s3.store.head(s3.uri + "x") is None
    assert "Uploads" not in s3.client.list_multipart_uploads(Bucket=s3.bucket)
