"""The "restricted" Pod Security Standard, as far as a pod's spec can break it, and what this project asks beyond it.

Source: kubernetes.io, "Pod Security Standards". Which pods are looked at does not belong here.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

VOLUME_TYPES: Final = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)


def breaches(spec: Mapping[str, Any]) -> list[str]:
    """Every way in which a pod's spec is less than restricted."""
    found = [f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    pod = spec.get("securityContext", {})
    found += [f"volume {v['name']} is not of an allowed type" for v in spec.get("volumes", []) if not VOLUME_TYPES & set(v)]
    if pod.get("runAsNonRoot") is not True:
        found.append("the pod may run as root")
    if pod.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        found.append("the pod has no seccomp profile")
    if pod.get("runAsUser") in {0, "0"}:
        found.append("the pod runs as root")
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        found += [f"{container['name']}: {fault}" for fault in _container(container)]
    return found


def omissions(spec: Mapping[str, Any]) -> list[str]:
    """What restricted Pod Security does not ask and this project does: nothing written to the image, resources, bounded scratch space."""
    found = []
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        name, resources = container["name"], container.get("resources", {})
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            found.append(f"{name} can write to its image")
        if not {"cpu", "memory"} <= set(resources.get("requests", {})):
            found.append(f"{name} requests no CPU or no memory")
        if "memory" not in resources.get("limits", {}):
            found.append(f"{name} has no memory limit")
        if ":" not in container["image"] or container["image"].endswith(":latest"):
            found.append(f"{name} has no fixed image")
    found += [f"volume {v['name']} has no size" for v in spec.get("volumes", []) if "emptyDir" in v and not v["emptyDir"].get("sizeLimit")]
    if spec.get("enableServiceLinks") is not False:
        found.append("other services of the namespace are in its environment")
    return found


def _container(container: Mapping[str, Any]) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield "privileges can be escalated"
    if context.get("privileged"):
        yield "is privileged"
    if "ALL" not in context.get("capabilities", {}).get("drop", []):
        yield "keeps capabilities"
    if set(context.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "adds capabilities"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "takes a port of the host"
