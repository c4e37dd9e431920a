"""The object store port on Amazon S3 and stores that speak its protocol, by boto3.

What an error means does not belong here (``s3_errors``), nor what is read and written (``core``). Server-side copies are not used: not
every store honours conditions on them. A write is one PUT, or parts (``s3_parts``) where it is long.
"""

import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

from feature_platform.adapters.object_store.ranged_reader import buffered_reader
from feature_platform.adapters.object_store.s3_attempts import Attempts, AttemptsDeadlineError
from feature_platform.adapters.object_store.s3_errors import (
    NOT_RESOLVED,
    Effect,
    absent_bucket,
    is_absent_object,
    translate,
    without_secrets,
)
from feature_platform.adapters.object_store.s3_parts import PART_BYTES, of_file, upload
from feature_platform.core.layout import split_uri
from feature_platform.core.objects import Condition, Content, IfAbsent, IfMatch, ObjectInfo, StoredObject
from feature_platform.errors import ConfigurationError, ConflictError, NotFoundError, StorageError

MAX_PUT_BYTES: Final = 5 * 2**30
"""S3's limit for one PUT."""

_WRITE_ID, _SHA256 = "write-id", "sha256"
_CHUNK_BYTES: Final = 1 << 18
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class S3Timeouts:
    """How long one call may take.

    Attributes:
        read_s: Seconds between two packets of an answer.
        attempts: Attempts of one request; between them botocore's standard mode waits 1, 2, 4 … s times a random fraction.
        deadline_s: No attempt of a call begins later than this, so a call takes at most ``deadline_s + connect_s + read_s``.
        body_attempts: GETs of one body that breaks while it is read, which botocore does not repeat.
        slowest_bytes_per_s: A body may take ``deadline_s`` plus its size in bytes divided by this.
    """

    connect_s: float = 3.0
    read_s: float = 30.0
    attempts: int = 6
    deadline_s: float = 60.0
    body_attempts: int = 5
    slowest_bytes_per_s: int = 256 * 1024


class _BrokenBodyError(Exception):
    """An answer's body ended early, stalled or failed its checksum; its request may be made again."""


_building = threading.Lock()


def _unlock_in_child() -> None:
    global _building  # noqa: PLW0603  a fork may copy the lock while another thread holds it
    _building = threading.Lock()


os.register_at_fork(after_in_child=_unlock_in_child)


