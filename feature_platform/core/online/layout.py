"""Under which keys and fields one feature view's values lie in the online store: stock Feast's layout, written down once.

Feast keeps one Redis hash per entity and project. The key is the entity key (serialization version 3) followed by the project; every
feature of every view on that entity is one field. How values become bytes does not belong here (``core.online.encoding``), nor the
platform's own keys beside the hashes (``core.online.marker``).

Source: Feast 0.67, ``infra/key_encoding_utils.py`` (``serialize_entity_key``), ``infra/online_stores/redis.py`` and ``helpers.py``.
"""

import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import mmh3

from feature_platform.errors import ConfigurationError, ContractError

if TYPE_CHECKING:
    from feature_platform.core.contract.feature_set import Contract  # which loads Arrow; a server that only reads does without

# Not read from Feast: importing it takes seconds, and a changed layout has to be examined by a person, not adopted silently.
KNOWN_FEAST: Final = "0.67"
"""The Feast release line whose layout this module describes."""

# Feast's ValueType numbers of the types that a contract allows for keys.
_KEY_NUMBERS: Final = MappingProxyType({"string": 2, "int32": 3, "int64": 4})

FEAST_TYPES: Final = MappingProxyType(
    {
        "bytes": ("Bytes", 1),
        "string": ("String", 2),
        "int32": ("Int32", 3),
        "int64": ("Int64", 4),
        "float64": ("Float64", 5),
        "float32": ("Float32", 6),
        "bool": ("Bool", 7),
        "timestamp": ("UnixTimestamp", 8),
        "date": ("UnixTimestamp", 8),
        "list<bytes>": ("Array(Bytes)", 11),
        "list<string>": ("Array(String)", 12),
        "list<int32>": ("Array(Int32)", 13),
        "list<int64>": ("Array(Int64)", 14),
        "list<float64>": ("Array(Float64)", 15),
        "list<float32>": ("Array(Float32)", 16),
        "list<bool>": ("Array(Bool)", 17),
        "list<timestamp>": ("Array(UnixTimestamp)", 18),
    }
)
"""Contract type → Feast's type and its field number in Feast's ``Value`` message.

Feast has no date: it writes midnight UTC as a Unix timestamp, and so do we. It refuses a list of dates, and so do we. Timestamps are
served in whole seconds: fractions are dropped (towards the past; inside lists towards 1970, as Feast does).
"""

CONTRACT_TYPES: Final = MappingProxyType({number: kind for kind, (_, number) in FEAST_TYPES.items() if kind != "date"})
"""Feast's number of a value type → contract type, for every type that a contract allows."""

NULL_TIMESTAMP: Final = -(1 << 63)
"""What Feast stores for a null in a timestamp column (NumPy's NaT)."""


@dataclass(frozen=True, slots=True)
class ViewLayout:
    """One feature view of one Feast project, and the bytes of its keys and fields.

    ``keys`` and ``features`` are (column, contract type) in contract order.
    """

    project: str
    view: str
    keys: tuple[tuple[str, str], ...]
    features: tuple[tuple[str, str], ...]
    timestamp_field: str

    @property
    def sorted_keys(self) -> tuple[tuple[str, str], ...]:
        """Join keys in the order of the entity key: by name."""
        return tuple(sorted(self.keys))

    @property
    def key_prefix(self) -> bytes:
        """What every entity key of this view begins with: how many join keys, then their names."""
        names = [name.encode() for name, _ in self.sorted_keys]
        return struct.pack("<I", len(names)) + b"".join(struct.pack("<II", 2, len(name)) + name for name in names)

    @property
    def key_suffix(self) -> bytes:
        return self.project.encode()

    @property
    def timestamp_key(self) -> bytes:
        return timestamp_key(self.view)

    @property
    def fields(self) -> tuple[bytes, ...]:
        """Every field of this view: the event timestamp's, then one per feature in contract order."""
        return (self.timestamp_key, *(feature_key(self.view, name) for name, _ in self.features))


def timestamp_key(view: str) -> bytes:
    """The hash field of a view's event timestamp.

    >>> timestamp_key("user_features")
    b'_ts:user_features'
    """
    return f"_ts:{view}".encode()


def feature_key(view: str, feature: str) -> bytes:
    """The hash field of one feature: MurmurHash3 (32 bits) of ``view:feature``, little-endian.

    >>> feature_key("user_features", "f_total_events_7d").hex()
    '8deb425f'
    """
    # 32 bits: two features of one entity can share a field and would overwrite each other; `view_layout` refuses that.
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def key_type_number(kind: str) -> int:
    """Feast's number of a join key's type, as it stands in the entity key."""
    return _KEY_NUMBERS[kind]


def view_layout(contract: "Contract", *, project: str) -> ViewLayout:
    """The layout of a contract's feature view.

    Raises:
        ContractError: A feature's type has no Feast equivalent, or two names share a field.
    """
    features = tuple((column.name, column.type) for column in contract.feature_columns)
    kinds = {column.name: column.type for column in contract.all_columns}
    keys = tuple((name, kinds[name]) for name in contract.primary_keys)
    faults = list(_type_faults(keys, features)) + list(_collisions(contract.feature_set, features))
    if faults:
        raise ContractError(f"{contract.feature_set}: cannot be served online by Feast {KNOWN_FEAST}", faults)
    return ViewLayout(project, contract.feature_set, keys, features, contract.timestamp_field)


def refuse_unknown_feast(version: str) -> None:
    """Refuse an installed Feast whose layout is not known.

    Raises:
        ConfigurationError: ``version`` (of the installed Feast) is not of the known release line.
    """
    if version.split(".")[:2] != KNOWN_FEAST.split("."):
        raise ConfigurationError(
            f"Feast {version} is installed, but only the online layout of Feast {KNOWN_FEAST} is known.",
            [f"expected feast=={KNOWN_FEAST}.*, found {version}; pin it, or characterise the new layout and extend core.online.layout"],
        )


def _type_faults(keys: Iterable[tuple[str, str]], features: Iterable[tuple[str, str]]) -> Iterable[str]:
    from feature_platform.core.contract import types

    for name, kind in keys:
        if kind not in _KEY_NUMBERS:
            yield f"primary key {name!r}: found type {kind!r}, expected one of {', '.join(types.KEY_TYPES)}"
    for name, kind in features:
        if kind not in FEAST_TYPES:
            yield f"column {name!r}: Feast cannot hold type {kind!r}; expected one of {', '.join(FEAST_TYPES)}"


def _collisions(view: str, features: Iterable[tuple[str, str]]) -> Iterable[str]:
    names = [name for name, _ in features]
    counts = Counter(feature_key(view, name) for name in names)
    for field, count in counts.items():
        if count > 1:
            shared = [name for name in names if feature_key(view, name) == field]
            yield f"columns {', '.join(shared)} hash to the same online field {field.hex()}; rename one of them"
