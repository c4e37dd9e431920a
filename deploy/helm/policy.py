"""`make policy`: checkov over every environment that the chart renders, run pods included; only the exceptions below may be found.

An exception names the check, the components it is for, and why. One that is no longer needed is an error, too. What checkov checks does not
belong here.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.chart import MATRIX, NAMESPACE, RELEASE, render
from tests.support.launched_run import launched_job

EVERY: Final = frozenset({"*"})


@dataclass(frozen=True)
class Accepted:
    """Why a check does not apply to some components."""

    components: frozenset[str]
    reason: str
    but_not: str = ""
    """A values file in which it does apply."""


EXCEPTIONS: Final = {
    "CKV_K8S_11": Accepted(
        EVERY,
        "A CPU limit throttles a pod beside idle cores, readers' latencies first of all. Requests share CPU fairly; memory is limited.",
    ),
    "CKV_K8S_15": Accepted(
        EVERY,
        "Images have fixed tags, in prod digests: asking the registry at every start would make it a part of serving. By value otherwise.",
    ),
    "CKV_K8S_35": Accepted(
        EVERY,
        "The AWS SDKs, Dagster's storage and Feast read their credentials from variables; the Redis string is put together by Kubernetes.",
    ),
    "CKV_K8S_38": Accepted(
        frozenset({"daemon", "webserver", "cleanup"}), "They start, end and remove runs, which are Jobs. No other pod has a token."
    ),
    "CKV_K8S_40": Accepted(frozenset({"postgresql"}), "The user of the official image; by value otherwise."),
    "CKV_K8S_43": Accepted(EVERY, "Tags are for laptops and dev; prod refuses them.", but_not="prod"),
    "CKV_K8S_9": Accepted(frozenset({"daemon"}), "Nobody connects to it. Its liveness is its heartbeat in the storage."),
}


def write_objects(directory: Path) -> None:
    """One file for each values file: every object of the release, and the Job of a run."""
    for name in MATRIX:
        release = render(name)
        objects = list(release.objects)
        if release.has("Deployment", "daemon"):
            with tempfile.TemporaryDirectory() as home:
                image = release.instance["run_launcher"]["config"]["job_image"]
                job = launched_job(release, Path(home), image=image)
            objects.append({**job, "metadata": {**job["metadata"], "name": f"{RELEASE}-feature-platform-run"}})
        named = [{**item, "metadata": {"namespace": NAMESPACE, **item["metadata"]}} for item in objects]
        (directory / f"{name}.yaml").write_text(yaml.safe_dump_all(named), encoding="utf-8")


def findings(checkov: list[str], directory: Path) -> list[dict[str, Any]]:
    """What checkov finds below a directory."""
    command = [
        *checkov,
        "--quiet",
        "--compact",
        "--framework",
        "kubernetes",
        "--output",
        "json",
        "--soft-fail",
        "--directory",
        str(directory),
    ]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"checkov {report['summary']['checkov_version']}: {report['summary']['passed']} passed, {report['summary']['failed']} failed")
    found: list[dict[str, Any]] = report["results"]["failed_checks"]
    return found


def is_excepted(finding: dict[str, Any]) -> bool:
    """Whether an exception covers a finding."""
    exception = EXCEPTIONS.get(finding["check_id"])
    component = finding["resource"].rpartition(f".{RELEASE}-feature-platform-")[2]
    values_file = Path(finding["file_path"]).stem
    return exception is not None and values_file != exception.but_not and not exception.components.isdisjoint({component, "*"})


def main() -> None:
    """Exit 1 with every finding that no exception covers, and every exception that covers nothing."""
    with tempfile.TemporaryDirectory() as directory:
        write_objects(Path(directory))
        found = findings(sys.argv[1:], Path(directory))
    faults = [f"{f['check_id']} {f['file_path']} {f['resource']}: {f['check_name']}" for f in found if not is_excepted(f)]
    faults += [f"{check}: the exception is not needed any more" for check in EXCEPTIONS.keys() - {f["check_id"] for f in found}]
    print("\n".join(faults) or f"Nothing beside the {len(EXCEPTIONS)} exceptions.")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
