"""Request shapes → plans: which views are read, which commands their rows need, and how the reply columns become an answer's.

Pure, and built once per shape and registry. What a plan cannot express raises :class:`UnplannedRequestError`; what Feast refuses is
refused here in its words (:class:`Refusal`). Order of checks and texts: Feast 0.67, ``utils._get_online_request_context``.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from feature_platform.core.online.decoding import Reader, column_reader
from feature_platform.core.online.layout import ViewLayout
from feature_platform.core.online.marker import marker_key
from feature_platform.core.online.reads import HashReads, UnplannedRequestError
from feature_platform.server.metrics import feature_count_label
from feature_platform.server.served_registry import ServedRegistry, ServedView
from feature_platform.server.values import IN_JSON

_ERRORS: Final = "feast.errors"


class Refusal(Exception):  # noqa: N818  an answer, not a fault of the server
    """An answer other than the values: an HTTP status and the document that is its body."""

    def __init__(self, status: int, body: object) -> None:
        super().__init__(status)
        self.status, self.body = status, body


class RequestShape(msgspec.Struct, frozen=True):
    """The part of a request that does not depend on its entities; equal shapes share a plan."""

    service: str | None
    features: tuple[str, ...]
    full_feature_names: bool = False
    version_metadata: bool = False


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """One view's part: ``names`` are its columns as the answer calls them, in the order of the reply; a timestamp follows them."""

    view: ServedView
    features: tuple[str, ...]
    names: tuple[str, ...]
    readers: tuple[Reader, ...]
    join_keys: tuple[str, ...]
    reads: HashReads
    marker_key: bytes


@dataclass(frozen=True, slots=True, eq=False)
class RequestPlan:
    """How requests of one shape are answered. ``metadata`` is the part of the answer's metadata after the feature names."""

    views: tuple[ViewPlan, ...]
    join_keys: frozenset[str]
    known_keys: frozenset[str]
    names: tuple[str, ...]
    metadata: bytes
    features_label: str
    views_label: str


def plan_request(shape: RequestShape, registry: ServedRegistry) -> RequestPlan:
    """Plan a request shape.

    Raises:
        Refusal: Feast refuses it, whatever the entities.
        UnplannedRequestError: Only Feast's own server can answer it.
    """
    references = _references(shape, registry)
    views = [_plain_view(name, registry) for name in dict.fromkeys(name for name, _ in references)]
    _refuse_collisions(references, full=shape.full_feature_names)
    parts = [_view_plan(view, [feature for name, feature in references if name == view.name], registry, shape) for view in views]
    numbers = [{"name": view.name, **({"version": view.number} if view.number else {})} for view in views]
    metadata = b',"feature_view_metadata":' + json.dumps(numbers, separators=(",", ":")).encode() if shape.version_metadata else b""
    return RequestPlan(
        views=tuple(parts),
        join_keys=frozenset(key for part in parts for key in part.join_keys),
        known_keys=frozenset([*registry.entities, *registry.entities.values()]),
        names=tuple(name for part in parts for name in part.names),
        metadata=metadata,
        features_label=feature_count_label(len(references)),
        views_label=str(len(parts)),
    )


def _references(shape: RequestShape, registry: ServedRegistry) -> list[tuple[str, str]]:
    """(view, feature) in request order."""
    if shape.service:
        service = registry.services.get(shape.service)
        if service is None:
            raise _feast_error(
                404, "FeatureServiceNotFoundException", f"Feature service {shape.service} does not exist in project {registry.project}"
            )
        references = [(view, feature) for view, features in service.parts for feature in features]
        # A part without features is a view that Feast reads and whose columns it drops again.
        if not service.is_plain or not all(features for _, features in service.parts) or not references:
            raise UnplannedRequestError
        return references
    if not shape.features:
        raise Refusal(500, "No features specified for retrieval")
    parsed = [_parsed(reference) for reference in shape.features]
    for name, _ in parsed:
        if name not in registry.views:
            raise _feast_error(404, "FeatureViewNotFoundException", f"Feature view {name} does not exist in project {registry.project}")
        _plain_view(name, registry)
    return parsed


def _parsed(reference: str) -> tuple[str, str]:
    view, colon, feature = reference.partition(":")
    if not colon:
        raise Refusal(
            500,
            f"Invalid feature reference '{reference}'. Expected format: '<feature_view>:<feature>' or '<feature_view>@<version>:<feature>'",
        )
    if "@" in view:
        raise UnplannedRequestError
    return view, feature


def _plain_view(name: str, registry: ServedRegistry) -> ServedView:
    view = registry.views.get(name)
    if view is None or not view.is_plain or any(kind not in {"int32", "int64", "string"} for _, kind in view.keys):
        raise UnplannedRequestError
    return view


def _refuse_collisions(references: Sequence[tuple[str, str]], *, full: bool) -> None:
    columns: list[object] = list(references) if full else [feature for _, feature in references]
    if max(Counter(columns).values()) > 1:
        raise UnplannedRequestError  # Feast lists them in an order of its own


def _view_plan(view: ServedView, features: Sequence[str], registry: ServedRegistry, shape: RequestShape) -> ViewPlan:
    kinds = dict(view.features)
    for feature in features:
        if feature not in kinds:
            raise Refusal(500, repr(f"Feature {feature} not found in projection {view.name}"))
        if not kinds[feature]:
            raise UnplannedRequestError
    layout = ViewLayout(registry.project, view.name, view.keys, (), "")
    prefix = f"{view.name}__" if shape.full_feature_names else ""
    return ViewPlan(
        view=view,
        features=tuple(features),
        names=tuple(prefix + name for name in features),
        readers=tuple(column_reader(kinds[name], IN_JSON) for name in features),
        join_keys=tuple(name for name, _ in layout.sorted_keys),
        reads=HashReads(layout, features),
        marker_key=marker_key(registry.project, view.name),
    )


def _feast_error(status: int, name: str, text: str) -> Refusal:
    return Refusal(status, json.dumps({"module": _ERRORS, "class": name, "message": text}))
