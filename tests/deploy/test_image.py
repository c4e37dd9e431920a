"""The container image: its files say what they should, and what they copy is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = [ROOT / "deploy/docker/Dockerfile", ROOT / "deploy/e2e/images/Dockerfile"]
SCRIPTS = Path(sys.executable).parent
PLATFORM = DOCKERFILES[0]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    done = subprocess.run([SCRIPTS / "hadolint", "--failure-threshold", "style", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_servers_entrypoint_is_posix_shell() -> None:
    script = ROOT / "deploy/e2e/images/postgres-entrypoint.sh"
    done = subprocess.run([SCRIPTS / "shellcheck", "--shell=sh", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_what_is_copied_is_in_the_build_context() -> None:
    lines = [line for file in DOCKERFILES for line in re.findall(r"^COPY (?!--from)(.+) \S+$", file.read_text(), re.MULTILINE)]
    copied = {path for line in lines for path in line.split()}
    allowed = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed
    assert [path for path in copied if not (ROOT / path).exists()] == []


def test_the_image_is_made_by_the_uv_of_the_makefile() -> None:
    (version,) = re.findall(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {number for file in DOCKERFILES for number in re.findall(r"^ARG UV_VERSION=(\S+)$", file.read_text(), re.MULTILINE)} == {version}


def test_the_image_runs_as_the_user_that_the_chart_names() -> None:
    assert re.findall(r"^USER (\S+)$", PLATFORM.read_text(), re.MULTILINE) == ["10001:10001"]
    assert '{{- define "fp.uid" -}}10001{{- end -}}' in (ROOT / "deploy/helm/feature-platform/templates/_platform.tpl").read_text()


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment with one file of each cut, and files that must stay."""
    packages = tmp_path / "lib/python3.11/site-packages"
    for name in (
        "pyarrow/libarrow_flight.so.1",
        "pyarrow/libarrow.so.1",
        "pandas/tests/test_frame.py",
        "pandas/tests/io/tests/test_csv.py",
        "pandas/frame.py",
        "feast/ui/index.js",
        "dagster_webserver/webapp/build/main.js.map",
        "dagster_webserver/webapp/build/main.js",
        "kubernetes/aio/client.py",
        "botocore/data/ec2/service.json",
        "botocore/data/s3/service.json",
        "botocore/data/endpoints.json",
    ):
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text("x")
    return tmp_path


def trim(environment: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, ROOT / "deploy/docker/trim.py", environment], capture_output=True, text=True, check=False)


def test_trimming_keeps_what_runs(environment: Path) -> None:
    done = trim(environment)
    assert done.returncode == 0, done.stderr
    assert sorted(
        str(file.relative_to(environment / "lib/python3.11/site-packages")) for file in environment.rglob("*") if file.is_file()
    ) == [
        "botocore/data/endpoints.json",
        "botocore/data/s3/service.json",
        "dagster_webserver/webapp/build/main.js",
        "pandas/frame.py",
        "pyarrow/libarrow.so.1",
    ]


def test_a_cut_that_finds_nothing_fails_the_build(environment: Path) -> None:
    next(environment.rglob("libarrow_flight.so.1")).unlink()
    done = trim(environment)
    assert done.returncode != 0
    assert "Nothing to cut for: Arrow Flight" in done.stderr
