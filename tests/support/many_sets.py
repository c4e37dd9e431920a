"""Hundreds of feature sets over dozens of sources, copies of the shipped ones under other names. Expectations do not belong here."""

import json
import shutil
from pathlib import Path

from feature_platform.local.services import SHIPPED_CONTRACTS


def many_sets(directory: Path, *, sources: int, sets_per_source: int) -> Path:
    """Contracts ``set_<source>_<number>`` over sources ``events_<source>``, each with a window of its own, of two to seven days."""
    contracts = directory / "contracts"
    contracts.mkdir(parents=True)
    shutil.copy(SHIPPED_CONTRACTS / "metadata.json.j2", contracts)
    source = json.loads((SHIPPED_CONTRACTS / "events.source.json").read_text())
    contract = json.loads((SHIPPED_CONTRACTS / "user_features.schema.json").read_text())
    for place in range(sources):
        name = f"events_{place:02}"
        (contracts / f"{name}.source.json").write_text(json.dumps({**source, "source": name}))
        for number in range(sets_per_source):
            columns = [_within(column, days=number % 6 + 2) for column in contract["columns"]]
            document = {**contract, "feature_set": f"set_{place:02}_{number:02}", "source": name, "columns": columns}
            (contracts / f"{document['feature_set']}.schema.json").write_text(json.dumps(document))
    return contracts


def _within(column: dict[str, object], *, days: int) -> dict[str, object]:
    aggregation = column.get("aggregation")
    return {**column, "aggregation": {**aggregation, "window": f"{days}d"}} if isinstance(aggregation, dict) else column
