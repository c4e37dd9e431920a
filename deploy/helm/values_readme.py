"""Writes the chart's README from the comments of its values.yaml: `python deploy/helm/values_readme.py` (or `make values-readme`).

A comment `# -- …` above a key is the key's description; any other comment above a key introduces the section that it opens. What a value
means does not belong here, it is said in values.yaml alone.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = Path(__file__).resolve().parent / "feature-platform"
HEAD: Final = """\
# feature-platform

The feature platform in one namespace: Dagster (webserver, daemon, code location, a pod for each run), the online store, the feature server,
and the jobs that apply contracts and prove what is served. How it is used: [docs/deploy/values.md](../../../docs/deploy/values.md) and the
pages beside it.

Written from `values.yaml` by `make values-readme`; a test holds it fresh.
"""


@dataclass
class Entry:
    """One commented key: its dotted path, what its comment says, its default; `note` for a section instead of a description."""

    path: str
    text: str
    note: bool
    default: Any = field(default=None)


def entries(text: str) -> Iterator[Entry]:
    """Every commented key of a values.yaml, in its order."""
    values = yaml.safe_load(text)
    parents: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment.append(stripped.removeprefix("#").removeprefix(" "))
        elif match := re.match(r"( *)([A-Za-z0-9_]+):", line):
            depth = len(match[1])
            parents = [(indent, name) for indent, name in parents if indent < depth] + [(depth, match[2])]
            path = ".".join(name for _, name in parents)
            if comment:
                described = comment[0].startswith("-- ")
                yield Entry(path, " ".join(comment).removeprefix("-- "), note=not described, default=at(values, path))
            comment = []
        else:
            comment = []


def at(values: Any, path: str) -> Any:
    """The value at a dotted path."""
    for name in path.split("."):
        values = values[name]
    return values


def readme(text: str) -> str:
    """The whole README."""
    lines = [HEAD]
    is_open = False
    for entry in entries(text):
        section = entry.path.split(".")[0]
        if entry.note or ("." not in entry.path and isinstance(entry.default, dict) and entry.default):
            lines += ["", f"## {section}", "", entry.text]
            is_open = False
        elif lines[-1] == HEAD or ("." in entry.path and f"## {section}" not in lines):
            lines += ["", f"## {section if '.' in entry.path else 'General'}"]
            is_open = False
        if entry.note:
            continue
        if not is_open:
            lines += ["", "| value | default | meaning |", "|---|---|---|"]
            is_open = True
        cells = (f"`{entry.path}`", f"`{json.dumps(entry.default, ensure_ascii=False)}`", entry.text)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


if __name__ == "__main__":
    (CHART / "README.md").write_text(readme((CHART / "values.yaml").read_text(encoding="utf-8")), encoding="utf-8")