class S3ObjectStore:
    """See :class:`ObjectStore`: objects on one S3 endpoint; safe to share between threads and to carry across a fork or a pickle.

    No connection is opened and boto3 is not imported before the first call.

    Args:
        endpoint_url: Endpoint; boto3's own resolution (``AWS_ENDPOINT_URL``, then AWS) where left out.
        region: Region; boto3's own resolution where left out.
        access_key_id: Static credentials with ``secret_access_key``; boto3's ordinary credential chain where left out.
        secret_access_key: See ``access_key_id``.
        part_bytes: What a write of unknown length holds in memory.
    """

    _built: Any
    _built_in: int

    def __init__(
        self,
        *,
        endpoint_url: str | None = None,
        region: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        timeouts: S3Timeouts | None = None,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._arguments = {
            "endpoint_url": endpoint_url,
            "region_name": region,
            "aws_access_key_id": access_key_id,
            "aws_secret_access_key": secret_access_key,
        }
        self._timeouts = timeouts or S3Timeouts()
        self._part_bytes = part_bytes
        self._forget_connections()

    def __repr__(self) -> str:
        return f"S3ObjectStore(endpoint_url={without_secrets(self._arguments['endpoint_url'] or '') or None!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_attempts", "_built", "_built_in", "_known_buckets")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget_connections()

    def head(self, uri: str) -> ObjectInfo | None:
        bucket, key = split_uri(uri)
        with self._call(uri, effect="read") as s3:
            try:
                answer = s3.head_object(Bucket=bucket, Key=key)
            except s3.exceptions.ClientError as error:
                if not is_absent_object(error):
                    raise
                self._require_bucket(s3, bucket, uri=uri)
                return None
        self._known_buckets.add(bucket)
        return _info(uri, answer)

    def get(self, uri: str) -> StoredObject | None:
        return self._read(uri, lambda answer: StoredObject(_info(uri, answer), b"".join(self._chunks(answer))))

    def open(self, uri: str, *, etag: str) -> BinaryIO:
        """See :meth:`ObjectStore.open`; every read is a ranged GET with ``If-Match``."""
        info = self.head(uri)
        if info is None:
            raise NotFoundError(f"{uri} does not exist.")
        if info.etag != _bare(etag):
            raise ConflictError(f"{uri} has changed: expected ETag {etag}, found {info.etag}. Read its description again.")

        def fetch(offset: int, length: int) -> bytes:
            return self._range(uri, offset, length, etag=etag)

        return buffered_reader(fetch, size_bytes=info.size_bytes, name=uri)

    def download(self, uri: str, target: Path, *, etag: str | None = None) -> ObjectInfo:
        """See :meth:`ObjectStore.download`; ``target`` appears whole or not at all."""
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        partial = Path(name)
        with ExitStack() as cleanup:
            cleanup.callback(partial.unlink, missing_ok=True)
            file = cleanup.enter_context(os.fdopen(descriptor, "wb"))

            def write(answer: dict[str, Any]) -> ObjectInfo:
                file.seek(0)
                file.truncate()
                file.writelines(self._chunks(answer))
                file.flush()
                return _info(uri, answer)

            info = self._read(uri, write, **_pinned_to(etag))
            if info is None:
                raise NotFoundError(f"{uri} does not exist.")
            partial.replace(target)
            return info

    def scan(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """See :meth:`ObjectStore.scan`.

        The listing is read whole and then sorted: SeaweedFS and S3's directory buckets list in another order than that of the keys.
        """
        bucket = split_uri(prefix)[0]
        start = {"StartAfter": split_uri(after)[1]} if after else {}
        found = [_listed(bucket, item) for page in self._pages(prefix, **start) for item in page.get("Contents", ())]
        yield from sorted((info for info in found if info.uri.encode() > after.encode()), key=lambda info: info.uri.encode())

    def directories(self, prefix: str) -> Sequence[str]:
        bucket = split_uri(prefix)[0]
        pages = self._pages(prefix, Delimiter="/")
        return sorted({f"s3://{bucket}/{item['Prefix']}" for page in pages for item in page.get("CommonPrefixes", ())})

    def _pages(self, prefix: str, **options: str) -> Iterator[Mapping[str, Any]]:
        bucket, key_prefix = split_uri(prefix)
        token: dict[str, str] = {}
        while True:
            with self._call(prefix, effect="read") as s3:
                page = s3.list_objects_v2(Bucket=bucket, Prefix=key_prefix, **options, **token)
            yield page
            if not page.get("IsTruncated"):
                break
            token = {"ContinuationToken": page["NextContinuationToken"]}
        self._known_buckets.add(bucket)

    def put(self, uri: str, body: Content, *, write_id: str, sha256: str | None, condition: Condition) -> str:
        bucket, key = split_uri(uri)
        metadata = {_WRITE_ID: write_id} | ({} if sha256 is None else {_SHA256: sha256})
        if isinstance(body, Path) and body.stat().st_size > MAX_PUT_BYTES:
            body = of_file(body)
        if not isinstance(body, bytes | Path):
            asked = _precondition(condition)
            return _bare(upload(self._call, uri, body, metadata, sha256=sha256, condition=asked, part_bytes=self._part_bytes))
        with ExitStack() as files:
            content = files.enter_context(body.open("rb")) if isinstance(body, Path) else body
            s3 = files.enter_context(self._call(uri, effect="write"))
            answer = s3.put_object(Bucket=bucket, Key=key, Body=content, Metadata=metadata, **_precondition(condition))
        return _bare(answer["ETag"])

    def delete(self, uri: str) -> None:
        bucket, key = split_uri(uri)
        with self._call(uri, effect="write") as s3:
            s3.delete_object(Bucket=bucket, Key=key)

    def _range(self, uri: str, offset: int, length: int, *, etag: str) -> bytes:
        def read(answer: dict[str, Any]) -> bytes:
            body = b"".join(self._chunks(answer))
            if len(body) != length:
                raise _BrokenBodyError(f"expected {length} bytes from {offset}, found {len(body)}")
            return body

        body = self._read(uri, read, Range=f"bytes={offset}-{offset + length - 1}", **_pinned_to(etag))
        if body is None:
            raise NotFoundError(f"{uri} was deleted while it was read.")
        return body

    def _read(self, uri: str, consume: Callable[[dict[str, Any]], ResultT], **parameters: str) -> ResultT | None:
        """GET an object and consume its body, from the start again whenever the body breaks; None where there is no object."""
        bucket, key = split_uri(uri)
        for attempt in range(1, self._timeouts.body_attempts + 1):
            with self._call(uri, effect="read") as s3:
                try:
                    answer = s3.get_object(Bucket=bucket, Key=key, **parameters)
                except s3.exceptions.ClientError as error:
                    if is_absent_object(error):
                        return None
                    raise
            try:
                return consume(answer)
            except _BrokenBodyError as error:
                answer["Body"].close()
                if attempt == self._timeouts.body_attempts:
                    endpoint = without_secrets(s3.meta.endpoint_url)
                    message = f"{uri}: S3 at {endpoint} broke off {attempt} of {attempt} answers ({error}). Run again."
                    raise StorageError(message) from error
            time.sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311  jitter, so that readers do not come back in step
        raise AssertionError("a read takes at least one attempt")

    def _chunks(self, answer: dict[str, Any]) -> Iterator[bytes]:
        """The body of an answer, to its end, where botocore checks its length and checksum."""
        from botocore.exceptions import BotoCoreError
        from urllib3.exceptions import HTTPError

        limit_s = self._timeouts.deadline_s + answer["ContentLength"] / self._timeouts.slowest_bytes_per_s
        started = time.monotonic()
        try:
            while chunk := answer["Body"].read(_CHUNK_BYTES):
                yield chunk
                if time.monotonic() - started > limit_s:
                    raise _BrokenBodyError(f"slower than {self._timeouts.slowest_bytes_per_s} bytes/s")
        except (BotoCoreError, HTTPError) as error:
            raise _BrokenBodyError(f"{type(error).__name__}: {error}") from error

    def _require_bucket(self, s3: Any, bucket: str, *, uri: str) -> None:
        """Tell an absent bucket from an absent key, which the answer to HEAD does not; once for each bucket."""
        if bucket in self._known_buckets:
            return
        try:
            s3.head_bucket(Bucket=bucket)
        except s3.exceptions.ClientError as error:
            if is_absent_object(error):
                raise absent_bucket(uri, endpoint=s3.meta.endpoint_url) from error
            raise
        self._known_buckets.add(bucket)

    @contextmanager
    def _call(self, uri: str, *, effect: Effect) -> Iterator[Any]:
        """The client for one call; its errors are raised as this project's."""
        from botocore.exceptions import BotoCoreError, ClientError

        endpoint = self._arguments["endpoint_url"] or NOT_RESOLVED
        try:
            s3 = self._client()
            endpoint = s3.meta.endpoint_url
            with self._attempts.within(self._timeouts.deadline_s, attempts=self._timeouts.attempts):
                yield s3
        except (BotoCoreError, ClientError, AttemptsDeadlineError) as error:
            reached = self._attempts.reached_server
            now = datetime.now(UTC)
            raise translate(error, uri=uri, endpoint=endpoint, effect=effect, reached_server=reached, now=now) from error

    def _client(self) -> Any:
        """This process's client. A forked child builds its own: two processes must not share a connection."""
        with _building:
            if self._built_in != os.getpid():
                self._built, self._built_in = self._build(), os.getpid()
            return self._built

    def _build(self) -> Any:
        from boto3.session import Session
        from botocore.config import Config

        config = Config(
            connect_timeout=self._timeouts.connect_s,
            read_timeout=self._timeouts.read_s,
            retries={"mode": "standard", "total_max_attempts": self._timeouts.attempts},
            max_pool_connections=32,
        )
        # A session of its own: boto3's default one is not safe to build clients on from several threads.
        session = Session()
        client = self._new_client(session, config)
        if getproxies() and urlsplit(client.meta.endpoint_url).hostname in _LOOPBACK:
            # A proxy for other hosts cannot reach a server on this machine; the endpoint is known only now that boto3 has resolved it.
            client = self._new_client(session, config.merge(Config(proxies={})))
        self._attempts.watch(client)
        return client

    def _new_client(self, session: Any, config: Any) -> Any:
        from botocore.exceptions import BotoCoreError

        try:
            return session.client("s3", config=config, **self._arguments)
        except BotoCoreError:  # some are ValueErrors too
            raise
        except ValueError:
            # Not chained: botocore's message repeats the URL whole, and it may hold a password.
            raise ConfigurationError(
                "The S3 endpoint is no URL: expected http(s)://host[:port] in AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL. Correct it."
            ) from None

    def _forget_connections(self) -> None:
        self._attempts = Attempts()
        self._built = None
        self._built_in = 0
        self._known_buckets: set[str] = set()


def _precondition(condition: Condition) -> dict[str, str]:
    match condition:
        case IfAbsent():
            return {"IfNoneMatch": "*"}
        case IfMatch(etag=etag):
            return _pinned_to(etag)
        case None:
            return {}


def _pinned_to(etag: str | None) -> dict[str, str]:
    return {} if etag is None else {"IfMatch": f'"{_bare(etag)}"'}


def _bare(etag: str) -> str:
    return etag.strip('"')


def _info(uri: str, answer: dict[str, Any]) -> ObjectInfo:
    metadata = answer.get("Metadata", {})
    return ObjectInfo(
        uri=uri,
        etag=_bare(answer["ETag"]),
        size_bytes=answer["ContentLength"],
        modified_at=answer["LastModified"].astimezone(UTC),
        write_id=metadata.get(_WRITE_ID),
        sha256=metadata.get(_SHA256),
    )


def _listed(bucket: str, item: dict[str, Any]) -> ObjectInfo:
    return ObjectInfo(
        uri=f"s3://{bucket}/{item['Key']}",
        etag=_bare(item["ETag"]),
        size_bytes=item["Size"],
        modified_at=item["LastModified"].astimezone(UTC),
    )
