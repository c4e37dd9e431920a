"""The bytes of one object on their way to S3, in parts that become the object all at once. One that fits one part is sent by one PUT.

What an error means does not belong here (``s3_errors``).
"""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from feature_platform.adapters.machine.hashed_sink import HashedSink
from feature_platform.adapters.object_store.s3_errors import Effect
from feature_platform.core.layout import split_uri
from feature_platform.core.objects import Writes, require_sha256
from feature_platform.errors import FeaturePlatformError, InvalidDataError

PART_BYTES: Final = 64 << 20
"""Bytes in memory for each object that is written; S3 takes 10,000 parts, so an object has at most 625 GiB."""

MAX_PARTS: Final = 10_000

Calls = Callable[..., AbstractContextManager[Any]]


class _Parts:
    """Sends each full part; the rest waits in ``waiting``."""

    def __init__(self, send: Callable[[bytes], None], *, part_bytes: int) -> None:
        self._send, self._part_bytes, self.waiting = send, part_bytes, bytearray()

    def write(self, data: memoryview) -> None:
        self.waiting += data
        while len(self.waiting) > self._part_bytes:
            self._send(bytes(self.waiting[: self._part_bytes]))
            del self.waiting[: self._part_bytes]


def of_file(path: Path) -> Writes:
    """The bytes of a local file."""

    def write(sink: BinaryIO) -> None:
        with path.open("rb") as file:
            shutil.copyfileobj(file, sink)

    return write


def upload(call: Calls, uri: str, write: Writes, metadata: dict[str, str], *, sha256: str | None, condition: Any, part_bytes: int) -> str:
    """Write what a function writes; returns the ETag.

    Args:
        call: Gives the client for one call, whose errors it raises as ours.
        uri: The object.
        write: Writes the object's bytes into the sink that it is given.
        metadata: The object's user metadata.
        sha256: What the bytes must have; None for any.
        condition: The client's arguments for it.
        part_bytes: Size of a part.

    Raises:
        InvalidDataError: The bytes have another SHA-256, or are too many; there is no object then.
        ConflictError, UnknownOutcomeError: As for any write.
    """
    bucket, key = split_uri(uri)
    named: dict[str, Any] = {"Bucket": bucket, "Key": key}
    parts: list[dict[str, Any]] = []

    def send(body: bytes) -> None:
        no_effect: Effect = "read"  # nobody sees a part before the last request
        with call(uri, effect=no_effect) as s3:
            if not parts:
                named["UploadId"] = s3.create_multipart_upload(Bucket=bucket, Key=key, Metadata=metadata)["UploadId"]
            if len(parts) == MAX_PARTS:
                raise InvalidDataError(f"{uri} is longer than {MAX_PARTS} parts of {part_bytes} bytes; expected less. Make smaller sets.")
            answer = s3.upload_part(**named, PartNumber=len(parts) + 1, Body=body)
            parts.append({"PartNumber": len(parts) + 1, "ETag": answer["ETag"]})

    rest = _Parts(send, part_bytes=part_bytes)
    sink = HashedSink(cast("Any", rest))
    try:
        write(cast("Any", sink))
        require_sha256(uri, sink.sha256, expected=sha256)
        if parts:
            send(bytes(rest.waiting))
        with call(uri, effect="write") as s3:
            if not parts:
                return str(s3.put_object(**named, Body=bytes(rest.waiting), Metadata=metadata, **condition)["ETag"])
            return str(s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts}, **condition)["ETag"])
    except BaseException:
        # A process that is killed leaves its parts, which a lifecycle rule of the bucket removes.
        if "UploadId" in named:
            with suppress(FeaturePlatformError), call(uri, effect="read") as s3:
                s3.abort_multipart_upload(**named)
        raise
