"""Removes from an environment the files that no container of this platform loads, and says what each cut saves.

Run while the image is built. What is listed is data, tests and parts that nothing imports; `make e2e` runs everything from the trimmed
image. Whole packages do not belong here: the Dockerfile leaves those out of the list that it installs.
"""

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

CUTS: dict[str, tuple[str, ...]] = {
    "Arrow Flight (remote offline stores) and Arrow's headers": (
        "pyarrow/libarrow_flight*",
        "pyarrow/_flight*",
        "pyarrow/include",
        "pyarrow/src",
    ),
    "tests that packages carry": ("**/tests",),
    "Feast's own web UI": ("feast/ui",),
    "Dagster's source maps": ("dagster_webserver/webapp/build/**/*.map",),
    "the asynchronous Kubernetes client; Dagster uses the other": ("kubernetes/aio",),
}

KEPT_AWS_SERVICES = frozenset({"s3", "sts", "sso", "sso-oidc", "signin"})
"""What reading S3 with any kind of credentials asks of botocore's data."""


def trim(environment: Path) -> None:
    """Cut, and print one line for each cut and one for what is left."""
    (packages,) = environment.glob("lib/python3*/site-packages")
    for reason, patterns in CUTS.items():
        _remove(reason, [path for pattern in patterns for path in packages.glob(pattern)])
    services = [path for path in (packages / "botocore/data").iterdir() if path.is_dir() and path.name not in KEPT_AWS_SERVICES]
    _remove("botocore's data of other AWS services", services)
    print(f"{_mib([environment]):6.1f} MiB left")


def _remove(reason: str, paths: Iterable[Path]) -> None:
    found = [path for path in paths if path.exists()]
    if not found:
        # A cut that finds nothing has lost its reason, or its target moved and the image grew unseen.
        sys.exit(f"Nothing to cut for: {reason}. Correct the list in {Path(__file__).name}.")
    saved = _mib(found)
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    print(f"{saved:6.1f} MiB cut: {reason}")


def _mib(paths: Iterable[Path]) -> float:
    files = {file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file() and not file.is_symlink()}
    return sum(file.stat().st_size for file in files) / 2**20


if __name__ == "__main__":
    trim(Path(sys.argv[1]))
