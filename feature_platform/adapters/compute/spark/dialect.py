"""The compiled SQL in Spark's dialect: sqlglot translates it, apart from a few names that are translated here.

What a query computes does not belong here (``core.compute``). The suite that every engine inherits tests that both give equal bits.
"""

import sqlglot
from sqlglot import exp

_WHOLE = "DECIMAL(38, 0)"
_WIDE = {exp.DataType.Type.INT128, exp.DataType.Type.DECIMAL}
_CHOOSING = (exp.ArgMax, exp.ArgMin)
_RENAMED = {"EPOCH_US": "unix_micros", "ERROR": "raise_error"}


def to_spark(query: str) -> str:
    """One query of ``core.compute`` in Spark's SQL.

    >>> to_spark("SELECT sum(x) AS s FROM t")
    'SELECT SUM(CAST(x AS DECIMAL(38, 0))) AS s FROM t'
    """
    tree = sqlglot.parse_one(query, read="duckdb")
    for step in (_types, _scalars, _aggregates):  # one after the other: what is inside a node that a step replaces is not visited by it
        tree = tree.transform(step)
    return tree.sql(dialect="spark")


def _types(node: exp.Expr) -> exp.Expr:
    # Spark's widest integer has 64 bits; its decimals have 38 digits, which hold every sum that 128 bits do in practice.
    is_huge = isinstance(node, exp.DataType) and node.this == exp.DataType.Type.INT128
    return exp.DataType.build(_WHOLE) if is_huge else node


def _scalars(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Anonymous) and node.name.upper() in _RENAMED:
        return exp.func(_RENAMED[node.name.upper()], *node.expressions)
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.Floor):
        return _floored(node.this.this, node.to)
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.DPipe) and node.this.this == exp.Literal.string("0x"):
        digits = exp.func("conv", node.this.expression, exp.Literal.number(16), exp.Literal.number(10))
        return exp.cast(digits, node.to)
    return node


def _aggregates(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Filter) and isinstance(node.this, _CHOOSING):
        return exp.Filter(this=node.this, expression=exp.Where(this=exp.and_(node.expression.this, _is_there(node.this))))
    if isinstance(node, _CHOOSING) and not isinstance(node.parent, exp.Filter):
        return exp.Filter(this=node, expression=exp.Where(this=_is_there(node)))
    if isinstance(node, exp.Sum) and not (isinstance(node.this, exp.Cast) and node.this.to.this in _WIDE):
        return exp.Sum(this=exp.cast(node.this, _WHOLE))  # 64-bit sums wrap on Sail and fail on Spark
    return node


def _floored(value: exp.Expr, kind: exp.DataType) -> exp.Expr:
    """The floor of a double as a whole number: Spark's own is the nearest 64-bit integer where none is as great, which a cast refuses."""
    # From 2^53 on every double is whole.
    is_small = exp.LT(this=exp.func("abs", value.copy()), expression=exp.Literal.number("9007199254740992e0"))
    return exp.case().when(is_small, exp.cast(exp.func("floor", value.copy()), kind)).else_(exp.cast(value.copy(), kind))


def _is_there(node: exp.Expr) -> exp.Expr:
    """The condition that DuckDB's first and last have in themselves; Spark's would choose nulls, too."""
    return exp.not_(exp.Is(this=node.this.copy(), expression=exp.null()))
