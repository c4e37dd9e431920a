"""A sink that hashes and counts the bytes on their way. Where they go does not belong here."""

import hashlib
from io import RawIOBase
from typing import Any, BinaryIO


class HashedSink(RawIOBase):
    """Passes bytes on to another sink, or to none: then only their digest is wanted."""

    def __init__(self, into: BinaryIO | None = None) -> None:
        self._into, self._sha256 = into, hashlib.sha256()
        self.size_bytes = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size_bytes

    def write(self, data: Any) -> int:
        with memoryview(data).cast("B") as view:
            self._sha256.update(view)
            self.size_bytes += len(view)
            if self._into is not None:
                self._into.write(view)
            return len(view)

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was written so far, in hexadecimal digits."""
        return self._sha256.hexdigest()
