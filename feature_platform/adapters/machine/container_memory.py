"""How much memory this container may use, and how much of it an engine gets. Enforcing that does not belong here."""

import os
from pathlib import Path
from typing import Final

OWN_BYTES: Final = 256 << 20
"""Memory for the process itself, its libraries and its rows, besides the engine's (measured: 118 MiB before a first query)."""
LEAST_BYTES: Final = 64 << 20
GREATEST_BYTES: Final = 4 << 30
"""Most that an engine gets by default: a machine without a limit is usually shared. Set the engine's memory to give it more."""


def engine_memory_bytes(root: Path = Path("/")) -> int:
    """An engine's share of the container's memory: half of what the process leaves, because engines use more than they count.

    Measured with 222 MiB, the share of a container of 700 MiB: 3,000,000 rows built within 433 MiB resident, validated within 593 MiB.
    """
    return min(max((container_memory_bytes(root) - OWN_BYTES) // 2, LEAST_BYTES), GREATEST_BYTES)


def container_memory_bytes(root: Path = Path("/")) -> int:
    """The least of the machine's memory and every control group's limit that holds for this process.

    Source: cgroups(7); https://docs.kernel.org/admin-guide/cgroup-v2.html (``memory.max``).
    """
    found = [limit for file in _limit_files(root) if (limit := _limit(file)) is not None]
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *found])


def _limit_files(root: Path) -> list[Path]:
    """The files that may hold a limit: of this process's group and of each above it, as far as they are visible from here."""
    mounts = root / "sys/fs/cgroup"
    files = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        hierarchy, controllers, group = line.split(":", 2)
        unified = hierarchy == "0" and not controllers
        if not unified and "memory" not in controllers.split(","):
            continue
        base, name = (mounts, "memory.max") if unified else (mounts / "memory", "memory.limit_in_bytes")
        own = base / group.strip("/")
        files += [above / name for above in (own, *own.parents) if above.is_relative_to(base)]
    return files


def _limit(file: Path) -> int | None:
    text = _read(file).strip()
    return int(text) if text.isdecimal() else None  # "max" is no limit


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""  # not on this system, or not for us to see
