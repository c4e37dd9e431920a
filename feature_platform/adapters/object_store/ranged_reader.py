"""A seekable file over anything that can answer byte ranges of one fixed object.

How a range is fetched, and what pins it to one version of the object, does not belong here: the object store adapters pass that in.
"""

import io
from collections.abc import Callable
from typing import BinaryIO, Final

from feature_platform.errors import InvalidDataError

READ_AHEAD_BYTES: Final = 1 << 20
"""One request per MiB for a sequential reader: about 2 ms of latency against 10 ms of transfer on a loopback store."""


class RangedReader(io.RawIOBase):
    """An unbuffered reader of one object; wrap it by :func:`buffered_reader` for readers of few bytes at a time.

    Not safe for use by two threads at once: like a file, it has one position.

    Args:
        fetch: Given an offset and a length (both within the object, length at least 1), the bytes there, exactly that many.
        name: What ``repr`` and error messages of libraries show.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], *, size_bytes: int, name: str) -> None:
        self._fetch = fetch
        self._size_bytes = size_bytes
        self._position = 0
        self.name = name

    def readable(self) -> bool:
        return not self.closed

    def seekable(self) -> bool:
        return not self.closed

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        if start + offset < 0:
            raise InvalidDataError(f"Cannot seek to {start + offset} in {self.name}: expected a position of 0 or more.")
        self._position = start + offset
        return self._position

    def readall(self) -> bytes:
        """The rest of the object by one request; the inherited method would make one for every 8 KiB."""
        length = self._size_bytes - self._position
        if length <= 0:
            return b""
        rest = self._fetch(self._position, length)
        self._position += length
        return rest

    def readinto(self, buffer: object, /) -> int:
        with memoryview(buffer) as view, view.cast("B") as target:  # type: ignore[arg-type]  # typeshed's Buffer is not in 3.11
            length = min(len(target), self._size_bytes - self._position)
            if length <= 0:
                return 0
            target[:length] = self._fetch(self._position, length)
        self._position += length
        return length


def buffered_reader(fetch: Callable[[int, int], bytes], *, size_bytes: int, name: str) -> BinaryIO:
    """A :class:`RangedReader` that reads ahead, so that a sequential or footer-first reader makes few requests."""
    return io.BufferedReader(RangedReader(fetch, size_bytes=size_bytes, name=name), buffer_size=max(1, min(READ_AHEAD_BYTES, size_bytes)))
