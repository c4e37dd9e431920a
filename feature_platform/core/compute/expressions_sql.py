"""A derived column's expression compiled to SQL, in doubles, so that every engine computes the same bits.

Null gives null, except in ``coalesce``; a division by zero is null, and so is a result that is not finite. What an expression may contain
does not belong here (``core.contract.expressions``).
"""

import ast
from collections.abc import Mapping
from typing import Final

from feature_platform.core.contract.expressions import is_chained, parsed

_LARGEST: Final = "1.7976931348623157e308"
_SIGNS: Final = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}


def expression_sql(text: str, columns: Mapping[str, str]) -> str:
    """The SQL of an expression: a finite double or null.

    Args:
        text: An expression without faults.
        columns: Column → its SQL.
    """
    value = _sql(parsed(text), columns)
    # Adding zero makes a negative zero positive. The comparison is false for infinities and for NaN, which every engine sorts last.
    return f"CASE WHEN abs({value}) <= {_LARGEST} THEN {value} + 0e0 END"


def _sql(node: ast.expr, columns: Mapping[str, str]) -> str:
    if isinstance(node, ast.Constant):
        return f"CAST('{float(node.value)!r}' AS DOUBLE)"  # type: ignore[arg-type]  # a number, as its faults were looked for
    if isinstance(node, ast.Name):
        return f"CAST({columns[node.id]} AS DOUBLE)"
    if isinstance(node, ast.UnaryOp):
        return f"(-{_sql(node.operand, columns)})"
    if isinstance(node, ast.BinOp):
        left, right = _sql(node.left, columns), _sql(node.right, columns)
        # A pair of parentheses for each of 40 values would exhaust the stack of the translation to Spark's SQL.
        left = left[1:-1] if is_chained(node) else left
        return f"({left} / nullif({right}, 0e0))" if isinstance(node.op, ast.Div) else f"({left} {_SIGNS[type(node.op)]} {right})"
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    return _call(node.func.id, [_sql(argument, columns) for argument in node.args])


def _call(name: str, values: list[str]) -> str:
    listed = ", ".join(values)
    if name == "bucket":
        return f"({' + '.join(f'CAST({values[0]} >= {bound} AS DOUBLE)' for bound in values[1:])})"
    if name in {"min", "max"}:
        # Engines ignore nulls in least and greatest; here a null operand makes the result null.
        known = " AND ".join(f"{value} IS NOT NULL" for value in values)
        return f"CASE WHEN {known} THEN {'least' if name == 'min' else 'greatest'}({listed}) END"
    return f"{name}({listed})"
