"""An online response that keeps the bytes from Redis until the caller asks for Python values or for Feast's message.

Callers see ``feast.online_response.OnlineResponse``. Fetching the bytes does not belong here (``redis_reads``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from feast.online_response import TIMESTAMP_POSTFIX, OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.type_map import feast_value_type_to_python_type

from feature_platform.core.online.decoding import Reader, timestamp_of
from feature_platform.core.online.reads import UnplannedRequestError
from feature_platform.feast_plugins.read_plan import ReadPlan

_PRESENT: Final = FieldStatus.PRESENT
_OUTSIDE: Final = FieldStatus.OUTSIDE_MAX_AGE
_KEY_FIELDS: Final = {"INT32": "int32_val", "INT64": "int64_val", "STRING": "string_val"}
_VALUES, _STATUSES, _TIMESTAMPS = b"\x0a", b"\x12", b"\x1a"
# Tag and length of a value below 128 bytes, which nearly all are, by its length: a lookup is cheaper than a call.
_SHORT: Final = [_VALUES + bytes([length]) for length in range(128)]


@dataclass(frozen=True, slots=True)
class ViewRows:
    """One view's replies: ``columns`` in the plan's order, and per row its event timestamp's bytes and whether it is past its ttl.

    A row that the store lacks has no timestamp; Feast's Redis store serves it as present nulls of 1970, and so does this.
    """

    plan: ReadPlan
    columns: list[tuple[bytes | None, ...]]
    timestamps: tuple[bytes | None, ...]
    past_ttl: tuple[bool, ...] | None


def view_rows(plan: ReadPlan, replies: Sequence[Sequence[bytes | None]], *, now_s: float) -> ViewRows:
    """Arrange one view's replies by column and find the rows that are past their ttl at ``now_s`` (Unix time).

    Raises:
        UnplannedRequestError: A stored event timestamp is not one.
    """
    *columns, timestamps = zip(*replies, strict=True)
    past_ttl = None
    # Rows of one version share their timestamp, so the set has one or two members; testing these is cheaper than testing every row.
    ages_s = {raw: now_s - (seconds + nanos / 1e9) for raw in set(timestamps) if raw for seconds, nanos in [timestamp_of(raw)]}
    if plan.ttl_s is not None:
        late = {raw for raw, age_s in ages_s.items() if age_s > plan.ttl_s}
        if late:
            past_ttl = tuple(raw in late for raw in timestamps)
            columns = [tuple(None if gone else raw for raw, gone in zip(column, past_ttl, strict=True)) for column in columns]
    return ViewRows(plan, columns, timestamps, past_ttl)


class RawOnlineResponse(OnlineResponse):  # type: ignore[misc]  # Feast ships no types
    """A response of join keys and features that is decoded when it is asked for.

    Args:
        keys: Join key → its values, in request order.
    """

    def __init__(self, keys: Mapping[str, Sequence[Any]], key_types: Mapping[str, Any], views: Sequence[ViewRows]) -> None:
        self._keys = keys
        self._key_types = key_types
        self._views = views
        self._proto: Any = None

    @property
    def proto(self) -> Any:
        """Feast's message, as its own Redis store would have filled it."""
        if self._proto is None:
            self._proto = self._message()
        return self._proto

    @property
    def _feature_types(self) -> dict[str, Any]:
        return {name: kind for view in self._views for name, kind in zip(view.plan.names, view.plan.value_types, strict=True)}

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, list[Any]]:
        """Column name → values in request order; with ``<name>__ts`` columns in Unix seconds on request."""
        response: dict[str, list[Any]] = {}
        for name, values in self._keys.items():
            response[name] = list(values)
            if include_event_timestamps:
                response[name + TIMESTAMP_POSTFIX] = [0] * len(values)
        for view in self._views:
            plan = view.plan
            seconds = [timestamp_of(raw)[0] if raw else 0 for raw in view.timestamps] if include_event_timestamps else []
            for name, kind, read, column in zip(plan.names, plan.value_types, plan.readers, view.columns, strict=True):
                response[name] = _decoded(column, read, kind)
                if include_event_timestamps:
                    response[name + TIMESTAMP_POSTFIX] = list(seconds)
        return response

    def _message(self) -> Any:
        message = GetOnlineFeaturesResponse()
        names = message.metadata.feature_names.val
        for name, values in self._keys.items():
            names.append(name)
            field = _KEY_FIELDS[self._key_types[name].name]
            encoded = [ValueProto(**{field: value}).SerializeToString() for value in values]
            count = len(encoded)
            # Assembled as bytes and parsed once by protobuf's C code; setting fields one by one from Python costs a call for each value.
            message.results.add().MergeFromString(_vector(encoded, _status_bytes(count, None), (_TIMESTAMPS + b"\x00") * count))
        for view in self._views:
            statuses = _status_bytes(len(view.timestamps), view.past_ttl)
            timestamps = b"".join([_TIMESTAMPS + bytes([len(raw)]) + raw if raw else _TIMESTAMPS + b"\x00" for raw in view.timestamps])
            names.extend(view.plan.names)
            for column in view.columns:
                message.results.add().MergeFromString(_vector(column, statuses, timestamps))
        return message


def _decoded(column: Sequence[bytes | None], read: Reader | None, kind: Any) -> list[Any]:
    if read is not None:
        try:
            return read(column)
        except UnplannedRequestError:
            pass  # of a type that no contract allows: decoded below by its own type, as Feast does
    return [feast_value_type_to_python_type(ValueProto.FromString(raw), kind) if raw else None for raw in column]


def _vector(column: Sequence[bytes | None], statuses: bytes, timestamps: bytes) -> bytes:
    """The bytes of a ``FeatureVector``: repeated values, packed statuses, repeated timestamps."""
    short = _SHORT
    try:
        values = b"".join([short[len(raw)] + raw if raw else b"\x0a\x00" for raw in column])
    except IndexError:
        values = b"".join([_VALUES + _varint(len(raw)) + raw if raw else b"\x0a\x00" for raw in column])
    return values + statuses + timestamps


def _status_bytes(count: int, past_ttl: tuple[bool, ...] | None) -> bytes:
    packed = bytes([_PRESENT]) * count if past_ttl is None else bytes([_OUTSIDE if late else _PRESENT for late in past_ttl])
    return _STATUSES + _varint(count) + packed


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
