"""Approximate distinct counts that are the same on every engine: HyperLogLog written in SQL over MD5.

A value's text is hashed by MD5 and the hash is read as hexadecimal text, which is the same on every engine: the lowest 14 bits of its first
4 digits choose one of 16,384 registers; the register keeps the greatest rank of the lowest set bit among the lowest 50 bits of the next 13
digits. Only filled registers have a row, so that a key costs at most as many rows as it has distinct values. Registers merge by their
greatest rank, so days merge into windows. The relative standard error is 0.8%; up to a few hundred values the count is nearly always exact.
Running SQL does not belong here.
"""

from collections.abc import Sequence
from typing import Final

from feature_platform.core.compute.dialect import identifier, identifiers, units
from feature_platform.core.contract.source import SourceColumn

REGISTERS: Final = 16_384
"""m: a power of two."""

RANK_BITS: Final = 50
"""Bits of the hash whose rank a register keeps, besides the 14 that choose the register."""

# Flajolet et al. 2007, "HyperLogLog": the bias constant for many registers, and where linear counting is better.
ALPHA: Final = 0.7213 / (1 + 1.079 / REGISTERS)
LINEAR_LIMIT: Final = 2.5 * REGISTERS

# No column of a contract can have a name with "#", so a key that is called "hash" cannot be confused with ours.
ESTIMATE: Final = '"#estimate"'
PACKED: Final = '"#packed"'
"""A key's registers in one list, as a tile keeps them."""
_HASH, _BITS, _REGISTER, _RANK, _FILLED, _WEIGHT = (f'"#{name}"' for name in ("hash", "bits", "register", "rank", "filled", "weight"))
_RANK_UNITS: Final = 64
"""A register and its rank lie in one integer: register times this plus rank."""


def registers_of_events(column: SourceColumn, *, keys: Sequence[str], events: str, condition: str) -> str:
    """The registers that each key's values fill, each with its rank.

    Shape: one row per key and register.

    Args:
        column: The column whose values are counted; nulls do not count.
        keys: The columns that are grouped by.
        events: The relation that is read.
        condition: Selects the rows that count; empty for all.
    """
    # MD5 because every engine has it and gives the same text; `hash()` is each engine's own and changes between releases.
    names = identifiers(keys)
    rank = f"CASE WHEN {_BITS} = 0 THEN {RANK_BITS + 1} ELSE bit_count(xor({_BITS}, {_BITS} - 1)) END"
    present = " AND ".join(part for part in (f"{identifier(column.name)} IS NOT NULL", condition) if part)
    return (
        f"SELECT {names}, {_REGISTER}, max({_RANK}) AS {_RANK}\n"
        f"FROM (SELECT {names}, {_REGISTER}, {rank} AS {_RANK}\n"
        f"  FROM (SELECT {names}, CAST('0x' || substr({_HASH}, 1, 4) AS INTEGER) & {REGISTERS - 1} AS {_REGISTER},\n"
        f"      CAST('0x' || substr({_HASH}, 5, 13) AS BIGINT) & {2**RANK_BITS - 1} AS {_BITS}\n"
        f"    FROM (SELECT {names}, md5({_text(column)}) AS {_HASH} FROM {events} WHERE {present})))\n"
        f"GROUP BY {names}, {_REGISTER}"
    )


def packed(registers: str, *, keys: Sequence[str]) -> str:
    """A day's registers as one list for each key, :data:`PACKED`: what a tile keeps."""
    names = identifiers(keys)
    item = f"CAST({_REGISTER} * {_RANK_UNITS} + {_RANK} AS INTEGER)"
    return f"SELECT {names}, list_sort(list({item})) AS {PACKED}\nFROM (\n{registers}\n)\nGROUP BY {names}"


def registers_of_tiles(tile: str, *, keys: Sequence[str], tiles: str, condition: str) -> str:
    """As :func:`registers_of_events`, from the lists that the tiles of several days keep in a column."""
    names, where = identifiers(keys), f" WHERE {condition}" if condition else ""
    return (
        f"SELECT {names}, {PACKED} // {_RANK_UNITS} AS {_REGISTER}, max({PACKED} % {_RANK_UNITS}) AS {_RANK}\n"
        f"FROM (SELECT {names}, unnest({tile}) AS {PACKED} FROM {tiles}{where})\n"
        f"GROUP BY {names}, {_REGISTER}"
    )


def estimated(registers: str, *, keys: Sequence[str]) -> str:
    """The query for each key's estimated number of distinct values, as :data:`ESTIMATE`; one row per key that has a value."""
    names = identifiers(keys)
    weight = f"sum(CAST(1 AS BIGINT) << CAST({RANK_BITS + 1} - {_RANK} AS INTEGER))"
    return (
        f"SELECT {names}, CAST(floor({_estimate()} + 0.5e0) AS BIGINT) AS {ESTIMATE}\n"
        f"FROM (SELECT {names}, count(*) AS {_FILLED}, {weight} AS {_WEIGHT}\n  FROM (\n{registers}\n  )\n  GROUP BY {names})"
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
        return f"CAST({units(name, decimals=column.decimals)} AS VARCHAR)"
    if column.type == "timestamp":
        return f"CAST(epoch_us({name}) AS VARCHAR)"
    return f"hex({name})" if column.type == "bytes" else f"CAST({name} AS VARCHAR)"
