"""A disk of a few megabytes that a test fills: a tmpfs of its own, which only root may mount."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class SmallDisk:
    """A mounted file system of fixed size."""

    path: Path

    def leave(self, free_bytes: int) -> None:
        """Fill the disk up to so many bytes, which are rounded up to pages."""
        filler = self.path / ".filler"
        filler.unlink(missing_ok=True)
        stat = os.statvfs(self.path)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(stat.f_bavail * stat.f_frsize - free_bytes, 1))

    def empty(self) -> None:
        """Give all the room back."""
        (self.path / ".filler").unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path, *, megabytes: int) -> Iterator[SmallDisk]:
    """Mount it; skips where this user may not."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"FULL DISKS ARE NOT TESTED: no tmpfs can be mounted here ({mounted.stderr.strip()}); run as root")
    try:
        yield SmallDisk(path)
    finally:
        # Lazily: a child of another test in this worker that was forked a moment ago may still hold what this process had open.
        subprocess.run(["umount", "--lazy", path], check=True)
