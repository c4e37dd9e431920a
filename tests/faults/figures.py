"""Figures of the fault campaigns, added up over tests and worker processes into ``build/figures/faults.json``.

``python -m tests.faults.figures`` prints them as a table. They add up over runs too: remove the file before a campaign.
"""

import fcntl
import json
import os
import sys
from pathlib import Path

FIGURES = Path(os.environ.get("FAULTS_FIGURES", "build/figures/faults.json"))


def record_figure(name: str, *, tried: int, violations: int) -> None:
    """Add to a campaign's figures; the file is a list of ``{name, tried, violations}``."""
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    with FIGURES.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = json.loads(FIGURES.read_text()) if FIGURES.exists() else []
        row = next((row for row in rows if row["name"] == name), None)
        if row is None:
            row = {"name": name, "tried": 0, "violations": 0}
            rows.append(row)
        row["tried"] += tried
        row["violations"] += violations
        FIGURES.write_text(json.dumps(sorted(rows, key=lambda item: item["name"]), indent=2))


def main() -> None:
    """Print the figures; exit 1 where there is a violation, or nothing was tried."""
    from rich.console import Console
    from rich.table import Table

    rows = json.loads(FIGURES.read_text()) if FIGURES.exists() else []
    table = Table("campaign", "tried", "violations", title="Faults")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(row["name"], f"{row['tried']:,}", f"{row['violations']:,}")
    Console(width=100).print(table)
    sys.exit(not rows or any(row["violations"] for row in rows))


if __name__ == "__main__":
    main()
