"""What the S3 adapter says when answers are lost, late, refused or damaged: the truth about its writes, and whole reads."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from feature_platform.adapters.object_store.s3 import S3ObjectStore, S3Timeouts
from feature_platform.core.objects import Condition, IfAbsent, IfMatch, ObjectInfo
from feature_platform.errors import ConfigurationError, ConflictError, StorageError, UnknownOutcomeError
from feature_platform.local.loopback_ports import choose_ports
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.services import S3Bucket

pytestmark = pytest.mark.usefixtures("no_backoff")

QUICK = S3Timeouts(connect_s=0.5, read_s=0.4, attempts=3, deadline_s=20.0, body_attempts=3)

BODY = bytes(index % 253 for index in range(300_000))


@pytest.fixture
def store(proxied_s3: S3Bucket) -> S3ObjectStore:
    return quick(proxied_s3)


def quick(bucket: S3Bucket, *, timeouts: S3Timeouts = QUICK, **changes: str) -> S3ObjectStore:
    endpoint = replace(bucket.endpoint, **changes)
    return S3ObjectStore(
        endpoint_url=endpoint.endpoint_url,
        region=endpoint.region,
        access_key_id=endpoint.access_key_id,
        secret_access_key=endpoint.secret_access_key,
        timeouts=timeouts,
    )


def put(store: S3ObjectStore, uri: str, *, condition: Condition, write_id: str = "mine") -> str:
    return store.put(uri, BODY, write_id=write_id, sha256=None, condition=condition)


def written(bucket: S3Bucket, key: str) -> ObjectInfo | None:
    """What the server holds, asked without the proxy."""
    return bucket.store.head(bucket.uri + key)


@pytest.mark.parametrize("fault", ["error_500", "slow_down", "drop_request"])
def test_a_write_that_failed_once_is_tried_again(fault: Fault, fault_proxy: FaultProxy, store: S3ObjectStore, s3: S3Bucket) -> None:
    fault_proxy.inject(fault, key="/x$")
    etag = put(store, s3.uri + "x", condition=IfAbsent())
    info = written(s3, "x")
    assert info is not None
    assert (info.etag, info.write_id) == (etag, "mine")
    assert [request.fault for request in fault_proxy.passed(method="PUT")] == [fault, None]


@pytest.mark.parametrize("fault", ["drop_reply", "late_reply"])
def test_a_create_whose_answer_was_lost_is_a_conflict_with_itself(
    fault: Fault, fault_proxy: FaultProxy, store: S3ObjectStore, s3: S3Bucket
) -> None:
    fault_proxy.inject(fault, key="/x$", delay_s=2)
    with pytest.raises(ConflictError, match="PreconditionFailed"):
        put(store, s3.uri + "x", condition=IfAbsent())
    info = store.head(s3.uri + "x")
    assert info is not None
    assert info.write_id == "mine"


def test_an_update_whose_answer_was_lost_is_a_conflict_with_itself(fault_proxy: FaultProxy, store: S3ObjectStore, s3: S3Bucket) -> None:
    before = s3.store.put(s3.uri + "x", b"before", write_id="theirs", sha256=None, condition=None)
    fault_proxy.inject("drop_reply", key="/x$")
    with pytest.raises(ConflictError):
        put(store, s3.uri + "x", condition=IfMatch(before))
    info = store.head(s3.uri + "x")
    assert info is not None
    assert info.write_id == "mine"


@pytest.mark.parametrize("fault", ["drop_request", "drop_reply", "late_reply", "error_500", "slow_down"])
def test_a_write_without_an_answer_has_an_unknown_outcome(
    fault: Fault, fault_proxy: FaultProxy, store: S3ObjectStore, s3: S3Bucket
) -> None:
    fault_proxy.inject(fault, key="/x$", times=None, delay_s=2)
    with pytest.raises(UnknownOutcomeError, match=r"/x: .* may or may not have happened"):
        put(store, s3.uri + "x", condition=IfAbsent())
    assert (written(s3, "x") is not None) == (fault in ("drop_reply", "late_reply"))
    assert [request.fault for request in fault_proxy.passed(method="PUT")] == [fault] * 3


def test_a_delete_without_an_answer_has_an_unknown_outcome(fault_proxy: FaultProxy, store: S3ObjectStore, s3: S3Bucket) -> None:
    put(store, s3.uri + "x", condition=None)
    fault_proxy.inject("drop_reply", method="DELETE", times=None)
    with pytest.raises(UnknownOutcomeError):
        store.delete(s3.uri + "x")
    assert written(s3, "x") is None


def test_no_attempt_begins_after_the_deadline(fault_proxy: FaultProxy, s3: S3Bucket, proxied_s3: S3Bucket) -> None:
    store = quick(proxied_s3, timeouts=replace(QUICK, deadline_s=0.3, read_s=0.4, attempts=6))
    fault_proxy.inject("late_reply", key="/x$", times=None, delay_s=1)
    with pytest.raises(UnknownOutcomeError, match="within the deadline"):
        put(store, s3.uri + "x", condition=IfAbsent())
    assert len(fault_proxy.passed(method="PUT")) == 1


READS: dict[str, Callable[[S3ObjectStore, str, str], bytes]] = {
    "get": lambda store, uri, etag: store.get(uri).body,  # type: ignore[union-attr]
    "open": lambda store, uri, etag: store.open(uri, etag=etag).read(),
}


@pytest.mark.parametrize(
    ("read", "fault"),
    [("get", "truncate"), ("get", "drop_reply"), ("get", "error_500"), ("open", "truncate"), ("open", "late_reply"), ("open", "slow_down")],
)
def test_a_read_recovers(read: str, fault: Fault, fault_proxy: FaultProxy, store: S3ObjectStore, s3: S3Bucket) -> None:
    etag = put(store, s3.uri + "x", condition=None)
    fault_proxy.inject(fault, method="GET", delay_s=2)
    assert READS[read](store, s3.uri + "x", etag) == BODY
    assert [request.fault for request in fault_proxy.passed(method="GET")] == [fault, None]


def test_a_damaged_body_is_read_again(fault_proxy: FaultProxy, store: S3ObjectStore, s3: S3Bucket) -> None:
    put(store, s3.uri + "x", condition=None)
    fault_proxy.inject("flip_bit", method="GET")
    stored = store.get(s3.uri + "x")
    assert stored is not None
    assert hashlib.sha256(stored.body).hexdigest() == hashlib.sha256(BODY).hexdigest()
    assert [request.fault for request in fault_proxy.passed(method="GET")] == ["flip_bit", None]


def test_a_download_recovers_and_leaves_nothing_beside_it(
    fault_proxy: FaultProxy, store: S3ObjectStore, s3: S3Bucket, tmp_path: Path
) -> None:
    etag = put(store, s3.uri + "x", condition=None)
    fault_proxy.inject("truncate", method="GET", times=2)
    store.download(s3.uri + "x", tmp_path / "x", etag=etag)
    assert (tmp_path / "x").read_bytes() == BODY
    fault_proxy.inject("truncate", method="GET", times=None)
    with pytest.raises(StorageError, match="broke off 3 of 3 answers"):
        store.download(s3.uri + "x", tmp_path / "y", etag=etag)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("fault", ["truncate", "drop_reply", "slow_down"])
def test_a_read_that_never_succeeds_is_a_storage_error(fault: Fault, fault_proxy: FaultProxy, store: S3ObjectStore, s3: S3Bucket) -> None:
    put(store, s3.uri + "x", condition=None)
    fault_proxy.inject(fault, method="GET", times=None)
    with pytest.raises(StorageError, match=r"/x: S3 at http://127\.0\.0\.1:") as caught:
        store.get(s3.uri + "x")
    assert not isinstance(caught.value, UnknownOutcomeError)


@pytest.mark.parametrize("operation", ["head", "scan"])
def test_a_description_recovers(operation: str, fault_proxy: FaultProxy, store: S3ObjectStore, s3: S3Bucket) -> None:
    put(store, s3.uri + "x", condition=None)
    fault_proxy.inject("slow_down", method="HEAD")
    fault_proxy.inject("truncate", method="GET")
    info = store.head(s3.uri + "x") if operation == "head" else next(iter(store.scan(s3.uri)))
    assert info is not None
    assert info.size_bytes == 300_000


def test_a_refused_endpoint_is_named_and_a_write_to_it_did_not_happen(s3: S3Bucket) -> None:
    port = choose_ports(["nobody"], preferred={})["nobody"]
    store = quick(s3, endpoint_url=f"http://127.0.0.1:{port}")
    for operation in (lambda: store.head(s3.uri + "x"), lambda: put(store, s3.uri + "x", condition=IfAbsent())):
        with pytest.raises(StorageError, match=rf"S3 at http://127.0.0.1:{port} could not be reached") as caught:
            operation()
        assert not isinstance(caught.value, UnknownOutcomeError)


@pytest.mark.parametrize("wrong", [{"secret_access_key": "not-the-secret"}, {"access_key_id": "nobody"}])
@pytest.mark.parametrize("operation", ["head", "get", "scan", "put"])
def test_wrong_credentials_are_a_configuration_error_without_secrets(operation: str, wrong: dict[str, str], s3: S3Bucket) -> None:
    store = quick(s3, **wrong)
    operations: dict[str, Callable[[], object]] = {
        "head": lambda: store.head(s3.uri + "x"),
        "get": lambda: store.get(s3.uri + "x"),
        "scan": lambda: list(store.scan(s3.uri)),
        "put": lambda: put(store, s3.uri + "x", condition=None),
    }
    with pytest.raises(
        ConfigurationError, match=rf"S3 at {s3.endpoint.endpoint_url} refused these credentials for bucket '{s3.bucket}'"
    ) as caught:
        operations[operation]()
    assert "not-the-secret" not in str(caught.value) + repr(store)
