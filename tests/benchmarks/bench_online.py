"""``make bench-online``: online loads and reads against stock Feast, as a table and as ``build/figures/online.json``.

What is measured stands in ``online_loads`` and ``online_reads``; a further part is a further entry of :data:`PARTS`.
"""

import argparse
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

FIGURES: Final = Path("build/figures/online.json")


def _loads(*, small: bool) -> Sequence[Mapping[str, Any]]:
    from tests.benchmarks.online_loads import load_figures

    if small:
        return load_figures(rows=50_000, stock_rows=10_000, rounds=2, memory_rows=(50_000, 100_000))
    return load_figures(rows=1_000_000, stock_rows=200_000, rounds=3, memory_rows=(1_000_000, 5_000_000))


def _reads(*, small: bool) -> Sequence[Mapping[str, Any]]:
    from tests.benchmarks.online_reads import read_figures
    from tests.support.services import ValkeyDatabase
    from tests.support.valkey_server import valkey_server

    with valkey_server() as server:
        database = ValkeyDatabase(server.host, server.port)
        return read_figures(database, users=2_000, rounds=3, seconds_per_round=0.02) if small else read_figures(database)


PARTS: Final[Mapping[str, Callable[..., Sequence[Mapping[str, Any]]]]] = {"loads": _loads, "reads": _reads}


def measure(*, small: bool, parts: Sequence[str] = tuple(PARTS)) -> list[Mapping[str, Any]]:
    """Every figure: ``name``, ``ours``, ``peer``, ``ratio``, ``unit``."""
    return [figure for part in parts for figure in PARTS[part](small=small)]


def show(figures: Sequence[Mapping[str, Any]]) -> Table:
    """The figures as a table; the name ends with the peer."""
    table = Table(title="Online store")
    for column in ("what, against", "ours", "peer", "ratio", "unit"):
        table.add_column(column, justify="left" if column in {"what, against", "unit"} else "right")
    for figure in figures:
        table.add_row(figure["name"], f"{figure['ours']:,.6g}", f"{figure['peer']:,.6g}", f"{figure['ratio']:.2f}×", figure["unit"])
    return table


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a few seconds instead of minutes; ratios are then rough")
    parser.add_argument("--part", choices=sorted(PARTS), action="append", help="only this part, and nothing is written")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # Feast's own
    figures = measure(small=arguments.small, parts=arguments.part or tuple(PARTS))
    Console(width=140).print(show(figures))
    if not arguments.part and not arguments.small:
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        FIGURES.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
