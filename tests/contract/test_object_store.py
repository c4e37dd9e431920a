"""What every object store must do; each adapter inherits the suite. The S3 adapter runs it against a real server and against moto."""

import hashlib
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.adapters.object_store.owned import OwnedObjects
from feature_platform.adapters.object_store.s3 import S3ObjectStore
from feature_platform.core.objects import Condition, Content, IfAbsent, IfMatch, ObjectInfo
from feature_platform.errors import ConfigurationError, ConflictError, NotFoundError
from feature_platform.ports.object_store import ObjectStore
from tests.support.fault_proxy import FaultProxy
from tests.support.faulty_store import FaultyObjectStore
from tests.support.moto_server import moto_server
from tests.support.services import S3Bucket, S3Endpoint

HELLO_MD5 = "5d41402abc4b2a76b9719d911017c592"
HELLO_SHA256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def put(
    store: ObjectStore,
    uri: str,
    body: Content = b"hello",
    *,
    condition: Condition = None,
    write_id: str = "w-1",
    sha256: str | None = None,
) -> str:
    return store.put(uri, body, write_id=write_id, sha256=sha256, condition=condition)


class ObjectStoreContract:
    """Inherit it and provide ``store`` and ``root`` (an ``s3://bucket/`` URI of an existing, empty bucket)."""

    page_keys = 1_000  # that the server lists on one page

    def test_an_absent_object_is_none(self, store: ObjectStore, root: str) -> None:
        assert store.head(root + "absent") is None
        assert store.get(root + "absent") is None

    def test_directories_are_one_level_each_once_and_sorted(self, store: ObjectStore, root: str) -> None:
        for key in ("d/b/_log/1", "d/b/x", "d/a/x", "d/file", "e/c/x"):
            put(store, root + key)
        assert store.directories(root + "d/") == [root + "d/a/", root + "d/b/"]
        assert store.directories(root + "nothing/") == []

    def test_a_put_is_described_and_read_back(self, store: ObjectStore, root: str) -> None:
        before = datetime.now(UTC) - timedelta(seconds=2)
        etag = put(store, root + "a/b.txt", write_id="w-é".encode().hex(), sha256=HELLO_SHA256)
        info = store.head(root + "a/b.txt")
        assert info is not None
        assert etag == info.etag == HELLO_MD5
        assert (info.uri, info.size_bytes, info.write_id, info.sha256) == (root + "a/b.txt", 5, "772dc3a9", HELLO_SHA256)
        assert info.modified_at.utcoffset() == timedelta(0)
        assert before <= info.modified_at <= datetime.now(UTC) + timedelta(seconds=2)
        stored = store.get(root + "a/b.txt")
        assert stored is not None
        assert (stored.body, stored.info) == (b"hello", info)

    def test_a_put_without_sha256_has_none(self, store: ObjectStore, root: str) -> None:
        put(store, root + "plain")
        info = store.head(root + "plain")
        assert info is not None
        assert (info.write_id, info.sha256) == ("w-1", None)

    def test_an_empty_object_is_an_object(self, store: ObjectStore, root: str, tmp_path: Path) -> None:
        etag = put(store, root + "empty", b"")
        stored = store.get(root + "empty")
        assert stored is not None
        assert (stored.body, stored.info.size_bytes) == (b"", 0)
        with store.open(root + "empty", etag=etag) as file:
            assert file.read() == b""
        assert store.download(root + "empty", tmp_path / "empty").size_bytes == 0
        assert (tmp_path / "empty").read_bytes() == b""

    @pytest.mark.parametrize("key", ["with space", "ünïcode/日本", "plus+and&amp=%41", "dt=2026-01-14/part.csv.gz", "a" * 200])
    def test_a_key_of_unusual_characters_is_kept(self, store: ObjectStore, root: str, key: str) -> None:
        put(store, root + key)
        assert [info.uri for info in store.scan(root)] == [root + key]
        stored = store.get(root + key)
        assert stored is not None
        assert stored.info.uri == root + key

    def test_a_file_is_put_whole(self, store: ObjectStore, root: str, tmp_path: Path) -> None:
        body = bytes(range(256)) * 20_000
        (tmp_path / "file").write_bytes(body)
        assert put(store, root + "file", tmp_path / "file") == hashlib.md5(body, usedforsecurity=False).hexdigest()
        stored = store.get(root + "file")
        assert stored is not None
        assert stored.body == body

    def test_put_replaces_without_a_condition(self, store: ObjectStore, root: str) -> None:
        put(store, root + "x", b"one", write_id="w-1", sha256=HELLO_SHA256)
        put(store, root + "x", b"two", write_id="w-2")
        stored = store.get(root + "x")
        assert stored is not None
        assert (stored.body, stored.info.write_id, stored.info.sha256) == (b"two", "w-2", None)

    def test_create_refuses_an_existing_object_and_keeps_it(self, store: ObjectStore, root: str) -> None:
        put(store, root + "x", b"first", write_id="w-1", condition=IfAbsent())
        with pytest.raises(ConflictError, match="x"):
            put(store, root + "x", b"second", write_id="w-2", condition=IfAbsent())
        stored = store.get(root + "x")
        assert stored is not None
        assert (stored.body, stored.info.write_id) == (b"first", "w-1")

    def test_update_refuses_another_etag_and_keeps_the_object(self, store: ObjectStore, root: str) -> None:
        first = put(store, root + "x", b"first")
        second = put(store, root + "x", b"second", condition=IfMatch(first))
        with pytest.raises(ConflictError, match="x"):
            put(store, root + "x", b"third", condition=IfMatch(first))
        stored = store.get(root + "x")
        assert stored is not None
        assert (stored.body, stored.info.etag) == (b"second", second)

    def test_update_refuses_an_absent_object(self, store: ObjectStore, root: str) -> None:
        with pytest.raises(ConflictError, match="absent"):
            put(store, root + "absent", condition=IfMatch(HELLO_MD5))
        assert store.head(root + "absent") is None

    def test_a_deleted_object_can_be_created_again(self, store: ObjectStore, root: str) -> None:
        put(store, root + "x", condition=IfAbsent())
        store.delete(root + "x")
        store.delete(root + "x")
        assert store.head(root + "x") is None
        put(store, root + "x", condition=IfAbsent())

    def test_one_of_many_simultaneous_creates_wins(self, store: ObjectStore, root: str) -> None:
        for race in range(3):
            start, uri = threading.Barrier(6), f"{root}race/{race}"

            def create(writer: int, *, start: threading.Barrier = start, uri: str = uri) -> int | None:
                start.wait()
                try:
                    put(store, uri, f"{writer}".encode(), write_id=f"w-{writer}", condition=IfAbsent())
                except ConflictError:
                    return None
                return writer

            with ThreadPoolExecutor(6) as pool:
                winners = [writer for writer in pool.map(create, range(6)) if writer is not None]
            stored = store.get(uri)
            assert stored is not None
            assert winners == [int(stored.body)]

    def test_one_of_many_simultaneous_updates_wins(self, store: ObjectStore, root: str) -> None:
        etag = put(store, root + "x", b"start")
        start = threading.Barrier(6)

        def update(writer: int) -> int | None:
            start.wait()
            try:
                put(store, root + "x", f"{writer}".encode(), condition=IfMatch(etag))
            except ConflictError:
                return None
            return writer

        with ThreadPoolExecutor(6) as pool:
            winners = [writer for writer in pool.map(update, range(6)) if writer is not None]
        stored = store.get(root + "x")
        assert stored is not None
        assert winners == [int(stored.body)]

    def test_scan_lists_below_a_prefix_in_key_order(self, store: ObjectStore, root: str) -> None:
        for key in ("p/z/a", "p/z-a", "p/z/a/b", "p/z/a-b", "p/Z", "p/é", "q/other", "p0"):
            put(store, root + key)
        found = list(store.scan(root + "p/"))
        assert [info.uri.removeprefix(root) for info in found] == ["p/Z", "p/z-a", "p/z/a", "p/z/a-b", "p/z/a/b", "p/é"]
        assert {(info.size_bytes, info.etag, info.write_id, info.sha256) for info in found} == {(5, HELLO_MD5, None, None)}
        assert list(store.scan(root + "nothing/")) == []
        assert [info.uri.removeprefix(root) for info in store.scan(root + "p")] == [
            "p/Z", "p/z-a", "p/z/a", "p/z/a-b", "p/z/a/b", "p/é", "p0",
        ]  # fmt: skip

    def test_scan_lists_more_than_one_page(self, store: ObjectStore, root: str) -> None:
        keys = [f"many/{number:05d}" for number in range(self.page_keys + 50)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: put(store, root + key, b""), keys))
        assert [info.uri.removeprefix(root) for info in store.scan(root + "many/")] == keys

    def test_a_reader_seeks(self, store: ObjectStore, root: str) -> None:
        body = bytes(index % 251 for index in range(3_000_000))
        etag = put(store, root + "big", body)
        with store.open(root + "big", etag=etag) as file:
            assert file.readable()
            assert file.seekable()
            assert file.seek(-10, 2) == 2_999_990
            assert file.read() == body[-10:]
            assert file.read(1) == b""
            file.seek(1_234_567)
            assert file.read(1_500_000) == body[1_234_567:2_734_567]
            assert file.tell() == 2_734_567
            file.seek(5_000_000)
            assert file.read(5) == b""
            file.seek(0)
            assert file.read() == body

    def test_a_reader_serves_parquet(self, store: ObjectStore, root: str) -> None:
        table = pa.table({"user_id": range(50_000), "value": [float(value) for value in range(50_000)]})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=7_000, write_page_checksum=True)
        etag = put(store, root + "t.parquet", sink.getvalue().to_pybytes())
        with store.open(root + "t.parquet", etag=etag) as file:
            assert pq.read_table(file, columns=["value"], page_checksum_verification=True) == table.select(["value"])

    def test_a_reader_refuses_an_object_that_changed(self, store: ObjectStore, root: str) -> None:
        etag = put(store, root + "x", b"a" * 3_000_000)
        with store.open(root + "x", etag=etag) as file:
            assert file.read(1) == b"a"
            put(store, root + "x", b"b" * 3_000_000)
            file.seek(2_500_000)
            with pytest.raises(ConflictError, match="x"):
                file.read(1)
        with pytest.raises(ConflictError, match="x"):
            store.open(root + "x", etag=etag)
        with pytest.raises(ConflictError, match="x"):
            pq.read_table(_Replaced(store, root + "t.parquet").open())
        with pytest.raises(NotFoundError, match="absent"):
            store.open(root + "absent", etag=etag)

    def test_download_writes_one_whole_version(self, store: ObjectStore, root: str, tmp_path: Path) -> None:
        body = bytes(index % 249 for index in range(2_000_000))
        etag = put(store, root + "x", body, write_id="w-7")
        target = tmp_path / "target"
        target.write_bytes(b"something longer" * 1_000_000)
        info = store.download(root + "x", target, etag=etag)
        assert (info.etag, info.size_bytes, info.write_id) == (etag, 2_000_000, "w-7")
        assert target.read_bytes() == body

    def test_download_refuses_another_version_and_leaves_the_target(self, store: ObjectStore, root: str, tmp_path: Path) -> None:
        put(store, root + "x")
        target = tmp_path / "target"
        target.write_bytes(b"before")
        with pytest.raises(ConflictError, match="x"):
            store.download(root + "x", target, etag="0" * 32)
        with pytest.raises(NotFoundError, match="absent"):
            store.download(root + "absent", target)
        assert [path.name for path in tmp_path.iterdir()] == ["target"]
        assert target.read_bytes() == b"before"

    @pytest.mark.parametrize("operation", ["head", "get", "open", "scan", "put", "delete"])
    def test_an_absent_bucket_is_a_configuration_error_that_names_it(self, store: ObjectStore, operation: str) -> None:
        uri = "s3://feature-platform-no-such-bucket/key"
        operations: dict[str, Callable[[], object]] = {
            "head": lambda: store.head(uri),
            "get": lambda: store.get(uri),
            "open": lambda: store.open(uri, etag=HELLO_MD5),
            "scan": lambda: list(store.scan(uri)),
            "put": lambda: put(store, uri, condition=IfAbsent()),
            "delete": lambda: store.delete(uri),
        }
        with pytest.raises(ConfigurationError, match=r"'feature-platform-no-such-bucket' does not exist .*(C|c)reate it"):
            operations[operation]()


