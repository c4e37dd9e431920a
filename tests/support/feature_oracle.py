"""Features computed the slow and obvious way, from Python values alone: what every engine is compared with."""

import ast
import hashlib
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from feature_platform.core.contract.feature_set import Aggregation, Column, Comparison, Contract
from feature_platform.core.contract.source import SourceColumn, SourceContract

Event = Mapping[str, Any]
MICROSECOND = timedelta(microseconds=1)


def features_of(contract: Contract, source: SourceContract, *, as_of: datetime, events: Sequence[Event]) -> list[dict[str, Any]]:
    """One row per key, sorted by key."""
    return features_of_several(contract, [(source, events)], as_of=as_of)


def features_of_several(
    contract: Contract, read: Sequence[tuple[SourceContract, Sequence[Event]]], *, as_of: datetime
) -> list[dict[str, Any]]:
    """The same of several sources, each with its events: a row for each key that one of them has in its longest window."""
    sources, keys = {source.source: source for source, _ in read}, set()
    events = {source.source: own for source, own in read}
    for name, source in sources.items():
        windows = [c.aggregation.window_days for c in contract.columns if c.aggregation and c.aggregation.source in {"", name}]
        keys |= {tuple(event[key] for key in contract.primary_keys) for event in within(events[name], source, as_of, max(windows))}
    return [_row(contract, sources, as_of, key, events) for key in sorted(keys)]


def _row(
    contract: Contract, sources: Mapping[str, SourceContract], as_of: datetime, key: tuple[Any, ...], events: Mapping[str, Sequence[Event]]
) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(contract.primary_keys, key, strict=True))
    for column in contract.all_columns:
        if column.name == contract.timestamp_field:
            row[column.name] = as_of
        elif column.aggregation is not None:
            name = column.aggregation.source or contract.source
            own = [event for event in events[name] if tuple(event[name] for name in contract.primary_keys) == key]
            row[column.name] = _feature(column, column.aggregation, sources[name], as_of, own)
    for column in contract.columns:
        if column.expression is not None:
            row[column.name] = _derived(column, row)
    return {column.name: row[column.name] for column in contract.all_columns}


def _derived(column: Column, row: Mapping[str, Any]) -> Any:
    """A derived column, by Python's own arithmetic of floats."""
    value = _evaluated(ast.parse(str(column.expression), mode="eval").body, row)
    if value is None or not math.isfinite(value):
        return None
    if column.type.startswith("int"):
        return math.floor(value)
    return _single(value) if column.type == "float32" else value + 0.0


