"""Feast stores whose registry lies in memory, and small views to put in them."""

import json
from typing import Any

from feature_platform.adapters.feast.objects import feast_objects
from feature_platform.adapters.feast.repository import ONLINE_STORE, REGISTRY_STORE, without_instrumentation
from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.ports.object_store import ObjectStore

with without_instrumentation():  # most tests import Feast here first, and as quickly as the platform does
    from feature_platform.feast_plugins.registry_store import ConditionalRegistryStore

URI = "s3://bucket/feast/local/registry.pb"
STORES: dict[str, ObjectStore] = {}
"""Registry path → the object store that it lies in; Feast hands a registry store nothing but its configuration."""


class MemoryRegistryStore(ConditionalRegistryStore):
    """The registry store under test, on the object store that the test registered for its path."""

    def __init__(self, registry_config: Any, repo_path: Any) -> None:
        super().__init__(registry_config, repo_path, objects=STORES[registry_config.path])


def open_registry(objects: ObjectStore, *, online_store: dict[str, Any] | None = None) -> Any:
    """A Feast store on a registry in memory, as a process of its own would open it."""
    STORES[URI] = objects
    return _open(URI, f"{__name__}.MemoryRegistryStore", online_store or {"type": ONLINE_STORE})


def open_s3_registry(uri: str) -> Any:
    """A Feast store on a registry on S3."""
    return _open(uri, REGISTRY_STORE, {"type": ONLINE_STORE})


def _open(uri: str, store_class: str, online_store: dict[str, Any]) -> Any:
    from feast import FeatureStore, RepoConfig

    return FeatureStore(
        config=RepoConfig(
            project="feature_store_local",
            provider="local",
            entity_key_serialization_version=3,
            registry={"registry_type": "file", "path": uri, "registry_store_type": store_class},
            online_store=online_store,
        )
    )


def contract(name: str, *, features: tuple[str, ...] = ("f_count",), ttl: str = "7d") -> Contract:
    """A small contract of a feature set of users."""
    columns = [{"name": "user_id", "type": "int64"}, *({"name": feature, "type": "int64"} for feature in features)]
    document = {"feature_set": name, "version": "v1", "primary_keys": ["user_id"], "columns": columns, "ttl": ttl}
    return load_contract(json.dumps(document), file=f"{name}.schema.json", sql="SELECT 1")


def apply(store: Any, *contracts: Contract) -> None:
    """Apply contracts as a run does: explicit objects, partial."""
    store.apply(feast_objects(contracts, feature_base="s3://bucket/features").all, partial=True)


def view_names(store: Any) -> set[str]:
    """The views that a fresh reader finds."""
    return {view.name for view in store.registry.list_feature_views(store.project, allow_cache=False)}
