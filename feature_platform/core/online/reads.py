"""Entity rows of a feature view → the ``HMGET`` commands that read them.

Sending commands does not belong here, nor decoding the replies. Which bytes name a key or field belongs to ``core.online.layout``.
"""

import struct
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, Final

from feature_platform.core.online.layout import ViewLayout, feature_key, key_type_number, timestamp_key
from feature_platform.core.online.resp import bulk

INTEGER_KEYS: Final = MappingProxyType({"int32": struct.Struct("<i"), "int64": struct.Struct("<q")})

Columns = Sequence[Sequence[Any]]


class UnplannedRequestError(Exception):
    """A request that our own read path cannot answer; Feast's own code answers it."""


class HashReads:
    """Reads of some features of one view, by rows of entity key values.

    Every method takes one sequence of values for each join key, in the order of ``layout.sorted_keys``, and raises
    :class:`UnplannedRequestError` where a value is not of its key's own type.

    Args:
        layout: The view; its features do not matter here.
        features: What each reply holds, in this order, before the event timestamp.
    """

    def __init__(self, layout: ViewLayout, features: Sequence[str]) -> None:
        fields = [*(feature_key(layout.view, name) for name in features), timestamp_key(layout.view)]
        self._head = b"*%d\r\n$5\r\nHMGET\r\n" % (len(fields) + 2)
        self._tail = b"\r\n" + b"".join(map(bulk, fields))
        self._prefix, self._suffix = layout.key_prefix, layout.key_suffix
        self._kinds = [kind for _, kind in layout.sorted_keys]
        self._types = [str if kind == "string" else int for kind in self._kinds]
        self._parts = [_key_part(kind) for kind in self._kinds]
        self._fixed = INTEGER_KEYS.get(self._kinds[0]) if len(self._kinds) == 1 else None
        if self._fixed is not None:
            # One integer key: everything but its bytes is the same in every command.
            before = self._prefix + struct.pack("<II", key_type_number(self._kinds[0]), self._fixed.size)
            length = len(before) + self._fixed.size + len(self._suffix)
            self._before, self._after = self._head + b"$%d\r\n" % length + before, self._suffix + self._tail
            self._between = self._after + self._before

    def payload(self, columns: Columns) -> bytes:
        """The commands of all rows, one behind the other; what a socket sends."""
        if self._fixed is None:
            return b"".join(self.commands(columns))
        _require(columns[0], int)
        try:
            return self._before + self._between.join(map(self._fixed.pack, columns[0])) + self._after
        except struct.error as error:
            raise UnplannedRequestError from error

    def commands(self, columns: Columns) -> list[bytes]:
        """One command per row."""
        if self._fixed is None:
            return [self.command(key) for key in self.keys(columns)]
        _require(columns[0], int)
        before, after, pack = self._before, self._after, self._fixed.pack
        try:
            return [before + pack(value) + after for value in columns[0]]
        except struct.error as error:
            raise UnplannedRequestError from error

    def keys(self, columns: Columns) -> list[bytes]:
        """The Redis key of each row's entity."""
        self.require_types(columns)
        try:
            encoded = [[part(value) for value in column] for part, column in zip(self._parts, columns, strict=True)]
        except (struct.error, UnicodeEncodeError) as error:
            raise UnplannedRequestError from error
        return [self._prefix + b"".join(row) + self._suffix for row in zip(*encoded, strict=True)]

    def require_types(self, columns: Columns) -> None:
        """Refuse values that are not of their key's own type, without encoding any."""
        for place, kind in enumerate(self._types):
            _require(columns[place], kind)

    def command(self, key: bytes) -> bytes:
        """The command that reads one entity by its Redis key."""
        return b"%s$%d\r\n%s%s" % (self._head, len(key), key, self._tail)


def _key_part(kind: str) -> Callable[[Any], bytes]:
    code = key_type_number(kind)
    if kind == "string":

        def text(value: str) -> bytes:
            raw = value.encode()
            return struct.pack("<II", code, len(raw)) + raw

        return text
    number = INTEGER_KEYS[kind]
    header, pack = struct.pack("<II", code, number.size), number.pack
    return lambda value: header + pack(value)


def _require(column: Sequence[Any], kind: type) -> None:
    """Every value of exactly this type: a bool is an int to Python, but not to Feast."""
    if set(map(type, column)) != {kind}:
        raise UnplannedRequestError
