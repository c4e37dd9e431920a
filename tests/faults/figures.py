"""Figures of the fault campaigns, added up over tests and worker processes into ``build/figures/faults.json``."""

import fcntl
import json
import os
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
