"""What a Feast registry says about one project, as far as serving needs it: entities, views and feature services.

Pure: bytes of ``registry.pb`` in, values out. Fetching the object does not belong here (``registry_watch``), nor what a request makes of
it (``plans``).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError

from feature_platform.core.online.layout import CONTRACT_TYPES
from feature_platform.core.online.messages import message
from feature_platform.errors import InvalidDataError

PIN_TAG: Final = "pinned_version"
"""A feature service with this tag serves that version or nothing."""

_SERVABLE_STATES: Final = frozenset({0, 3, 4})
"""Unspecified, materializing (this platform's registries serve meanwhile), available."""

_REGISTRY: Final = message("Registry")


@dataclass(frozen=True, slots=True)
class ServedView:
    """One feature view.

    ``keys`` and ``features`` are (column, contract type, or "" where the type is Feast's alone), in registry order. ``is_plain`` is False
    where Feast alone can serve or refuse it: on-demand, stream and label views, disabled ones, ones without an entity.
    ``ttl_s`` is None where rows live for ever. ``number`` is Feast's own version number of the definition.
    """

    name: str
    is_plain: bool
    keys: tuple[tuple[str, str], ...] = ()
    features: tuple[tuple[str, str], ...] = ()
    ttl_s: float | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class ServedService:
    """One feature service: (view, features) in its order. ``is_plain`` is False where a view is renamed, its keys are, or it is pinned to
    one of Feast's own versions. ``pinned_version`` is one of the platform's versions, or empty."""

    is_plain: bool
    parts: tuple[tuple[str, tuple[str, ...]], ...]
    pinned_version: str = ""


@dataclass(frozen=True, slots=True)
class ServedRegistry:
    """One project of a registry."""

    project: str
    entities: Mapping[str, str]
    """Entity name → join key."""
    views: Mapping[str, ServedView]
    services: Mapping[str, ServedService]


def served_registry(body: bytes, *, project: str) -> ServedRegistry:
    """Read a stored registry.

    Raises:
        InvalidDataError: The bytes are no registry.
    """
    try:
        registry = _REGISTRY.FromString(body)
    except DecodeError as error:
        raise InvalidDataError(f"The Feast registry is damaged ({error}); restore it from a previous version of the object.") from error
    entities = {item.spec.name: item.spec.join_key for item in _of(registry.entities, project)}
    views: dict[str, ServedView] = {}
    for other in (registry.label_views, registry.on_demand_feature_views, registry.stream_feature_views):
        views.update((item.spec.name, ServedView(item.spec.name, is_plain=False)) for item in _of(other, project))
    views.update((item.spec.name, _view(item, entities)) for item in _of(registry.feature_views, project))
    services = {item.spec.name: _service(item.spec) for item in _of(registry.feature_services, project)}
    return ServedRegistry(project, entities, views, services)


def _of(items: Any, project: str) -> Iterator[Any]:
    return (item for item in items if item.spec.project == project)


def _view(item: Any, entities: Mapping[str, str]) -> ServedView:
    spec = item.spec
    keys = tuple((column.name, CONTRACT_TYPES.get(column.value_type, "")) for column in spec.entity_columns)
    known = {entities.get(name) for name in spec.entities}
    return ServedView(
        name=spec.name,
        is_plain=bool(keys) and known == {name for name, _ in keys} and not spec.disabled and item.meta.state in _SERVABLE_STATES,
        keys=keys,
        features=tuple((feature.name, CONTRACT_TYPES.get(feature.value_type, "")) for feature in spec.features),
        ttl_s=(spec.ttl.seconds + spec.ttl.nanos / 1e9) or None,
        number=item.meta.current_version_number,
    )


def _service(spec: Any) -> ServedService:
    renamed = any(part.feature_view_name_alias or part.join_key_map or part.HasField("version_tag") for part in spec.features)
    parts = tuple((part.feature_view_name, tuple(column.name for column in part.feature_columns)) for part in spec.features)
    return ServedService(not renamed and not spec.precompute_online, parts, spec.tags.get(PIN_TAG, ""))
