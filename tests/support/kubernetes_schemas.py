"""Kubernetes' own JSON schemas, strict, from the files that ``kubernetes-validate`` carries. What must be valid does not belong here.

The package's own ``validate`` reads two megabytes of definitions for each object; here they are read once for each minor.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012


def schema_faults(item: Mapping[str, Any], *, minor: str) -> list[str]:
    """Where an object is not what a minor of Kubernetes knows, one sentence each; unknown fields are faults."""
    # rbac.authorization.k8s.io/v1 → rbac-v1, apps/v1 → apps-v1
    version = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", item["apiVersion"])
    validator = _validator(f"{item['kind'].lower()}-{version}.json", minor)
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(item)]


@cache
def _validator(file: str, minor: str) -> Draft202012Validator:
    return Draft202012Validator(_read(file, minor), registry=_definitions(minor))


@cache
def _definitions(minor: str) -> Registry[Any]:
    resource = Resource.from_contents(_read("_definitions.json", minor), default_specification=DRAFT202012)
    # Crawled once here; an uncrawled registry is crawled at every reference.
    return Registry[Any]().with_resource("_definitions.json", resource).crawl()


def _read(file: str, minor: str) -> Any:
    directory = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{minor}.0-local-strict"
    return json.loads((directory / file).read_text(encoding="utf-8"))
