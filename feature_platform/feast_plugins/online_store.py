"""Feast's Redis online store with bounded waiting."""

from typing import Final, Literal

from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig

CLASS_PATH: Final = "feature_platform.feast_plugins.online_store.BoundedRedisOnlineStore"


class BoundedRedisOnlineStoreConfig(RedisOnlineStoreConfig):  # type: ignore[misc]  # Feast ships no types
    """The ``online_store`` section of ``feature_store.yaml``: Feast's own options."""

    type: Literal["feature_platform.feast_plugins.online_store.BoundedRedisOnlineStore"] = CLASS_PATH


class BoundedRedisOnlineStore(RedisOnlineStore):  # type: ignore[misc]
    """Feast's Redis store."""
