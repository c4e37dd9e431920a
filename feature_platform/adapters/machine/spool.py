"""Temporary local directories, and the errors of a disk that is full or cannot be used.

What is spooled does not belong here, nor objects of a store (``adapters.object_store.s3``).
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from feature_platform.errors import ConfigurationError, FeaturePlatformError, FullDiskError

_HOME: Final = "the variable FEATURE_PLATFORM_HOME"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_UNUSABLE: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG}
)


@contextmanager
def spool(prefix: str, *, parent: Path | None) -> Iterator[Path]:
    """A temporary directory, removed afterwards.

    Args:
        prefix: Begins its name, so that what a killed process left behind can be recognised.
        parent: An existing directory; the system's where left out.

    Raises:
        FullDiskError, ConfigurationError: As :func:`disk_errors`.
    """
    with disk_errors(parent), tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as name:
        yield Path(name)


@contextmanager
def disk_errors(directory: Path | None) -> Iterator[None]:
    """Turn the operating system's errors about a local directory into ours; others pass, as those about files elsewhere do.

    Raises:
        FullDiskError: The disk is full, or a quota or a limit on file sizes is reached.
        ConfigurationError: The directory is a file, is missing, or cannot be written.
    """
    try:
        yield
    except OSError as error:
        translated = _meaning(error, directory or Path(tempfile.gettempdir()), setting=_HOME if directory else "the variable TMPDIR")
        if translated is None:
            raise
        raise translated from error


def full_disk(directory: Path, *, reason: str, setting: str = _HOME) -> FullDiskError:
    """The error for a disk without room; ``setting`` is what moves the directory, by default the platform's home."""
    return FullDiskError(
        f"The disk of {directory} is full: {reason}, {_free_bytes(directory)} bytes are free. Free some space or set "
        f"{setting} to a larger disk, then run again; nothing half-written is used."
    )


def _meaning(error: OSError, directory: Path, *, setting: str) -> FeaturePlatformError | None:
    if error.errno in _FULL:
        return full_disk(directory, reason=os.strerror(error.errno), setting=setting)
    if error.errno in _UNUSABLE and _concerns(error, directory):
        return ConfigurationError(
            f"{directory} cannot hold the platform's files: {os.strerror(error.errno)}. Expected a directory that this user can write; "
            f"correct its rights, or set {setting} to another one."
        )
    return None


def _concerns(error: OSError, directory: Path) -> bool:
    """Whether the file that an error names is in a directory, or on the way to it."""
    if not isinstance(error.filename, str | os.PathLike):
        return False
    file, place = (Path(os.path.abspath(path)) for path in (error.filename, directory))
    return file.is_relative_to(place) or place.is_relative_to(file)


def _free_bytes(directory: Path) -> int | str:
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return "unknown"
