"""New bytes for the same Parquet file: padding between its last page and its footer.

A reader finds the footer from the end of the file and every page by its absolute offset, so bytes between the two are never read.

Source: https://parquet.apache.org/docs/file-format/ ("4-byte length in bytes of file metadata (little endian)", then "PAR1").
"""

import struct
from pathlib import Path
from typing import Final

from feature_platform.errors import InvalidDataError

_MAGIC: Final = b"PAR1"
_TAIL_BYTES: Final = 8


def pad_parquet(path: Path, *, padding: bytes) -> None:
    """Insert padding before the footer of a local Parquet file, in place.

    Raises:
        InvalidDataError: The file does not end as a Parquet file does; it is left as it was.
    """
    # An ETag is a digest of the bytes. After a rollback to bytes that latest/ had before, the ETag would be back too, and a writer frozen
    # since then would meet its condition (docs/adr/0002-publication-protocol.md).
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(max(size - _TAIL_BYTES, 0))
        tail = file.read()
        footer_bytes = struct.unpack("<I", tail[:4])[0] if len(tail) == _TAIL_BYTES and tail[4:] == _MAGIC else size
        start = size - _TAIL_BYTES - footer_bytes
        if start < len(_MAGIC):
            raise InvalidDataError(f"{path.name} does not end with a Parquet footer; expected a whole Parquet file of {size} bytes.")
        file.seek(start)
        footer = file.read()
        file.seek(start)
        file.write(padding + footer)
