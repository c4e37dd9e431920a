"""The protocol runner performs requests and hands back answers and errors; it decides nothing."""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_platform.adapters.feature_set_store.protocol_runner import ProtocolRunner, digest
from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.objects import IfAbsent, IfMatch
from feature_platform.core.publishing.requests import CopyOf, Delete, GetImmutable, GetObject, HeadObject, Put, Scan, Wait
from feature_platform.core.versions.feature_table import FileDigest
from feature_platform.errors import ConflictError, InvalidDataError, NotFoundError, StorageError

HELLO = FileDigest("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", 5)


@pytest.fixture
def store():
    return MemoryObjectStore(clock=lambda: datetime(2026, 1, 15, tzinfo=UTC))


def run(store, *requests, **options):
    """Perform requests one after the other; their answers, or the errors that came instead."""

    def protocol():
        answers = []
        for request in requests:
            try:
                answers.append((yield request))
            except (ConflictError, StorageError, NotFoundError, InvalidDataError) as error:
                answers.append(error)
        return answers

    return ProtocolRunner(store, **options).run(protocol())


def put(uri, body, **changes):
    return Put(uri, body, **{"write_id": "w", "condition": IfAbsent(), **changes})


def test_every_request_is_performed(store):
    waited = []
    etag, head, stored, listed, bodies, gone, absent, _ = run(
        store,
        put("s3://b/x", b"hello"),
        HeadObject("s3://b/x"),
        GetObject("s3://b/x"),
        Scan("s3://b/"),
        GetImmutable(("s3://b/x", "s3://b/x")),
        Delete("s3://b/x"),
        GetObject("s3://b/x"),
        Wait(7.5),
        sleep=waited.append,
    )
    assert etag == head.etag == "5d41402abc4b2a76b9719d911017c592"
    assert (head.write_id, head.sha256, stored.body) == ("w", HELLO.sha256, b"hello")
    assert [info.uri for info in listed] == ["s3://b/x"]
    assert bodies == (b"hello", b"hello")
    assert (gone, absent, waited) == (None, None, [7.5])


def test_an_error_is_thrown_where_its_request_was_made_and_the_protocol_goes_on(store):
    first, second, third = run(
        store, put("s3://b/x", b"1"), put("s3://b/x", b"2"), put("s3://b/x", b"3", condition=IfMatch("c4ca4238a0b923820dcc509a6f75849b"))
    )
    assert first == "c4ca4238a0b923820dcc509a6f75849b"
    assert isinstance(second, ConflictError)
    assert third == "eccbc87e4b5ce2fe28308fd9f2a7baf3"


def test_an_error_that_the_protocol_does_not_handle_leaves_it(store):
    store.put("s3://b/x", b"1", write_id="other", sha256=None, condition=None)

    def protocol():
        yield put("s3://b/x", b"2")

    with pytest.raises(ConflictError, match="s3://b/x was not written"):
        ProtocolRunner(store).run(protocol())


def test_an_immutable_object_that_is_gone_is_an_error_that_names_it(store):
    [error] = run(store, GetImmutable(("s3://b/_log/1.json",)))
    assert "s3://b/_log/1.json was listed and is gone; log records are never deleted" in str(error)


def test_a_copy_is_checked_before_it_is_written(store):
    store.put("s3://b/source", b"hello", write_id="w", sha256=None, condition=None)
    copied, head, refused, absent = run(
        store,
        put("s3://b/copy", CopyOf("s3://b/source", HELLO.sha256)),
        HeadObject("s3://b/copy"),
        put("s3://b/wrong", CopyOf("s3://b/source", "0" * 64)),
        HeadObject("s3://b/wrong"),
    )
    assert copied == "5d41402abc4b2a76b9719d911017c592"
    assert (head.sha256, head.size_bytes) == (HELLO.sha256, 5)
    assert isinstance(refused, InvalidDataError)
    assert "the published file is damaged. Restore the object" in str(refused)
    assert absent is None


def test_a_copy_of_nothing_is_not_found(store):
    [error] = run(store, put("s3://b/copy", CopyOf("s3://b/source", HELLO.sha256)))
    assert isinstance(error, NotFoundError)


def test_a_padded_copy_has_the_digest_of_what_was_written(store, tmp_path):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": [1, 2]}), sink)
    body = sink.getvalue().to_pybytes()
    store.put("s3://b/source", body, write_id="w", sha256=None, condition=None)
    _, stored = run(store, put("s3://b/copy", CopyOf("s3://b/source", digest(body).sha256, padding=b"mark")), GetObject("s3://b/copy"))
    assert stored.info.sha256 == digest(stored.body).sha256 != digest(body).sha256
    assert pq.read_table(pa.BufferReader(stored.body)).to_pydict() == {"x": [1, 2]}


def test_a_file_is_digested_and_put(store, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"hello")
    assert digest(path) == digest(b"hello") == HELLO
    _, stored = run(store, put("s3://b/x", path), GetObject("s3://b/x"))
    assert stored.body == b"hello"


def test_a_local_file_that_is_gone_is_an_error_that_names_it(tmp_path):
    with pytest.raises(NotFoundError, match="it was removed before it was uploaded"):
        digest(tmp_path / "gone")


def test_spooled_copies_leave_nothing_in_the_working_directory(store, tmp_path):
    store.put("s3://b/source", b"hello", write_id="w", sha256=None, condition=None)
    run(store, put("s3://b/copy", CopyOf("s3://b/source", HELLO.sha256)), workdir=tmp_path)
    assert list(tmp_path.iterdir()) == []
