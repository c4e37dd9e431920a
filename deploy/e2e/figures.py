"""Figures of one end-to-end run, kept in ``build/figures/e2e.json`` as they come. What they are held against does not belong here."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from deploy.e2e.release import ROOT

FILE = ROOT / "build/figures/e2e.json"


class Figures:
    """Name → figure, written whenever one is added, so that a run that fails leaves those it had."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {"started": datetime.now(UTC).isoformat(timespec="seconds")}

    def add(self, name: str, value: Any) -> None:
        """Keep a figure."""
        self.found[name] = value
        FILE.parent.mkdir(parents=True, exist_ok=True)
        FILE.write_text(json.dumps(self.found, indent=1, ensure_ascii=False) + "\n")
        print(f"{name}: {json.dumps(value, ensure_ascii=False)}", flush=True)

    @contextmanager
    def seconds(self, name: str) -> Iterator[None]:
        """Keep how long a block took."""
        started = time.monotonic()
        yield
        self.add(name, round(time.monotonic() - started, 1))
