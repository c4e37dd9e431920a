"""What an author's SQL transform may say, judged on its syntax tree; and the moment it is true as of, put where it names it.

A transform is a function of the window's events and of ``as_of``: whatever answers differently tomorrow (clocks, chance, identifiers, the
engine's own state) is refused by name. Parsing and running it do not belong here (``adapters.compute.duckdb.transform``).
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

MOMENT: Final = "as_of"
"""How a transform names the moment: plain, or as the function ``as_of()`` where a column is called so."""

_INCONSTANT: Final = frozenset({"ago", "current_localtime", "current_localtimestamp", "reservoir_quantile"})
"""Functions that the engine does not declare to depend on the clock or on chance, and that do."""
_INNOCENT: Final = frozenset({"getvariable", "error"})
"""Functions that the engine declares to, and that a transform may call."""
_VALUES: Final = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"})
"""What SQL lets stand without parentheses, unless a column is called so."""
_TABLE_FUNCTIONS: Final = frozenset({"range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree"})

Tree = Mapping[str, Any]


def transform_faults(tree: Tree, *, inconstant: Collection[str], columns: Collection[str]) -> list[str]:
    """Everything in a statement that a transform may not say.

    Args:
        tree: The engine's syntax tree of one SELECT.
        inconstant: Functions that the engine declares to give another answer in another query.
        columns: Columns of the events.
    """
    refused = (frozenset(inconstant) | _INCONSTANT) - _INNOCENT
    known = {column.casefold() for column in columns}
    faults: dict[str, None] = {}
    for node in _nodes(tree):
        called = str(node.get("function_name", "")).casefold()
        if node.get("type") == "TABLE_FUNCTION":
            called = str(node["function"].get("function_name", "")).casefold()
            if called not in _TABLE_FUNCTIONS:
                faults[f"{called}() is not a table of events; expected events alone, or {', '.join(sorted(_TABLE_FUNCTIONS))}"] = None
        elif called in refused or (called == "age" and len(node.get("arguments", node.get("children", ()))) == 1):
            faults[_remedy(f"{called}()")] = None
        plain = _plain_name(node)
        if plain in _VALUES and plain not in known:
            faults[_remedy(plain)] = None
        if isinstance(node.get("sample"), dict) and not node["sample"].get("repeatable"):
            faults[_remedy("a sample without REPEATABLE")] = None
    return list(faults)


def _remedy(name: str) -> str:
    return f"{name} answers differently on every run, so that no version could be reproduced; expected {MOMENT} where the moment is meant"


def place_moment(text: str, tree: Tree, *, columns: Collection[str]) -> str:
    """The statement with each plain ``as_of`` written as the function ``as_of()``.

    Where a column of ``events`` or the statement itself gives that name to something else, it keeps that meaning.
    """
    names = {column.casefold() for column in columns}
    for node in _nodes(tree):
        names.add(str(node.get("alias", "")).casefold())
        names.update(str(name).casefold() for name in node.get("column_name_alias", ()))
        names.update(str(name).casefold() for name in node.get("aliases", ()))
    if MOMENT in names:
        return text
    body = text.encode()
    places = {(node["query_location"], node["query_location_length"]) for node in _nodes(tree) if _plain_name(node) == MOMENT}
    for start, length in sorted(places, reverse=True):
        body = body[:start] + f"{MOMENT}()".encode() + body[start + length :]
    return body.decode()


def _plain_name(node: Tree) -> str:
    names = node.get("column_names")
    return str(names[0]).casefold() if node.get("type") == "COLUMN_REF" and isinstance(names, list) and len(names) == 1 else ""


def _nodes(tree: Tree) -> Iterator[Tree]:
    """Every object of a tree, in its order, whatever its depth."""
    waiting: list[Any] = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(reversed(value.values()))
        elif isinstance(value, list):
            waiting.extend(reversed(value))
