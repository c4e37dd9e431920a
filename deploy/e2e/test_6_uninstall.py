"""What is left when the release is gone."""

from deploy.e2e.cluster import run, wait_for
from deploy.e2e.figures import Figures
from deploy.e2e.release import NAME, Release

KEPT = {f"persistentvolumeclaim/data-{NAME}-{component}-0" for component in ("postgresql", "redis", "s3")}
"""Those that docs/deploy.md names."""
OURS = {"secret/feature-platform-postgresql", "secret/feature-platform-redis", "secret/feature-platform-s3"}
CLUSTERS = {"serviceaccount/default", "configmap/kube-root-ca.crt"}
"""What Kubernetes keeps in every namespace."""


def test_uninstalling_leaves_the_volumes_and_nothing_else(release: Release, figures: Figures) -> None:
    release.cluster.kubectl("delete", "pod/workbench", "pod/client", "--wait=true")
    with figures.seconds("helm_uninstall_s"):
        release.cluster.helm("uninstall", NAME, "--wait", "--timeout=5m")
    wait_for("an empty namespace", lambda: left(release) == KEPT | OURS | CLUSTERS or None, timeout_s=120)
    run(["kubectl", "delete", "namespace", release.cluster.namespace, "--wait=true", "--timeout=300s"])
    figures.add("passed", True)


def left(release: Release) -> set[str]:
    """Every object of the namespace by kind and name, apart from events and endpoints that controllers write."""
    kinds = release.cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name").split()
    chosen = [kind for kind in kinds if kind.split(".")[0] not in {"events", "endpoints", "endpointslices"}]
    names = release.cluster.kubectl("get", ",".join(chosen), "--output=name", "--ignore-not-found").split()
    return {name.split("/")[0].split(".")[0] + "/" + name.split("/", 1)[1] for name in names}
