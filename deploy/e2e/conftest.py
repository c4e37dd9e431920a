"""The whole platform on a real cluster, in the order of its life: install, change, break, scale, recover, uninstall.

Run by ``make e2e`` with any ``KUBECONFIG``, ``kubectl`` and ``helm`` on the ``PATH``. The tests share one release and build on one another,
so they run in order and the first failure ends them. Variables:

- ``E2E_NAMESPACE``: made anew and removed; ``feature-platform-e2e`` where unset.
- ``E2E_IMAGE``: the platform's image as the nodes know it; ``feature-platform:<version>`` where unset.
- ``E2E_LOAD_COMMAND``: brings image archives to the nodes, e.g. ``kind load image-archive``; called once for ``build/images/*.tar``.
- ``E2E_VALUES``: further values files, separated by colons, e.g. for images of a mirror.
"""

import os
import shlex
import shutil
import tomllib
from typing import Any

import pytest

from deploy.e2e.cluster import Cluster, CommandError, diagnosis, run
from deploy.e2e.dagster_api import Dagster
from deploy.e2e.figures import Figures
from deploy.e2e.release import ROOT, Release


def _version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that the environment names, with the images on its nodes."""
    missing = [tool for tool in ("kubectl", "helm") if shutil.which(tool) is None]
    if not os.environ.get("KUBECONFIG") or missing:
        pytest.skip(f"NO CLUSTER, NOTHING WAS TESTED: set KUBECONFIG; not on the PATH: {', '.join(missing) or 'nothing'}")
    try:
        run(["kubectl", "get", "nodes"], timeout_s=30)
    except CommandError as error:
        pytest.skip(f"NO CLUSTER, NOTHING WAS TESTED: {os.environ['KUBECONFIG']} answers not: {error}")
    if os.environ.get("E2E_LOAD_COMMAND"):
        archives = sorted(str(file) for file in (ROOT / "build/images").glob("*.tar"))
        assert archives, "E2E_LOAD_COMMAND is set and build/images holds no archive; run `make e2e-images` first"
        run([*shlex.split(os.environ["E2E_LOAD_COMMAND"]), *archives])
    return Cluster(os.environ.get("E2E_NAMESPACE", "feature-platform-e2e"))


@pytest.fixture(scope="session")
def release(cluster: Cluster) -> Release:
    """The release under test; its namespace stays when a test failed, for whoever looks."""
    return Release(cluster, image=os.environ.get("E2E_IMAGE", f"feature-platform:{_version()}"))


@pytest.fixture(scope="session")
def dagster(release: Release) -> Dagster:
    """The release's Dagster."""
    return Dagster(release)


@pytest.fixture(scope="session")
def figures() -> Figures:
    """Where figures go."""
    return Figures()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Leave what one would look at first beside the figures when a test fails."""
    report = yield
    release = item.funcargs.get("release") if isinstance(item, pytest.Function) else None
    if report.when == "call" and report.failed and isinstance(release, Release):
        file = ROOT / "build/figures/e2e-failure.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n\n".join(diagnosis(release.cluster)))
        report.sections.append(("cluster", f"see {file.relative_to(ROOT)}"))
    return report