class _Replaced:
    """A Parquet object that is replaced between the reading of its footer and of its data."""

    def __init__(self, store: ObjectStore, uri: str) -> None:
        self._store, self._uri = store, uri

    def open(self) -> pa.PythonFile:
        sink = pa.BufferOutputStream()
        pq.write_table(
            pa.table({"value": [float(index * index) for index in range(400_000)]}), sink, compression="none", use_dictionary=False
        )
        body = sink.getvalue().to_pybytes()
        etag = put(self._store, self._uri, body)
        file = self._store.open(self._uri, etag=etag)
        file.seek(-8, 2)
        file.read()
        put(self._store, self._uri, body[:-100] + bytes(100))
        return file


class TestMemoryObjectStore(ObjectStoreContract):
    @pytest.fixture
    def root(self) -> str:
        return "s3://bucket/"

    @pytest.fixture
    def store(self) -> MemoryObjectStore:
        return MemoryObjectStore(buckets=["bucket"])

    def test_keeps_times_in_whole_seconds_as_s3_does(self) -> None:
        store = MemoryObjectStore(clock=lambda: datetime(2026, 1, 15, 0, 0, 0, 999_999, tzinfo=UTC))
        put(store, "s3://any/x")
        assert store.head("s3://any/x") == ObjectInfo(
            uri="s3://any/x", etag=HELLO_MD5, size_bytes=5, modified_at=datetime(2026, 1, 15, tzinfo=UTC), write_id="w-1"
        )


