"""A Feast store of one environment, and the changes of its registry: apply contracts, decommission.

Declaring objects does not belong here (``objects``), nor reading values (``reading``). Feast is imported inside functions, because that
takes seconds.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import typeguard

from feature_platform.adapters.feast.objects import FeastObjects, feast_objects
from feature_platform.core.contract.feature_set import Contract
from feature_platform.errors import ContractError

REGISTRY_STORE: Final = "feature_platform.feast_plugins.registry_store.ConditionalRegistryStore"
ONLINE_STORE: Final = "feature_platform.feast_plugins.online_store.BoundedRedisOnlineStore"
OFFLINE_STORE: Final = "feature_platform.feast_plugins.offline_store.ArrowOfflineStore"
COMPUTE_ENGINE: Final = "feature_platform.feast_plugins.compute_engine.PublishedVersionEngine"
REGISTRY_CACHE_TTL_S: Final = 60
WRITE_BATCH_ROWS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Environment:
    """The addresses that one environment's Feast is configured with.

    ``registry_uri`` is the registry object itself, ``redis`` Feast's connection string, ``s3_endpoint`` None for AWS.
    """

    project: str
    registry_uri: str
    feature_base: str
    redis: str
    s3_endpoint: str | None


def repo_config(environment: Environment) -> dict[str, Any]:
    """The content of ``feast_repo/feature_store.yaml`` for an environment, as ``feast.RepoConfig`` takes it; a test compares the two."""
    return {
        "project": environment.project,
        "provider": "local",
        "entity_key_serialization_version": 3,
        "registry": {
            "registry_type": "file",
            "registry_store_type": REGISTRY_STORE,
            "path": environment.registry_uri,
            "cache_ttl_seconds": REGISTRY_CACHE_TTL_S,
            "serve_features_while_materializing": True,
        },
        "online_store": {
            "type": ONLINE_STORE,
            "connection_string": environment.redis,
            "skip_dedup": True,
            "full_scan_for_deletion": False,
        },
        "offline_store": {"type": OFFLINE_STORE},
        "batch_engine": {"type": COMPUTE_ENGINE},
        "materialization": {"pull_latest_features": True, "online_write_batch_size": WRITE_BATCH_ROWS},
    }


def open_store(environment: Environment) -> Any:
    """The environment's ``feast.FeatureStore``, configured as ``feature_store.yaml`` configures it for use by hand.

    Opens no connection and reads no file; the registry is read at the first use.
    """
    with without_instrumentation():
        from feast import FeatureStore, RepoConfig

    # Feast warns that serving while materializing has no effect on a file registry; measured, it has one (tests/feast_repo).
    logging.getLogger("feast.repo_config").setLevel(logging.ERROR)
    return FeatureStore(config=RepoConfig(**repo_config(environment)))


@contextmanager
def without_instrumentation() -> Iterator[None]:
    """Within the block, classes that are decorated for run-time type checks are not compiled again for them.

    Typeguard's ``typechecked`` does that to each decorated class of Feast; measured, it takes more than half of Feast's import time. Only
    ``objects`` constructs Feast's objects, and mypy and tests check its types.
    """
    original = typeguard.typechecked
    typeguard.typechecked = _as_it_is  # type: ignore[assignment]
    try:
        yield
    finally:
        typeguard.typechecked = original


def _as_it_is(target: Any = None, **_: Any) -> Any | Callable[[Any], Any]:
    """A decorator that changes nothing; called with options, it returns itself."""
    return _as_it_is if target is None else target


def apply_contracts(store: Any, contracts: Iterable[Contract], *, environment: Environment) -> FeastObjects:
    """Apply contracts to the registry, and return the applied objects.

    Only these contracts' objects are touched: a checkout that lacks a feature set never removes it. Applying the same contracts again
    writes nothing.

    Raises:
        ContractError: Feature sets share an entity but not its join key: these, or one of these and one that the registry knows.
        StorageError, ConflictError, ConfigurationError: The registry could not be read or written; it is as it was.
    """
    objects = feast_objects(contracts, feature_base=environment.feature_base, s3_endpoint=environment.s3_endpoint)
    _require_known_join_keys(store, objects)
    store.apply(objects.all, partial=True)
    return objects


def _require_known_join_keys(store: Any, objects: FeastObjects) -> None:
    """Refuse to change the join key of an entity under a feature set that is not applied together with it."""
    known = {entity.name: entity for entity in store.registry.list_entities(store.project)}
    applied = {view.name for view in objects.views}
    others = [view for view in store.registry.list_feature_views(store.project, allow_cache=True) if view.name not in applied]
    faults = []
    for entity in objects.entities:
        before = known.get(entity.name, entity)
        users = sorted(view.name for view in others if entity.name in view.entities)
        if users and (before.join_key, before.value_type) != (entity.join_key, entity.value_type):
            faults.append(
                f"entity {entity.name!r}: found join key {entity.join_key!r} ({entity.value_type.name}), expected {before.join_key!r} "
                f"({before.value_type.name}) as {', '.join(users)} has it; name another entity, or apply all of them together"
            )
    if faults:
        raise ContractError(f"Contracts disagree with what the registry of {store.project} knows:", faults)


def registered(store: Any, feature_set: str) -> tuple[str, ...]:
    """See :meth:`FeatureRegistry.registered`; not its entity, which other feature sets may share."""
    registry, project = store.registry, store.project
    found = []
    if feature_set in {service.name for service in registry.list_feature_services(project)}:
        found.append(f"feature_service/{feature_set}")
    if feature_set in {view.name for view in registry.list_feature_views(project)}:
        found.append(f"feature_view/{feature_set}")
    if f"{feature_set}_latest" in {source.name for source in registry.list_data_sources(project)}:
        found.append(f"data_source/{feature_set}_latest")
    return tuple(found)


def decommission(store: Any, feature_set: str) -> tuple[str, ...]:
    """See :meth:`FeatureRegistry.remove`."""
    registry, project = store.registry, store.project
    removed = registered(store, feature_set)
    for kind, _, name in (item.partition("/") for item in removed):
        if kind == "feature_service":
            registry.delete_feature_service(name, project)
        elif kind == "feature_view":
            store.provider.online_store.delete_table(store.config, registry.get_feature_view(name, project))
            registry.delete_feature_view(name, project)
        else:
            registry.delete_data_source(name, project)
    return removed
