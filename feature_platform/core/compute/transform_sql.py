"""What an author's SQL transform may contain, checked on its syntax tree; and its plain ``as_of`` rewritten as the function ``as_of()``.

A transform is a function of the window's events and of ``as_of``: whatever gives another result on another run (clocks, chance, generated
identifiers, the engine's own state) is refused by name. Parsing and running it do not belong here (``adapters.compute.duckdb.transform``).
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

MOMENT: Final = "as_of"
"""The name of the as-of moment in a transform: the plain name, or the function ``as_of()`` where a column has this name."""

_INCONSTANT: Final = frozenset(
    {
        *("ago", "current_catalog", "current_localtime", "current_localtimestamp", "pg_conf_load_time", "pg_postmaster_start_time"),
        *("pg_sleep", "reservoir_quantile"),
    }
)
"""Functions that depend on the clock, on chance or on the engine's state although it does not declare it: of macros it declares nothing."""
_INNOCENT: Final = frozenset({"getvariable", "error"})
"""Functions that the engine declares inconsistent and that a transform may call all the same."""
_VALUES: Final = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"})
"""Functions that SQL calls without parentheses, unless a column has the name."""
_TABLE_FUNCTIONS: Final = frozenset({"range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree"})

Tree = Mapping[str, Any]


def transform_faults(tree: Tree, *, inconstant: Collection[str], columns: Collection[str]) -> list[str]:
    """Everything in a statement that a transform may not contain.

    Args:
        tree: The engine's syntax tree of one SELECT.
        inconstant: Functions that the engine declares to give another result in another query.
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
    return f"{name} gives another result on every run, so no version could be reproduced; write {MOMENT} where you mean the as-of moment"


def place_moment(text: str, tree: Tree, *, columns: Collection[str]) -> str:
    """The statement with each plain ``as_of`` written as the function ``as_of()``.

    The text is returned as it is where a column of ``events``, or an alias of the statement, has that name.
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
    """Every object of a tree, in its order; without recursion, because a statement may nest to any depth."""
    waiting: list[Any] = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(reversed(value.values()))
        elif isinstance(value, list):
            waiting.extend(reversed(value))
