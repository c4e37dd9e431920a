"""The closed set of column types a contract may name, and their Arrow equivalents.

What Feast or SQL call a type does not belong here; their adapters map from these names.
"""

import re
from types import MappingProxyType
from typing import Final

import pyarrow as pa

SCALARS: Final = MappingProxyType(
    {
        "int32": pa.int32(),
        "int64": pa.int64(),
        "float32": pa.float32(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "string": pa.string(),
        "bytes": pa.binary(),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "date": pa.date32(),
    }
)
"""Scalar contract types. Timestamps are UTC microseconds: nanoseconds break readers, and zones are resolved at validation."""

KEY_TYPES: Final = ("int32", "int64", "string")
"""Types a primary key may have: what entity keys can carry exactly."""

NUMERIC: Final = frozenset({"int32", "int64", "float32", "float64"})

_LIST: Final = re.compile(r"list<(\w+)>")
_LIST_ELEMENTS: Final = frozenset(SCALARS)


def element_type(name: str) -> str | None:
    """The element type of a list type's name, or None for a scalar or unknown name.

    >>> element_type("list<int64>")
    'int64'
    """
    match = _LIST.fullmatch(name)
    return match[1] if match and match[1] in _LIST_ELEMENTS else None


def is_known(name: str) -> bool:
    """Whether a contract may name this type."""
    return name in SCALARS or element_type(name) is not None


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type of a contract type's name.

    >>> arrow_type("list<float64>")
    ListType(list<element: double>)
    """
    element = element_type(name)
    return pa.list_(pa.field("element", SCALARS[element])) if element else SCALARS[name]
