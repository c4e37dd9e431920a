"""The Helm chart rendered by Helm's own library, as objects that tests can ask questions of. Expectations do not belong here."""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import helm_python
import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = ROOT / "deploy" / "helm" / "feature-platform"
ENVIRONMENTS: Final = {name: ROOT / "deploy" / "envs" / name / "values.yaml" for name in ("local", "dev", "prod")}
MATRIX: Final = {
    **ENVIRONMENTS,
    **{path.stem: path for path in sorted((ROOT / "tests" / "deploy" / "values").glob("*.yaml"))},
}
"""Every values file that the chart is rendered with: those that are deployed, and those that turn on what these leave off."""

RELEASE: Final = "fp"
NAMESPACE: Final = "features"
WORKLOADS: Final = frozenset({"Deployment", "StatefulSet", "Job"})

Object = dict[str, Any]


@dataclass(frozen=True)
class Release:
    """What one values file renders to."""

    texts: Mapping[str, str]

    @cached_property
    def objects(self) -> list[Object]:
        """Every object, hooks included."""
        return [item for path, text in self.texts.items() if not path.endswith(".txt") for item in _documents(text)]

    def find(self, kind: str, name: str) -> Object:
        """One object, by its name without the release's prefix."""
        found = [item for item in self.objects if item["kind"] == kind and item["metadata"]["name"] == f"{RELEASE}-feature-platform-{name}"]
        assert len(found) == 1, f"expected one {kind} {name}, found {[key(item) for item in self.objects if item['kind'] == kind]}"
        return found[0]

    def has(self, kind: str, name: str) -> bool:
        """Whether there is such an object."""
        return (kind, f"{RELEASE}-feature-platform-{name}") in map(key, self.objects)

    @property
    def pods(self) -> Iterator[tuple[str, Object]]:
        """The pod template of every workload, by component."""
        for item in self.objects:
            if item["kind"] in WORKLOADS:
                template = item["spec"]["template"]
                yield template["metadata"]["labels"]["app.kubernetes.io/component"], template

    def pod(self, component: str) -> Object:
        """The pod template of one component."""
        return dict(self.pods)[component]

    @cached_property
    def instance(self) -> Object:
        """The parsed ``dagster.yaml``."""
        settings: Object = yaml.safe_load(self.find("ConfigMap", "instance")["data"]["dagster.yaml"])
        return settings


def key(item: Object) -> tuple[str, str]:
    """What tells an object from the others of its namespace."""
    return item["kind"], item["metadata"]["name"]


def hooks(item: Object) -> set[str]:
    """The moments at which Helm makes an object; empty for what belongs to the release."""
    return set(filter(None, item["metadata"].get("annotations", {}).get("helm.sh/hook", "").split(",")))


def is_kept(item: Object) -> bool:
    """Whether the object stays while the release is installed: what is not a hook."""
    return not hooks(item)


def render(name: str, overrides: Mapping[str, Any] | None = None) -> Release:
    """The release of a values file of the matrix.

    Args:
        name: A key of :data:`MATRIX`.
        overrides: Values by dotted path, over those of the file; None removes one, as in Helm.
    """
    return _rendered(name, json.dumps(overrides or {}))


@cache
def values_of(name: str) -> Object:
    """The content of a values file, one object for all who ask."""
    values: Object = yaml.load(MATRIX[name].read_text(encoding="utf-8"), Loader=yaml.CSafeLoader) or {}
    return values


@cache
def defaults() -> Object:
    """The chart's own ``values.yaml``."""
    values: Object = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return values


@cache
def _rendered(name: str, overrides: str) -> Release:
    values = deepcopy(values_of(name))
    for path, value in json.loads(overrides).items():
        *parents, last = path.split(".")
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return Release(_chart().render(values, name=RELEASE, namespace=NAMESPACE))


@cache
def _chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


def _documents(text: str) -> Iterator[Object]:
    # The C loader reads a release in 20 ms, the other one in 300.
    yield from (item for item in yaml.load_all(text, Loader=yaml.CSafeLoader) if item)
