"""Contracts as Feast objects: entity, feature view, feature service and file source, with their tags.

Opening a store, applying objects and reading values do not belong here (``repository``, ``reading``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from feature_platform.core.contract import types
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.layout import PARQUET, FeatureSetLayout
from feature_platform.core.online.layout import FEAST_TYPES, view_layout
from feature_platform.errors import ContractError

SCHEMA_HASH_TAG: Final = "schema_hash"
VERSION_TAG: Final = "contract_version"
OWNER_TAG: Final = "owner"


@dataclass(frozen=True, slots=True)
class FeastObjects:
    """The Feast objects of one or more contracts; every list in contract order, entities once each."""

    entities: tuple[Any, ...]
    sources: tuple[Any, ...]
    views: tuple[Any, ...]
    services: tuple[Any, ...]

    @property
    def all(self) -> list[Any]:
        """Every object, entities first, as ``FeatureStore.apply`` takes them."""
        return [*self.entities, *self.views, *self.services]


def feast_type(name: str) -> Any:
    """The Feast type of a contract type's name, as the online layout writes it."""
    from feast import types as feast_types

    feast_name = FEAST_TYPES[name][0]
    if types.element_type(name) is None:
        return getattr(feast_types, feast_name)
    return feast_types.Array(getattr(feast_types, feast_name.removeprefix("Array(").removesuffix(")")))


def entity_names(contract: Contract) -> dict[str, str]:
    """Join key → name of the Feast entity that carries it.

    A Feast entity has exactly one join key, so a composite key becomes one entity per column, named ``<entity>__<column>``.
    """
    if len(contract.primary_keys) == 1:
        return {contract.primary_keys[0]: contract.entity}
    return {key: f"{contract.entity}__{key}" for key in contract.primary_keys}


def tags(contract: Contract) -> dict[str, str]:
    """The tags of a view and its service, by which a reader can name the contract behind a value."""
    return {SCHEMA_HASH_TAG: contract.schema_hash, VERSION_TAG: contract.version, OWNER_TAG: contract.owner}


def feast_objects(contracts: Iterable[Contract], *, feature_base: str, s3_endpoint: str | None = None) -> FeastObjects:
    """Declare contracts to Feast.

    Args:
        contracts: The feature sets; those that share an entity share one Feast entity.
        feature_base: URI below which versions and ``latest/`` are stored.
        s3_endpoint: Endpoint of an S3 store other than AWS, written into the sources for clients that do not read it elsewhere.

    Raises:
        ContractError: Feature sets share an entity but not its join key or that key's type; or Feast cannot hold a column.
    """
    contracts = tuple(contracts)
    for contract in contracts:
        view_layout(contract, project="any")
    entities = _entities(contracts)
    sources = tuple(_source(contract, feature_base, s3_endpoint) for contract in contracts)
    views = tuple(_view(contract, source, entities) for contract, source in zip(contracts, sources, strict=True))
    services = tuple(_service(contract, view) for contract, view in zip(contracts, views, strict=True))
    return FeastObjects(entities=tuple(entities.values()), sources=sources, views=views, services=services)


def _entities(contracts: tuple[Contract, ...]) -> dict[str, Any]:
    from feast import Entity

    keys: dict[str, tuple[str, str, str]] = {}
    faults = []
    for contract in contracts:
        kinds = {column.name: column.type for column in contract.columns}
        for key, name in entity_names(contract).items():
            known_key, known_kind, known_set = keys.setdefault(name, (key, kinds[key], contract.feature_set))
            if (known_key, known_kind) != (key, kinds[key]):
                faults.append(
                    f"{contract.feature_set}: entity {name!r} has join key {key!r} ({kinds[key]}); "
                    f"expected {known_key!r} ({known_kind}) as in {known_set}, or another entity name"
                )
    if faults:
        raise ContractError("Feature sets that share an entity must agree on its join key:", faults)
    return {
        name: Entity(name=name, join_keys=[key], value_type=feast_type(kind).to_value_type(), description=f"Joined on {key}")
        for name, (key, kind, _) in keys.items()
    }


def _source(contract: Contract, feature_base: str, s3_endpoint: str | None) -> Any:
    from feast import FileSource
    from feast.data_format import ParquetFormat

    return FileSource(
        name=f"{contract.feature_set}_latest",
        path=FeatureSetLayout(feature_base, contract.feature_set).latest_file(PARQUET),
        file_format=ParquetFormat(),
        timestamp_field=contract.timestamp_field,
        s3_endpoint_override=s3_endpoint,
        description=f"The latest published version of {contract.feature_set}",
        owner=contract.owner,
    )


def _view(contract: Contract, source: Any, entities: Mapping[str, Any]) -> Any:
    from feast import FeatureView, Field

    return FeatureView(
        name=contract.feature_set,
        entities=[entities[name] for name in entity_names(contract).values()],
        ttl=contract.ttl_duration,
        schema=[
            Field(name=column.name, dtype=feast_type(column.type), description=column.description)
            for column in contract.all_columns
            if column.name != contract.timestamp_field
        ],
        source=source,
        online=True,
        description=contract.description,
        owner=contract.owner,
        tags=tags(contract),
    )


def _service(contract: Contract, view: Any) -> Any:
    from feast import FeatureService

    return FeatureService(
        name=contract.feature_set,
        features=[view],
        description=f"Every feature of {contract.feature_set}",
        owner=contract.owner,
        tags=tags(contract),
    )