class TestOwnedObjects(ObjectStoreContract):
    @pytest.fixture
    def store(self) -> ObjectStore:
        return OwnedObjects(MemoryObjectStore(buckets=["bucket"]), bases=("s3://elsewhere/base",), owner="dev")

    @pytest.fixture
    def root(self) -> str:
        return "s3://bucket/"

    def test_the_first_environment_that_writes_owns_the_base_and_others_only_read(self) -> None:
        objects, bases = MemoryObjectStore(), ("s3://bucket/base/",)
        dev, prod = (OwnedObjects(objects, bases=bases, owner=owner) for owner in ("dev", "prod"))
        put(prod, "s3://bucket/raw/x")
        put(dev, "s3://bucket/base/a")
        for write in (lambda: put(prod, "s3://bucket/base/b"), lambda: prod.delete("s3://bucket/base/a")):
            with pytest.raises(ConfigurationError, match="s3://bucket/base belongs to environment 'dev'"):
                write()
        found = prod.get("s3://bucket/base/a")
        assert found is not None
        assert [info.uri for info in prod.scan("s3://bucket/base/")] == ["s3://bucket/base/_owner.json", "s3://bucket/base/a"]

    def test_of_two_environments_that_write_first_at_once_one_is_refused(self) -> None:
        objects = FaultyObjectStore()
        dev = OwnedObjects(objects, bases=("s3://bucket/base",), owner="dev")
        mark = b'{"format": 1, "environment": "prod"}'
        objects.put_faults.append(lambda: put(objects, "s3://bucket/base/_owner.json", mark))
        with pytest.raises(ConfigurationError, match="belongs to environment 'prod'"):
            put(dev, "s3://bucket/base/a")
        assert [info.uri for info in objects.scan("s3://bucket/")] == ["s3://bucket/base/_owner.json"]

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff"])
    def test_a_mark_that_cannot_be_read_lets_nobody_write(self, body: bytes) -> None:
        objects = MemoryObjectStore()
        put(objects, "s3://bucket/base/_owner.json", body)
        with pytest.raises(ConfigurationError, match="belongs to environment 'unknown'"):
            put(OwnedObjects(objects, bases=("s3://bucket/base",), owner="dev"), "s3://bucket/base/a")


