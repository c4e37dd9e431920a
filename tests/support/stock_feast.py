"""Feast's own code writing to Redis: the peer that our bytes and speed are compared with. Importing Feast takes seconds."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import redis

from feature_platform.adapters.feast.objects import feast_type
from feature_platform.core.contract.feature_set import Contract


class StockWriter:
    """Feast's Redis online store and its conversion from Arrow, without a registry.

    Args:
        connection_string: Feast's form.
        project: The Feast project.
        key_ttl_s: Redis TTL of the keys.
    """

    def __init__(self, connection_string: str, *, project: str, key_ttl_s: int | None = None) -> None:
        from feast.infra.online_stores.redis import RedisOnlineStore
        from feast.repo_config import RepoConfig

        self._store = RedisOnlineStore()
        self._config = RepoConfig(
            project=project,
            provider="local",
            registry=str(Path("/nonexistent/registry.db")),
            online_store={"type": "redis", "connection_string": connection_string, "skip_dedup": True, "key_ttl_seconds": key_ttl_s},
            entity_key_serialization_version=3,
        )

    def write(self, contract: Contract, table: pa.Table, *, batch_rows: int = 10_000) -> None:
        """Write rows as ``feast materialize`` does, in batches of ``online_write_batch_size``."""
        from feast.utils import _convert_arrow_to_proto

        _, view, join_keys = _view(contract)
        for batch in table.combine_chunks().to_batches(max_chunksize=batch_rows):
            rows = _convert_arrow_to_proto(batch, view, join_keys)
            self._store.online_write_batch(self._config, view, rows, None)


def materializing_store(
    connection_string: str, contract: Contract, *, directory: Path, parquet: Path, project: str, key_ttl_s: int | None = None
) -> Any:
    """Feast's own store over a local Parquet file, at its best for loading: batches of 10,000 and no look at what is online already."""
    from feast import FeatureStore
    from feast.repo_config import RepoConfig

    online = {"type": "redis", "connection_string": connection_string, "skip_dedup": True, "key_ttl_seconds": key_ttl_s}
    config = RepoConfig(
        project=project,
        provider="local",
        registry=str(directory / "registry.db"),
        online_store=online,
        offline_store={"type": "file"},
        materialization={"online_write_batch_size": 10_000},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    entities, view, _ = _view(contract, path=str(parquet))
    store.apply([*entities, view])
    return store


def contents(client: "redis.Redis") -> dict[bytes, dict[bytes, bytes]]:
    """Every hash of a database, field by field."""
    keys = sorted(client.scan_iter(count=5_000, _type="hash"))
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hgetall(key)
        return dict(zip(keys, pipe.execute(), strict=True))


def features_only(hashes: dict[bytes, dict[bytes, bytes]]) -> dict[bytes, dict[bytes, bytes]]:
    """Without the platform's own bookkeeping."""
    return {key: fields for key, fields in hashes.items() if not key.startswith(b"feature_platform:")}


def _view(contract: Contract, *, path: str = "s3://nowhere/features.parquet") -> tuple[list[Any], Any, dict[str, Any]]:
    from feast import Entity, FeatureView, Field, FileSource

    kinds = {column.name: feast_type(column.type) for column in contract.all_columns}
    entities = [
        Entity(name=f"{contract.entity}_{key}", join_keys=[key], value_type=kinds[key].to_value_type()) for key in contract.primary_keys
    ]
    view = FeatureView(
        name=contract.feature_set,
        entities=entities,
        schema=[Field(name=column.name, dtype=kinds[column.name]) for column in contract.feature_columns],
        source=FileSource(path=path, timestamp_field=contract.timestamp_field),
        ttl=contract.ttl_duration,
    )
    return entities, view, {key: kinds[key].to_value_type() for key in contract.primary_keys}
