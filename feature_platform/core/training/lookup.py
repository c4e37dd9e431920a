"""The lookup of one feature set's features for the rows of a training set, and the statuses of its answers.

Joining does not belong here.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import BinaryIO, Final, Literal, get_args

import pyarrow as pa

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.training.known import Known
from feature_platform.errors import InvalidDataError

ROW: Final = "__row"
"""Position of a label row, from 0: answers come in this order."""
MOMENT: Final = "__moment"
"""The label's moment, UTC microseconds."""

Status = Literal["found", "nothing_known", "unknown_entity", "past_ttl", "expired"]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
"""``nothing_known``: no version yet; ``unknown_entity``: the version has no such row; ``past_ttl``: it was too old to be served;
``expired``: retention removed the version that was known."""

OpenVersion = Callable[[str], AbstractContextManager[Callable[[], BinaryIO] | None]]
"""A version's verified Parquet file for the time of a ``with`` block, or None where retention removed it."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """Features of one feature set, to be looked up for label rows.

    ``names`` are the columns they get in the training set, in the order of ``features``, which are the fields of a version's file.
    """

    feature_set: str
    keys: tuple[pa.Field, ...]
    timestamp_field: str
    features: tuple[pa.Field, ...]
    names: tuple[str, ...]
    ttl: timedelta
    timeline: tuple[Known, ...]
    open_version: OpenVersion

    @property
    def version_name(self) -> str:
        return f"{self.feature_set}__version"

    @property
    def status_name(self) -> str:
        return f"{self.feature_set}__status"

    @property
    def schema(self) -> pa.Schema:
        """Shape of its answers: the features, the version, the status."""
        values = [pa.field(name, field.type) for name, field in zip(self.names, self.features, strict=True)]
        return pa.schema([*values, pa.field(self.version_name, pa.string()), pa.field(self.status_name, pa.string())])


def asked_schema(keys: Sequence[pa.Field]) -> pa.Schema:
    """Schema of the rows that lookups are made for: position, moment, and the keys of every feature set."""
    return pa.schema([pa.field(ROW, pa.int64()), pa.field(MOMENT, pa.timestamp("us", tz="UTC")), *keys])


def parse_features(listed: Sequence[str]) -> dict[str, list[str]]:
    """Feature set → its features, in the order they were named; ``*`` stands for all of a set.

    >>> parse_features(["user_features:f_a", "user_features:f_b", "items"])
    {'user_features': ['f_a', 'f_b'], 'items': ['*']}

    Raises:
        InvalidDataError: Nothing is named, or something twice.
    """
    found: dict[str, list[str]] = {}
    faults = [] if listed else ["no feature is named; expected <feature_set>:<feature>, or <feature_set> for all of its features"]
    for text in listed:
        feature_set, _, feature = text.partition(":")
        feature, named = feature or "*", found.setdefault(feature_set, [])
        if feature in named:
            faults.append(f"{text!r} is named twice")
        elif named and "*" in {feature, *named}:
            faults.append(f"{text!r} is named twice: {feature_set!r} alone stands for all of its features; expected it or single ones")
        named.append(feature)
    if faults:
        raise InvalidDataError("The features of the training set cannot be used:", faults)
    return found


def chosen_features(contract: Contract, names: Sequence[str]) -> tuple[pa.Field, ...]:
    """Fields of the features that are named.

    Raises:
        InvalidDataError: The contract has no such feature.
    """
    known = {column.name: pa.field(column.name, column.arrow_type) for column in contract.feature_columns}
    wanted = list(known) if list(names) == ["*"] else list(names)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InvalidDataError(
            f"Feature set {contract.feature_set!r} has no feature {', '.join(map(repr, unknown))}; it has {', '.join(known)}."
        )
    return tuple(known[name] for name in wanted)
