"""The first Dagster commands on a home where nothing ran yet, several at once: what each would create was created once before.

``FAULTS=full`` (``make faults``) starts eight at once; otherwise three, because each costs eight seconds of a processor.
"""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

IS_FULL = os.environ.get("FAULTS") == "full"
AT_ONCE = 8 if IS_FULL else 3
DAGSTER = Path(sys.executable).with_name("dagster")
ONE_ASSET = """
import dagster as dg

@dg.asset
def touched() -> int:
    return 1

defs = dg.Definitions(assets=[touched], executor=dg.in_process_executor)
"""
PREPARE = """
import sys
from pathlib import Path
from feature_platform.cli.environment import prepare_instance

prepare_instance(Path(sys.argv[1]))
"""


def side_by_side(commands: Sequence[Sequence[str | Path]], *, cwd: Path, **environment: str) -> list[str]:
    """Run commands at once; what those that failed said."""
    running = [
        subprocess.Popen(command, cwd=cwd, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command in commands
    ]
    told = [(process.communicate()[0], process.returncode) for process in running]
    return [output for output, code in told if code]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_first_commands_at_once_leave_the_instance_whole(tmp_path: Path) -> None:
    """Two prepare the home (`up` and `dev`), then commands materialize an asset of their own, which starts faster than ours."""
    (tmp_path / "one_asset.py").write_text(ONE_ASSET)
    assert side_by_side([[sys.executable, "-c", PREPARE, tmp_path]] * 2, cwd=tmp_path) == []
    home = tmp_path / "dagster"
    assert sorted(path.name for path in home.rglob("*.db")) == ["index.db", "runs.db", "schedules.db"]
    materialize = [DAGSTER, "asset", "materialize", "--select", "touched", "-f", "one_asset.py"]
    assert side_by_side([materialize] * AT_ONCE, cwd=tmp_path, DAGSTER_HOME=str(home)) == []
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS] * AT_ONCE
    for database in home.rglob("*.db"):
        with closing(sqlite3.connect(database)) as connection:
            assert len(connection.execute("SELECT version_num FROM alembic_version").fetchall()) == 1
