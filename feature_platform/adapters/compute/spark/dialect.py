"""The compiled SQL in Spark's dialect: sqlglot translates it, apart from a few names that are translated here.

What a query computes does not belong here (``core.compute``). The suite that every engine inherits tests that both give equal bits.
"""

import sqlglot
from sqlglot import exp

_WHOLE = "DECIMAL(38, 0)"
_CHOOSING = (exp.ArgMax, exp.ArgMin)
_RENAMED = {"EPOCH_US": "unix_micros", "ERROR": "raise_error"}


def to_spark(query: str) -> str:
    """One query of ``core.compute`` in Spark's SQL.

    >>> to_spark("SELECT sum(x) AS s FROM t")
    'SELECT SUM(CAST(x AS DECIMAL(38, 0))) AS s FROM t'
    """
    tree = sqlglot.parse_one(query, read="duckdb").transform(_types).transform(_functions)
    return tree.sql(dialect="spark")


def _types(node: exp.Expr) -> exp.Expr:
    # Spark's widest integer has 64 bits; its decimals have 38 digits, which hold every sum that 128 bits do in practice.
    is_huge = isinstance(node, exp.DataType) and node.this == exp.DataType.Type.INT128
    return exp.DataType.build(_WHOLE) if is_huge else node


def _functions(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Anonymous) and node.name.upper() in _RENAMED:
        return exp.func(_RENAMED[node.name.upper()], *node.expressions)
    if isinstance(node, exp.Filter) and isinstance(node.this, _CHOOSING):
        return exp.Filter(this=node.this, expression=exp.Where(this=exp.and_(node.expression.this, _is_there(node.this))))
    if isinstance(node, _CHOOSING) and not isinstance(node.parent, exp.Filter):
        return exp.Filter(this=node, expression=exp.Where(this=_is_there(node)))
    if isinstance(node, exp.Sum) and not isinstance(node.this, exp.Cast):
        return exp.Sum(this=exp.cast(node.this, _WHOLE))  # 64-bit sums wrap on Sail and fail on Spark
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.DPipe) and node.this.this == exp.Literal.string("0x"):
        digits = exp.func("conv", node.this.expression, exp.Literal.number(16), exp.Literal.number(10))
        return exp.cast(digits, node.to)
    return node


def _is_there(node: exp.Expr) -> exp.Expr:
    """The condition that DuckDB's first and last have in themselves; Spark's would choose nulls, too."""
    return exp.not_(exp.Is(this=node.this.copy(), expression=exp.null()))
