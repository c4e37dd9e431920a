"""How one request reads one feature view: entity rows → Redis commands, and which decoder reads each column of the replies.

Pure, and built once per request shape. Sending commands does not belong here (``redis_reads``), nor what becomes of the replies
(``raw_response``). The bytes are ``core.online.layout``'s.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from feature_platform.core.online.commands import bulk
from feature_platform.core.online.decoding import Decoder, decoder
from feature_platform.core.online.layout import FEAST_TYPES, ViewLayout, feature_key, key_type_number, timestamp_key

_KINDS: Final = MappingProxyType({number: kind for kind, (_, number) in FEAST_TYPES.items() if kind != "date"})
_INTEGERS: Final = MappingProxyType({"int32": struct.Struct("<i"), "int64": struct.Struct("<q")})


class UnplannedRequestError(Exception):
    """A request that this module does not speak; Feast's own code answers it."""


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """One view's part of a request: the commands of its rows, and its columns.

    ``names`` are the columns as the response calls them; ``decoders`` has None where a type is Feast's alone.
    """

    view: str
    names: tuple[str, ...]
    value_types: tuple[Any, ...]
    decoders: tuple[Decoder | None, ...]
    ttl_s: float | None
    join_keys: tuple[str, ...]
    encode: Callable[[Sequence[Sequence[Any]]], list[bytes]]

    def commands(self, columns: Mapping[str, Sequence[Any]]) -> list[bytes]:
        """One ``HMGET`` per entity row: the features in order, then the event timestamp.

        Raises:
            UnplannedRequestError: A join key is missing or a value is not of the key's own type.
        """
        try:
            return self.encode([columns[key] for key in self.join_keys])
        except (KeyError, struct.error) as error:
            raise UnplannedRequestError from error


def read_plan(view: Any, features: Sequence[str], *, project: str, full_feature_names: bool) -> ReadPlan:
    """Plan how ``features`` of a Feast view are read.

    Raises:
        UnplannedRequestError: The view renames its join keys, or has one of a type that the layout does not know.
    """
    keys = tuple((column.name, _KINDS.get(column.dtype.to_value_type().value, "")) for column in view.entity_columns)
    if view.projection.join_key_map or not keys or any(kind not in (*_INTEGERS, "string") for _, kind in keys):
        raise UnplannedRequestError
    layout = ViewLayout(project, view.name, keys, (), "")
    prefix = f"{view.projection.name_to_use()}__" if full_feature_names else ""
    value_types = {field.name: field.dtype.to_value_type() for field in view.features}
    kinds = [_KINDS.get(value_types[name].value) for name in features]
    return ReadPlan(
        view=view.name,
        names=tuple(prefix + name for name in features),
        value_types=tuple(value_types[name] for name in features),
        decoders=tuple(decoder(kind) if kind else None for kind in kinds),
        ttl_s=view.ttl.total_seconds() if view.ttl else None,
        join_keys=tuple(name for name, _ in layout.sorted_keys),
        encode=_encoder(layout, [feature_key(view.name, name) for name in features]),
    )


def _encoder(layout: ViewLayout, fields: list[bytes]) -> Callable[[Sequence[Sequence[Any]]], list[bytes]]:
    head = b"*%d\r\n$5\r\nHMGET\r\n" % (len(fields) + 3)
    tail = b"\r\n" + b"".join(map(bulk, [*fields, timestamp_key(layout.view)]))
    kinds = [kind for _, kind in layout.sorted_keys]
    if len(kinds) == 1 and kinds[0] in _INTEGERS:
        return _integer_encoder(layout, kinds[0], head, tail)
    return _general_encoder(layout, kinds, head, tail)


def _integer_encoder(layout: ViewLayout, kind: str, head: bytes, tail: bytes) -> Callable[[Sequence[Sequence[Any]]], list[bytes]]:
    """The common case: one integer key, so that everything but its bytes is the same in every command."""
    number = _INTEGERS[kind]
    before = layout.key_prefix + struct.pack("<II", key_type_number(kind), number.size)
    before = head + b"$%d\r\n" % (len(before) + number.size + len(layout.key_suffix)) + before
    after, pack = layout.key_suffix + tail, number.pack

    def encode(columns: Sequence[Sequence[Any]]) -> list[bytes]:
        _require(columns[0], int)
        return [before + pack(value) + after for value in columns[0]]

    return encode


def _general_encoder(layout: ViewLayout, kinds: list[str], head: bytes, tail: bytes) -> Callable[[Sequence[Sequence[Any]]], list[bytes]]:
    parts = [_key_part(kind) for kind in kinds]
    prefix, suffix = layout.key_prefix, layout.key_suffix

    def encode(columns: Sequence[Sequence[Any]]) -> list[bytes]:
        for kind, column in zip(kinds, columns, strict=True):
            _require(column, str if kind == "string" else int)
        encoded = [map(part, column) for part, column in zip(parts, columns, strict=True)]
        keys = [prefix + b"".join(row) + suffix for row in zip(*encoded, strict=True)]
        return [b"%s$%d\r\n%s%s" % (head, len(key), key, tail) for key in keys]

    return encode


def _key_part(kind: str) -> Callable[[Any], bytes]:
    code = key_type_number(kind)
    if kind == "string":

        def text(value: str) -> bytes:
            raw = value.encode()
            return struct.pack("<II", code, len(raw)) + raw

        return text
    number = _INTEGERS[kind]
    header, pack = struct.pack("<II", code, number.size), number.pack
    return lambda value: header + pack(value)


def _require(column: Sequence[Any], kind: type) -> None:
    if set(map(type, column)) != {kind}:
        raise UnplannedRequestError
