"""How one request reads one feature view: entity rows → Redis commands, and which reader decodes each column of the replies.

Pure, and built once per request shape. Sending commands does not belong here (``redis_reads``), nor decoding the replies
(``raw_response``), nor which bytes name a key or field (``core.online.layout``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feature_platform.core.online.decoding import MOMENTS, Reader, column_reader
from feature_platform.core.online.layout import CONTRACT_TYPES, ViewLayout
from feature_platform.core.online.reads import INTEGER_KEYS, HashReads, UnplannedRequestError


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """One view's part of a request: the commands of its rows, and its columns.

    ``names`` are the columns as the response calls them; ``readers`` has None for a type that only Feast decodes.
    """

    view: str
    names: tuple[str, ...]
    value_types: tuple[Any, ...]
    readers: tuple[Reader | None, ...]
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
        except KeyError as error:
            raise UnplannedRequestError from error


def read_plan(view: Any, features: Sequence[str], *, project: str, full_feature_names: bool) -> ReadPlan:
    """Plan how ``features`` of a Feast view are read.

    Raises:
        UnplannedRequestError: The view renames its join keys, or has one of a type that the layout does not know.
    """
    keys = tuple((column.name, CONTRACT_TYPES.get(column.dtype.to_value_type().value, "")) for column in view.entity_columns)
    if view.projection.join_key_map or not keys or any(kind not in (*INTEGER_KEYS, "string") for _, kind in keys):
        raise UnplannedRequestError
    layout = ViewLayout(project, view.name, keys, (), "")
    prefix = f"{view.projection.name_to_use()}__" if full_feature_names else ""
    value_types = {field.name: field.dtype.to_value_type() for field in view.features}
    kinds = [CONTRACT_TYPES.get(value_types[name].value) for name in features]
    return ReadPlan(
        view=view.name,
        names=tuple(prefix + name for name in features),
        value_types=tuple(value_types[name] for name in features),
        readers=tuple(column_reader(kind, MOMENTS) if kind else None for kind in kinds),
        ttl_s=view.ttl.total_seconds() if view.ttl else None,
        join_keys=tuple(name for name, _ in layout.sorted_keys),
        encode=HashReads(layout, features).commands,
    )
