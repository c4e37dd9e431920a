"""The page that teaches feature sets by example: its commands, run as they stand, give the answers that it shows."""

import json
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "features.md").read_text(encoding="utf-8")
UP = re.compile(r'^eval "\$\(feature-platform up --contracts (\S+) --start-date (\S+)\)"$', re.MULTILINE)
"""What starts servers of one's own; here the suite's are running, so its two options are all that is left of it."""


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_five_minutes_give_what_the_page_says(module_env: dict[str, str], tmp_path: Path) -> None:
    script = "\n".join(blocks("bash"))
    assert len(UP.findall(script)) == 1
    script = UP.sub(r'export FEATURE_PLATFORM_CONTRACTS_DIR="$PWD/\1" FEATURE_PLATFORM_START_DATE=\2', script)
    # The commands of the environment that runs this test; each answer of a reading command on a line of its own.
    told = script.replace(" --json", " --json | tee -a answers")
    environment = {
        **module_env,
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "DAGSTER_HOME": str(tmp_path),
    }
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", told],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "additive" in done.stdout
    decoder, rest, answers = json.JSONDecoder(), (tmp_path / "answers").read_text(), []
    while rest.strip():
        answer, end = decoder.raw_decode(rest.strip())
        answers.append([{name: value for name, value in row.items() if not name.endswith("event_timestamp")} for row in answer])
        rest = rest.strip()[end:]
    assert answers == [json.loads(block) for block in blocks("json")]
