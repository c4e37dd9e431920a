"""How benchmarks measure, print and write: medians of interleaved rounds, peak memory of a process of its own, one file of figures."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    name: str
    ours: float
    peer: float
    ratio: float
    unit: str


def compare(name: str, ours: Callable[[], object], peer: Callable[[], object], *, rounds: int) -> Figure:
    """Medians of interleaved rounds; the first round of each warms the page cache and does not count."""
    timings: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        for run, seconds in zip((ours, peer), timings, strict=True):
            started = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - started)
    ours_s, peer_s = (statistics.median(seconds[1:]) for seconds in timings)
    return Figure(name, round(ours_s, 3), round(peer_s, 3), round(ours_s / peer_s, 2), "s")


def peak_mib(script: Path, arguments: Sequence[str]) -> float:
    """Peak resident memory of one step of a benchmark, ``<script> --step <arguments>``, in a process of its own."""
    command = [sys.executable, str(script.resolve()), "--step", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=600)
    return float(done.stdout.splitlines()[-1])


def write_figures(figures: Sequence[Figure], *, name: str, title: str) -> None:
    """Print the figures as a table and write them to ``build/figures/<name>.json``."""
    table = Table("", "ours", "peer", "ratio", "unit", title=title)
    for figure in figures:
        table.add_row(figure.name, f"{figure.ours:,}", f"{figure.peer:,}", f"{figure.ratio:.2f}", figure.unit)
    Console().print(table)
    path = ROOT / "build" / "figures" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")
