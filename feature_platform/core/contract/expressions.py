"""Expressions of derived columns: ratios, differences and buckets over other columns of the set, checked when a contract is loaded.

The grammar is a part of Python's: numbers, names of aggregated columns, ``+ - * /``, and the functions of :data:`FUNCTIONS`. Compiling an
expression to SQL does not belong here (``core.compute.expressions_sql``).
"""

import ast
import keyword
import math
import re
from collections.abc import Collection, Iterator
from itertools import pairwise
from types import MappingProxyType
from typing import Final

FUNCTIONS: Final = MappingProxyType(
    {"abs": (1, 1), "floor": (1, 1), "min": (2, 16), "max": (2, 16), "coalesce": (2, 16), "bucket": (2, 65)}
)
"""Function → the least and the most arguments that it takes."""

OPERATORS: Final = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_LONGEST: Final = 1000
_DEEPEST: Final = 12
"""Functions and parentheses within each other; at three times as many Python's stack is too small to translate the SQL for Spark."""
_MOST_VALUES: Final = 256
"""Columns and numbers in the SQL of an expression: some 25 KB of it, or 100 KB for a column of integers, whose range is compared too."""


def parsed(text: str) -> ast.expr:
    """The syntax tree of an expression that has no fault.

    Raises:
        SyntaxError: It is no expression.
    """
    return ast.parse(text.strip(), mode="eval").body


def is_chained(node: ast.BinOp) -> bool:
    """Whether the left operand needs no parentheses: sums go on from left to right, and so do products."""
    return isinstance(node.left, ast.BinOp) and isinstance(node.left.op, ast.Add | ast.Sub) == isinstance(node.op, ast.Add | ast.Sub)


def names_of(text: str) -> list[str]:
    """The columns that an expression reads, each once, in order."""
    return list(dict.fromkeys(node.id for node in _operands(parsed(text)) if isinstance(node, ast.Name)))


def expression_faults(text: str, *, numeric: Collection[str]) -> list[str]:
    """Everything in an expression that cannot be computed.

    Args:
        numeric: The numeric aggregated columns of the feature set, which it may read.
    """
    if len(text) > _LONGEST:
        return [f"found {len(text)} characters, expected at most {_LONGEST}"]
    try:
        tree = parsed(text)
        return _size_faults(tree) or list(dict.fromkeys(_faults(tree, numeric)))
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        words = [word for word in re.findall(r"[A-Za-z_]\w*", text) if keyword.iskeyword(word)]
        cause = "it has a line break" if len(text.strip().splitlines()) > 1 else error.__class__.__name__
        cause = f"{words[0]!r} is a keyword of Python; give a column of this name another one" if words else cause
        return [f"found {text!r}, expected an expression such as 'f_a / f_b' ({cause})"]


def _size_faults(tree: ast.expr) -> list[str]:
    """Whether the SQL of an expression nests too deep or grows too long; without recursion, so that no expression exhausts the stack."""
    deepest = values = 0
    waiting = [(tree, 0, 1)]
    while waiting:
        node, depth, times = waiting.pop()
        deepest = max(deepest, depth)
        if isinstance(node, ast.BinOp):
            waiting += [(node.left, depth if is_chained(node) else depth + 1, times), (node.right, depth + 1, times)]
        elif isinstance(node, ast.UnaryOp):
            waiting.append((node.operand, depth + 1, times))
        elif isinstance(node, ast.Call):
            waiting += [(argument, depth + 1, times * _repeats(node, place)) for place, argument in enumerate(node.args)]
        else:
            values += times
    faults = [f"nests {deepest} deep, expected at most {_DEEPEST}"] if deepest > _DEEPEST else []
    told = "a value counts twice for each min and max around it, and once for each bound of a bucket"
    return faults + ([f"computes with {values} values, expected at most {_MOST_VALUES}: {told}"] if values > _MOST_VALUES else [])


def _repeats(call: ast.Call, place: int) -> int:
    """How often the SQL of a call has an argument."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    return 2 if name in {"min", "max"} else len(call.args) - 1 if name == "bucket" and place == 0 else 1


def _faults(node: ast.expr, numeric: Collection[str]) -> Iterator[str]:
    if isinstance(node, ast.Name):
        if node.id not in numeric:
            yield f"{node.id!r} is not an aggregated column of numbers; expected one of {', '.join(numeric) or 'none: there is none'}"
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool) or not isinstance(node.value, int | float) or not math.isfinite(node.value):
            yield f"found {node.value!r}, expected a finite number"
    elif isinstance(node, ast.Call):
        yield from _call_faults(node, numeric)
    elif _is_arithmetic(node):
        for operand in ast.iter_child_nodes(node):
            if isinstance(operand, ast.expr):
                yield from _faults(operand, numeric)
    else:
        yield f"{ast.unparse(node)!r} is not known; expected + - * /, numbers, columns and {', '.join(FUNCTIONS)}"


def _is_arithmetic(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp | ast.UnaryOp) and isinstance(node.op, (*OPERATORS, ast.USub))


def _call_faults(node: ast.Call, numeric: Collection[str]) -> Iterator[str]:
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    least, most = FUNCTIONS.get(name, (0, 0))
    if name not in FUNCTIONS:
        yield f"function {name!r} is not known; expected one of {', '.join(FUNCTIONS)}"
    elif node.keywords or not least <= len(node.args) <= most:
        yield f"{name} has {len(node.args) + len(node.keywords)} argument(s); expected {least if least == most else f'{least} to {most}'}"
    elif name == "bucket" and not _are_rising(node.args[1:]):
        yield f"the bounds of {ast.unparse(node)!r} are not numbers that rise; expected e.g. bucket(f_a, 1, 10, 100)"
    for argument in node.args:
        yield from _faults(argument, numeric)


def _are_rising(bounds: list[ast.expr]) -> bool:
    try:
        values = [ast.literal_eval(bound) for bound in bounds]
        return all(isinstance(value, int | float) for value in values) and all(a < b for a, b in pairwise(values))
    except (ValueError, TypeError, SyntaxError):
        return False


def _operands(node: ast.expr) -> Iterator[ast.AST]:
    """Every node except the names of functions."""
    yield node
    children = node.args if isinstance(node, ast.Call) else [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    for child in children:
        yield from _operands(child)