@pytest.fixture(scope="module")
def moto() -> Iterator[S3Endpoint]:
    with moto_server(page_keys=100) as url:
        yield S3Endpoint(url, access_key_id="test", secret_access_key="test-secret")


class TestS3ObjectStoreOnMoto(ObjectStoreContract):
    page_keys = 100

    @pytest.fixture
    def store(self, moto: S3Endpoint) -> S3ObjectStore:
        return moto.store

    @pytest.fixture
    def root(self, moto: S3Endpoint) -> str:
        return moto.new_bucket().uri


class TestS3ObjectStoreOnSeaweedFS(ObjectStoreContract):
    @pytest.fixture
    def store(self, s3: S3Bucket) -> S3ObjectStore:
        return s3.store

    @pytest.fixture
    def root(self, s3: S3Bucket) -> str:
        return s3.uri

    def test_survives_a_pickle(self, store: S3ObjectStore, root: str) -> None:
        put(store, root + "x")
        stored = pickle.loads(pickle.dumps(store)).get(root + "x")
        assert stored.body == b"hello"

    def test_a_forked_child_has_connections_of_its_own(self, s3: S3Bucket, root: str) -> None:
        put(s3.store, root + "x")
        answer = subprocess.run([sys.executable, "-c", FORK, root + "x"], env=s3.env, capture_output=True, text=True, check=True)
        assert answer.stdout.split() == ["child", "hello", "parent", "hello"]

    def test_a_sequential_reader_makes_one_request_for_every_mebibyte(self, proxied_s3: S3Bucket, fault_proxy: FaultProxy) -> None:
        etag = put(proxied_s3.store, proxied_s3.uri + "x", bytes(3 * 2**20))
        with proxied_s3.store.open(proxied_s3.uri + "x", etag=etag) as file:
            while file.read(10_000):
                pass
        assert [request.method for request in fault_proxy.passed()] == ["PUT", "HEAD", "GET", "GET", "GET"]


FORK = """
import os, sys
from feature_platform.adapters.object_store.s3 import S3ObjectStore
store = S3ObjectStore()
store.get(sys.argv[1])
child = os.fork()
if not child:
    print("child", store.get(sys.argv[1]).body.decode(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("parent", store.get(sys.argv[1]).body.decode())
"""