def _single(value: float) -> float | None:
    """The nearest float of 32 bits; None where there is none."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return None


def _evaluated(node: Any, row: Mapping[str, Any]) -> float | None:
    if isinstance(node, ast.Constant):
        assert isinstance(node.value, int | float)
        return float(node.value)
    if isinstance(node, ast.Name):
        return None if row[node.id] is None else float(row[node.id])
    if isinstance(node, ast.UnaryOp):
        value = _evaluated(node.operand, row)
        return None if value is None else -value
    if isinstance(node, ast.BinOp):
        left, right = _evaluated(node.left, row), _evaluated(node.right, row)
        if left is None or right is None or (isinstance(node.op, ast.Div) and right == 0):
            return None
        return {ast.Add: left.__add__, ast.Sub: left.__sub__, ast.Mult: left.__mul__, ast.Div: left.__truediv__}[type(node.op)](right)
    values = [_evaluated(argument, row) for argument in node.args]
    if node.func.id == "coalesce":
        return next((value for value in values if value is not None), None)
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    if node.func.id == "bucket":
        return float(sum(known[0] >= bound for bound in known[1:]))
    functions: dict[str, Callable[..., float]] = {"abs": abs, "floor": math.floor, "min": min, "max": max}
    return float(functions[node.func.id](*known))


def to_twelve_digits(rows: Sequence[Mapping[str, Any]], contract: Contract) -> list[dict[str, Any]]:
    """The rows, with standard deviations as far as they are held to: their last step is a square root of a rounded quotient."""
    names = {column.name for column in contract.columns if column.aggregation and column.aggregation.function == "stddev"}
    return [{name: float(f"{v:.12g}") if name in names and v is not None else v for name, v in row.items()} for row in rows]


def within(events: Sequence[Event], source: SourceContract, as_of: datetime, days: int) -> list[Event]:
    return [event for event in events if as_of - timedelta(days=days) <= event[source.event_time] < as_of]


def _feature(column: Column, aggregation: Aggregation, source: SourceContract, as_of: datetime, own: Sequence[Event]) -> Any:
    events = [event for event in within(own, source, as_of, aggregation.window_days) if _meets(event, aggregation)]
    if aggregation.function == "count":
        return len(events)
    if aggregation.function in {"age_of_first", "age_of_last"}:
        return _age(column, source, as_of, in_order(events, source)[:: 1 if aggregation.function == "age_of_first" else -1])
    taken = next(item for item in source.columns if item.name == aggregation.column)
    present = [event for event in events if event[taken.name] is not None]
    values = [event[taken.name] for event in present]
    if aggregation.function == "approx_distinct":
        return _hyper_log_log({_hashed_text(value, taken) for value in values})
    if not values:
        return None
    if aggregation.function == "min":
        return min(values)
    if aggregation.function == "max":
        return max(values)
    if aggregation.function in {"first", "last"}:
        return in_order(present, source)[0 if aggregation.function == "first" else -1][taken.name]
    return _moment(column, aggregation.function, taken, values)


def in_order(events: Sequence[Event], source: SourceContract) -> list[Event]:
    """Events in the order of validated events: event time, then all columns in contract order, nulls last."""
    names = [source.event_time, *(column.name for column in source.columns)]
    return sorted(events, key=lambda event: [(event[name] is None, event[name] if event[name] is not None else 0) for name in names])


def _age(column: Column, source: SourceContract, as_of: datetime, events: Sequence[Event]) -> float | int | None:
    if not events:
        return None
    age_us = (as_of - events[0][source.event_time]) // MICROSECOND
    return age_us / 1_000_000 if column.type == "float64" else age_us // 1_000_000


def _meets(event: Event, aggregation: Aggregation) -> bool:
    for name, rule in aggregation.where.items():
        value = event[name]
        if value is None:
            return False
        if isinstance(rule, Comparison):
            bounds = [
                rule.gt is None or value > rule.gt,
                rule.ge is None or value >= rule.ge,
                rule.lt is None or value < rule.lt,
                rule.le is None or value <= rule.le,
                rule.ne is None or value != rule.ne,
            ]
            if not all(bounds):
                return False
        elif value not in (rule if isinstance(rule, list) else [rule]):
            return False
    return True


def units_of(value: float, decimals: int) -> int:
    """Whole multiples of 10^-decimals of the product as a double holds it, halves up as a double adds them."""
    scaled = value * float(10**decimals)
    return math.floor(scaled + 0.5) if abs(scaled) < 2**52 else int(scaled)


def _moment(column: Column, function: str, taken: SourceColumn, values: Sequence[Any]) -> Any:
    decimals = taken.decimals if taken.type.startswith("float") else 0
    units = [units_of(value, decimals) for value in values] if taken.type.startswith("float") else list(values)
    total, count = sum(units), len(units)
    if function == "sum" and column.type.startswith("int"):
        return int(Fraction(total, 10**decimals))
    if function == "sum":
        return float(total) / float(10**decimals)
    if function == "mean":
        return float(total) / (float(count) * float(10**decimals))
    if count < 2:
        return None
    mean = Fraction(total, count)
    variance = sum((unit - mean) ** 2 for unit in units) / (count - 1)
    return math.sqrt(variance) / 10**decimals


def _hashed_text(value: Any, taken: SourceColumn) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(units_of(value, taken.decimals))
    if isinstance(value, bytes):
        return value.hex().upper()
    if isinstance(value, datetime):
        return str((value - datetime(1970, 1, 1, tzinfo=value.tzinfo)) // MICROSECOND)
    return str(value)


def _hyper_log_log(texts: set[str]) -> int:
    registers = [0] * 16_384
    for text in texts:
        hashed = hashlib.md5(text.encode()).hexdigest()
        register, bits = int(hashed[:4], 16) % 16_384, int(hashed[4:17], 16) % 2**50
        rank = next((place + 1 for place in range(50) if bits >> place & 1), 51)
        registers[register] = max(registers[register], rank)
    empty = registers.count(0)
    raw = 0.7213 / (1 + 1.079 / 16_384) * 16_384 * 16_384 / float(sum(Fraction(1, 2**rank) for rank in registers))
    return math.floor((16_384 * math.log(16_384 / empty) if raw <= 2.5 * 16_384 and empty else raw) + 0.5)
