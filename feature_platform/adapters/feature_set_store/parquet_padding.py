"""New bytes for the same Parquet file: padding between its last page and its footer.

A reader finds the footer from the end of the file and every page by its absolute offset, so bytes between the two are never read.

Source: https://parquet.apache.org/docs/file-format/ ("4-byte length in bytes of file metadata (little endian)", then "PAR1").
"""

from pathlib import Path

from feature_platform.core.parquet import footer_start


def pad_parquet(path: Path, *, padding: bytes) -> None:
    """Insert padding before the footer of a local Parquet file, in place.

    Raises:
        InvalidDataError: The file does not end as a Parquet file does; it is left as it was.
    """
    # An ETag is a digest of the bytes. After a rollback to bytes that latest/ had before, the ETag would be back too, and a writer frozen
    # since then would meet its condition (docs/adr/0002-publication-protocol.md).
    with path.open("r+b") as file:
        start = footer_start(file, path.name)
        file.seek(start)
        footer = file.read()
        file.seek(start)
        file.write(padding + footer)
