"""Bodies of ``POST /get-online-features`` → requests, and their entities → key columns.

Pure. A body that is not a plain, strictly typed request is recognised here (:class:`UnusualBodyError`); whether it is valid does not belong
here, but to Feast's own model (``feast_model``).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

from feature_platform.core.online.reads import UnplannedRequestError
from feature_platform.server.plans import Refusal, RequestPlan, RequestShape

PIN_HEADER: Final = b"feature-pin"
EVERY_VIEW: Final = "*"

_INT64: Final = range(-(1 << 63), 1 << 63)


class UnusualBodyError(Exception):
    """A body that the strict decoder does not take; it may still be a request to Feast's model."""


class OnlineRequest(msgspec.Struct, frozen=True):
    """One request: its shape, and entity column → values, in the order of the body."""

    shape: RequestShape
    entities: Mapping[str, list[Any]]
    pins: Mapping[str, str] = {}
    """View → version that it must be answered from; ``*`` for every view of the request."""


class _Body(msgspec.Struct):
    entities: dict[str, list[Any]]
    feature_service: str | None = None
    features: tuple[str, ...] = ()
    full_feature_names: bool = False
    include_feature_view_version_metadata: bool = False
    pinned_versions: dict[str, Annotated[str, msgspec.Meta(min_length=1)]] | None = None


_DECODE: Final = msgspec.json.Decoder(_Body).decode


def parse_request(body: bytes) -> OnlineRequest:
    """Decode a body; unknown fields are ignored, as Feast ignores them.

    Raises:
        UnusualBodyError: It is no JSON, or a field is missing or of another type.
    """
    try:
        parsed = _DECODE(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UnusualBodyError from error
    shape = RequestShape(
        parsed.feature_service or None, parsed.features, parsed.full_feature_names, parsed.include_feature_view_version_metadata
    )
    return OnlineRequest(shape, parsed.entities, parsed.pinned_versions or {})


def header_pins(headers: Sequence[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """The versions that ``feature-pin`` headers ask for: ``version`` for every view, or ``view=version, view=version``.

    >>> header_pins([(b"feature-pin", b"user_features=v_20260115T000000, shops=v_20260116T000000")])
    {'user_features': 'v_20260115T000000', 'shops': 'v_20260116T000000'}

    Raises:
        Refusal: 422 for a pin that is empty or malformed, or a view that is pinned to two versions.
    """
    given = [value for name, value in headers if name == PIN_HEADER]
    return _pins(b",".join(given).decode("latin-1")) if given else {}


def _pins(given: str) -> dict[str, str]:
    pins: dict[str, str] = {}
    for item in given.split(","):
        view, equals, version = map(str.strip, item.rpartition("="))
        if not version or bool(view) != bool(equals) or pins.setdefault(view or EVERY_VIEW, version) != version:
            text = f"feature-pin: expected a version, or view=version with each view once and a comma between, found {given!r}."
            raise Refusal(422, {"detail": text})
    return pins


def key_columns(plan: RequestPlan, entities: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Join key → values of the request's rows, in the order of the body; unknown columns of plain values are skipped, as Feast does.

    Raises:
        UnplannedRequestError: A join key is missing, called by its entity's name, or of no values; or columns differ in length.
    """
    columns = {name: values for name, values in entities.items() if name in plan.join_keys}
    if len(columns) != len(plan.join_keys) or len(set(map(len, entities.values()))) != 1:
        raise UnplannedRequestError
    for name, values in entities.items():
        if not values or (name not in columns and (name in plan.known_keys or not _is_plain(values))):
            raise UnplannedRequestError
    return columns


def _is_plain(values: list[Any]) -> bool:
    """Whether Feast, too, would convert and then skip them without an error."""
    kinds = set(map(type, values))
    return kinds in ({str}, {float}, {bool}) or (kinds == {int} and all(value in _INT64 for value in values))
