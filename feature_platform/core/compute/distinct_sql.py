"""Approximate distinct counts that are the same on every engine: HyperLogLog spelled out in SQL over MD5.

A value's text is hashed by MD5; its lowest 14 bits choose one of 16,384 registers, the rank of the lowest set bit among 50 more fills it.
Registers are kept sparsely, one row each, so that a key costs at most as many rows as it has distinct values. The relative standard error
is 0.8%; up to a few hundred values the count is nearly always exact.
"""

import math
from typing import Final

from feature_platform.core.compute.dialect import identifier, identifiers
from feature_platform.core.contract.source import SourceColumn

REGISTERS: Final = 16_384
"""m: a power of two."""

RANK_BITS: Final = 50
"""Bits of the 64-bit half of MD5 beside the 14 that choose the register."""

# Flajolet et al. 2007, "HyperLogLog": the bias constant for many registers, and where linear counting is better.
ALPHA: Final = 0.7213 / (1 + 1.079 / REGISTERS)
LINEAR_LIMIT: Final = 2.5 * REGISTERS

# No column of a contract can be called like these: a key named "hash" must not be taken for ours.
ESTIMATE: Final = '"#estimate"'
_HASH, _BITS, _REGISTER, _RANK, _FILLED, _WEIGHT = (f'"#{name}"' for name in ("hash", "bits", "register", "rank", "filled", "weight"))


def distinct_query(*, column: SourceColumn, keys: list[str], condition: str) -> str:
    """The query for each key's estimated number of distinct values of a column, as :data:`ESTIMATE`.

    Shape: one row per key that has a value; the events meet ``condition``.
    """
    # MD5 because every engine has it and gives the same bytes; `hash()` is each engine's own and changes between releases.
    # Registers are merged by `max`, so sketches of days could be merged into those of windows.
    names = identifiers(keys)
    low = f"md5_number_lower({_text(column)})"
    rank = f"CASE WHEN {_BITS} = 0 THEN {RANK_BITS + 1} ELSE bit_count(xor({_BITS}, {_BITS} - 1)) END"
    return (
        f"SELECT {names}, CAST(round({_estimate()}) AS BIGINT) AS {ESTIMATE}\n"
        f"FROM (SELECT {names}, count(*) AS {_FILLED}, sum(CAST(1 AS BIGINT) << CAST({RANK_BITS + 1} - {_RANK} AS INTEGER)) AS {_WEIGHT}\n"
        f"  FROM (SELECT {names}, {_REGISTER}, max({_RANK}) AS {_RANK}\n"
        f"    FROM (SELECT {names}, {_REGISTER}, {rank} AS {_RANK}\n"
        f"      FROM (SELECT {names}, CAST({_HASH} & {REGISTERS - 1} AS INTEGER) AS {_REGISTER},\n"
        f"          CAST(({_HASH} >> {int(math.log2(REGISTERS))}) & {2**RANK_BITS - 1} AS BIGINT) AS {_BITS}\n"
        f"        FROM (SELECT {names}, {low} AS {_HASH} FROM events WHERE {condition})))\n"
        f"    GROUP BY {names}, {_REGISTER})\n"
        f"  GROUP BY {names})"
    )


def _estimate() -> str:
    """Linear counting while registers are empty and the estimate is small, else the harmonic mean of the registers."""
    # Σ 2^-rank as a sum of integers scaled by 2^51: added in any order it gives the same bits. Empty registers count 1 each.
    harmonic = f"(CAST({_WEIGHT} AS DOUBLE) / {float(2 ** (RANK_BITS + 1))!r}e0 + CAST({REGISTERS} - {_FILLED} AS DOUBLE))"
    raw = f"({ALPHA * REGISTERS * REGISTERS!r}e0 / {harmonic})"
    linear = f"({REGISTERS}e0 * ln({REGISTERS}e0 / CAST({REGISTERS} - {_FILLED} AS DOUBLE)))"
    return f"CASE WHEN {raw} <= {LINEAR_LIMIT!r}e0 AND {_FILLED} < {REGISTERS} THEN {linear} ELSE {raw} END"


def _text(column: SourceColumn) -> str:
    """The text that is hashed: a number's whole units or digits, a moment's microseconds, a list's own text."""
    name = identifier(column.name)
    if column.type == "string":
        return name
    if column.type.startswith("float"):
        return f"CAST(CAST(CAST({name} AS DOUBLE) * 1e{column.decimals} AS BIGINT) AS VARCHAR)"
    if column.type == "timestamp":
        return f"CAST(epoch_us({name}) AS VARCHAR)"
    return f"hex({name})" if column.type == "bytes" else f"CAST({name} AS VARCHAR)"
