"""A Feast store of one environment, and what may be done to its registry: apply contracts, materialize, decommission.

The declared objects are built in ``feast_objects``; reading values back belongs in ``feast_online``. Feast is imported inside the
functions: it takes seconds.
"""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from feature_platform.adapters.feast.objects import FeastObjects, feast_objects
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.layout import registry_uri
from feature_platform.errors import ContractError, NotFoundError
from feature_platform.settings import Settings, s3_endpoint_url

REGISTRY_STORE: Final = "feature_platform.feast_plugins.registry_store.ConditionalRegistryStore"
ONLINE_STORE: Final = "feature_platform.feast_plugins.online_store.BoundedRedisOnlineStore"
OFFLINE_STORE: Final = "feature_platform.feast_plugins.offline_store.ArrowOfflineStore"
COMPUTE_ENGINE: Final = "feature_platform.feast_plugins.compute_engine.PublishedVersionEngine"
REGISTRY_CACHE_TTL_S: Final = 60
WRITE_BATCH_ROWS: Final = 10_000


def repo_config(settings: Settings) -> dict[str, Any]:
    """What ``feast_repo/feature_store.yaml`` says for these settings, as ``feast.RepoConfig`` takes it; a test holds both equal."""
    return {
        "project": settings.feast_project,
        "provider": "local",
        "entity_key_serialization_version": 3,
        "registry": {
            "registry_type": "file",
            "registry_store_type": REGISTRY_STORE,
            "path": registry_uri(settings.registry_uri, settings.env),
            "cache_ttl_seconds": REGISTRY_CACHE_TTL_S,
            "serve_features_while_materializing": True,
        },
        "online_store": {
            "type": ONLINE_STORE,
            "connection_string": settings.redis,
            "skip_dedup": True,
            "full_scan_for_deletion": False,
        },
        "offline_store": {"type": OFFLINE_STORE},
        "batch_engine": {"type": COMPUTE_ENGINE},
        "materialization": {"pull_latest_features": True, "online_write_batch_size": WRITE_BATCH_ROWS},
    }


def open_store(settings: Settings) -> Any:
    """The environment's ``feast.FeatureStore``, configured as ``feature_store.yaml`` configures it for use by hand.

    Opens no connection and reads no file; the registry is read at the first use.
    """
    from feast import FeatureStore, RepoConfig

    # It says that serving while materializing has no effect on a file registry; measured, it has (tests/feast_repo).
    logging.getLogger("feast.repo_config").setLevel(logging.ERROR)
    return FeatureStore(config=RepoConfig(**repo_config(settings)))


def declared_objects(settings: Settings, contracts: Iterable[Contract]) -> FeastObjects:
    """What contracts declare to Feast in this environment.

    Raises:
        ContractError: Feature sets share an entity but not its join key.
    """
    return feast_objects(contracts, feature_base=settings.feature_base, s3_endpoint=s3_endpoint_url())


def apply_contracts(store: Any, contracts: Iterable[Contract], *, settings: Settings) -> FeastObjects:
    """Make the registry say what the contracts say, and return the applied objects.

    Only these contracts' objects are touched: a checkout that lacks a feature set never removes it. Applying the same contracts again
    writes nothing.

    Raises:
        ContractError: Feature sets share an entity but not its join key: these, or one of these and one that the registry knows.
        StorageError, ConflictError, ConfigurationError: The registry could not be read or written; it is as it was.
    """
    objects = declared_objects(settings, contracts)
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


def decommission(store: Any, contract: Contract) -> tuple[str, ...]:
    """Remove one feature set from the registry on purpose, with its online values; its files stay.

    Entities stay: other feature sets may share them.

    Returns:
        Names of the removed objects, ``kind/name`` each; empty where there was nothing.

    Raises:
        StorageError: The registry or the online store could not be reached; run it again.
    """
    removed = []
    registry, project, name = store.registry, store.project, contract.feature_set
    views = {view.name: view for view in registry.list_feature_views(project)}
    if name in {service.name for service in registry.list_feature_services(project)}:
        registry.delete_feature_service(name, project)
        removed.append(f"feature_service/{name}")
    if name in views:
        store.provider.online_store.delete_table(store.config, views[name])
        registry.delete_feature_view(name, project)
        removed.append(f"feature_view/{name}")
    source = f"{name}_latest"
    if source in {item.name for item in registry.list_data_sources(project)}:
        registry.delete_data_source(source, project)
        removed.append(f"data_source/{source}")
    return tuple(removed)


def materialize(store: Any, contract: Contract, *, as_of: datetime) -> None:
    """Make the published version of a feature set what is online, by way of Feast, and record the interval in the registry.

    Args:
        store: The store of :func:`open_store`, with the contract applied.
        contract: The feature set.
        as_of: The moment that the published version is true as of, UTC.

    Raises:
        NotFoundError: The feature set is not in the registry, has no published version, or only one of a later moment.
        InvalidDataError: The version must not be served; nothing was written.
        ConflictError: A newer publication is online, or another load is running.
        StorageError: The registry, S3 or Redis failed; run it again.
    """
    from feast.errors import FeatureViewNotFoundException

    moment = as_of.astimezone(UTC)
    try:
        store.materialize(moment - max(contract.ttl_duration, timedelta(days=1)), moment, feature_views=[contract.feature_set])
    except FeatureViewNotFoundException as error:
        raise NotFoundError(
            f"Feature set {contract.feature_set!r} is not in the registry of {store.project}; apply its contract first."
        ) from error
