"""How the rows of a training set are divided, e.g. into train and test: by time or by key, always equally for equal input.

Looking features up does not belong here (``lookup``).
"""

from collections.abc import Mapping
from datetime import datetime
from itertools import accumulate
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from feature_platform.core.compute.dialect import identifier, moment_literal, text_literal
from feature_platform.core.training.lookup import MOMENT
from feature_platform.errors import InvalidDataError


class Split(BaseModel):
    """Parts of a training set, in order.

    By ``key``, ``parts`` are shares that add up to 1, and all rows of one key are in the same part. By ``time``, they are the moments that
    parts end before, the last one open.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["key", "time"]
    shares: Mapping[str, Annotated[float, Field(gt=0, le=1)]] = Field(default_factory=dict)
    until: Mapping[str, datetime | None] = Field(default_factory=dict)
    seed: int = 0


def split_by_key(shares: Mapping[str, float], *, seed: int = 0) -> Split:
    """Divide by a hash of the keys.

    Raises:
        InvalidDataError: Shares are not positive, or do not add up to 1.
    """
    if not shares or any(not 0 < share <= 1 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        raise InvalidDataError(f"Shares {dict(shares)} do not divide rows; expected numbers above 0 that add up to 1.")
    return Split(by="key", shares=dict(shares), seed=seed)


def split_by_time(until: Mapping[str, datetime | None]) -> Split:
    """Divide by the label's moment: each part ends before its moment (exclusive), the last one has None.

    Raises:
        InvalidDataError: Moments do not grow, have no zone, or the last one is not None.
    """
    ends = list(until.values())
    moments = [end for end in ends[:-1] if end is not None and end.tzinfo is not None]
    if not ends or ends[-1] is not None or len(moments) != len(ends) - 1 or sorted(set(moments)) != moments:
        raise InvalidDataError(
            f"Moments {dict(until)} do not divide rows; expected growing moments with a zone, and None for the last part."
        )
    return Split(by="time", until=dict(until))


def split_sql(split: Split, *, keys: list[str]) -> str:
    """The SQL expression for the part of a row, over the columns of :func:`core.training.lookup.asked_schema`."""
    if split.by == "time":
        return _cases(
            {part: f"{identifier(MOMENT)} < {moment_literal(end)}" for part, end in split.until.items() if end}, list(split.until)
        )
    # MD5 and not the engine's own hash, which may change with its release. Lengths stand before keys, so that no two rows' keys look alike.
    parts = [f"strlen({identifier(key)}::VARCHAR) || ':' || {identifier(key)}::VARCHAR" for key in keys]
    place = f"md5_number_lower({' || '.join([text_literal(f'{split.seed}:'), *parts])})::DOUBLE / {2**64}.0"
    ends = dict(zip(split.shares, accumulate(split.shares.values()), strict=True))
    return _cases({part: f"{place} < {end!r}" for part, end in list(ends.items())[:-1]}, list(split.shares))


def _cases(conditions: Mapping[str, str], parts: list[str]) -> str:
    cases = " ".join(f"WHEN {condition} THEN {text_literal(part)}" for part, condition in conditions.items())
    return f"CASE {cases} ELSE {text_literal(parts[-1])} END" if cases else text_literal(parts[-1])
