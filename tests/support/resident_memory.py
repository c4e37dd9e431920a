"""The greatest resident memory of this process, as the kernel counted it."""

from pathlib import Path


def own_peak_mib() -> float:
    """``VmHWM`` of this process; ``ru_maxrss`` would be its parent's where that was larger, because it survives ``exec``."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return round(int(kib) / 1024, 1)


def forget_own_peak() -> None:
    """Count the peak from here on: what tests of this process took before is not what comes now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
