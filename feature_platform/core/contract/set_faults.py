"""Faults between the parts of a feature set's document, found even where single parts are wrong too.

Faults of single parts do not belong here (the model in ``core.contract.feature_set``), nor what does not fit a source
(``core.contract.source``).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from feature_platform.core.contract import documents, types
from feature_platform.core.contract.expressions import expression_faults
from feature_platform.core.layout import FILES

RESERVED_NAMES: Final = frozenset({"latest", "events", "as_of", *FILES})

_WITHOUT_COLUMN: Final = frozenset({"count", "age_of_first", "age_of_last"})
_RESULT_TYPES: Final = MappingProxyType(
    {
        "count": frozenset({"int32", "int64"}),
        "age_of_first": frozenset({"int32", "int64", "float64"}),
        "age_of_last": frozenset({"int32", "int64", "float64"}),
        "approx_distinct": frozenset({"int32", "int64"}),
        "mean": frozenset({"float32", "float64"}),
        "stddev": frozenset({"float32", "float64"}),
        "sum": types.NUMERIC,
    }
)
_BOUNDED: Final = (*sorted(types.NUMERIC), "bool")
"""Types whose least and greatest value in a version's statistics are numbers."""


def named(listed: object) -> list[dict[str, Any]]:
    """The items of a list that are objects with a text as name; they can be checked whatever else is wrong with the document."""
    items = listed if isinstance(listed, list) else []
    return [item for item in items if isinstance(item, dict) and isinstance(item.get("name"), str)]


def name_faults(names: Sequence[str]) -> list[str]:
    """Faults of column names that occur twice or differ in case alone: SQL, which computes the columns, ignores the case."""
    faults = [f"columns: {name!r} stands {count} times; expected each name once" for name, count in Counter(names).items() if count > 1]
    spellings: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        spellings.setdefault(name.casefold(), []).append(name)
    return faults + [
        f"columns: {' and '.join(map(repr, same))} differ in case alone; expected names that differ otherwise"
        for same in spellings.values()
        if len(same) > 1
    ]


def default_entity(key: str) -> str:
    """The entity of a set that does not name it, by its first key.

    >>> default_entity("User_id")
    'user'
    """
    return key.removesuffix("_id").lower()


def document_faults(document: Mapping[str, Any], *, has_sql: bool) -> list[str]:
    """Faults between parts of a document, found even where single parts are wrong too."""
    columns = named(document.get("columns"))
    kinds = {column["name"]: column.get("type") for column in columns}
    timestamp = document.get("timestamp_field", "event_timestamp")
    timestamp = timestamp if isinstance(timestamp, str) else ""
    listed = document.get("primary_keys")
    keys = [key for key in listed if isinstance(key, str)] if isinstance(listed, list) else []
    faults = name_faults([column["name"] for column in columns])
    faults += [f"primary_keys: {key!r} stands {count} times; expected once" for key, count in Counter(keys).items() if count > 1]
    faults += [f"primary_keys: {key!r} is not a column; expected one of {', '.join(kinds)}" for key in keys if key not in kinds]
    faults += [
        f"primary_keys: {key!r} has type {kinds[key]!r}; expected one of {', '.join(types.KEY_TYPES)}"
        for key in keys
        if key in kinds and kinds[key] not in types.KEY_TYPES
    ]
    if "entity" not in document and keys and not re.fullmatch(documents.SAFE_NAME, entity := default_entity(keys[0])):
        faults.append(f"entity: missing, and key {keys[0]!r} gives {entity!r}; expected 'entity' to name it, beginning with a letter")
    if kinds.get(timestamp, "timestamp") != "timestamp":
        faults.append(f"timestamp_field: {timestamp!r} has type {kinds[timestamp]!r}; expected 'timestamp'")
    faults += [f"timestamp_field: {timestamp!r} is a primary key; expected another column" for key in keys if key == timestamp]
    name = document.get("feature_set")
    if isinstance(name, str) and name in RESERVED_NAMES:
        faults.append(f"feature_set: {name!r} is reserved; expected another name")
    checks = document.get("checks")
    nulls = checks.get("max_null_ratio") if isinstance(checks, dict) else None
    faults += [
        f"checks.max_null_ratio: {name!r} is not a column; expected one of {', '.join(kinds)}"
        for name in (nulls if isinstance(nulls, dict) else ())
        if name not in kinds
    ]
    computed = [column for column in columns if column["name"] not in {*keys, timestamp}]
    faults += _source_faults(document, computed, has_sql=has_sql) + _feature_set_faults(document, has_sql=has_sql)
    faults += _check_faults(columns) + _computation_faults(computed, has_sql=has_sql)
    return faults + _key_faults(columns, {*keys, timestamp})


def _source_faults(document: Mapping[str, Any], columns: list[dict[str, Any]], *, has_sql: bool) -> list[str]:
    """Faults of ``sources``, and of the source that each aggregation names."""
    listed = document.get("sources", [])
    sources = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    taken = {column["name"]: column["aggregation"].get("source") for column in columns if isinstance(column.get("aggregation"), dict)}
    if "sources" not in document:
        expected = "expected none, because the contract has one 'source'"
        return [f"columns ({name}).aggregation.source: found {found!r}, {expected}" for name, found in taken.items() if found is not None]
    faults = [f"sources: {name!r} stands {count} times; expected once" for name, count in Counter(sources).items() if count > 1]
    faults += ["sources: found beside 'source'; expected one of them"] if "source" in document else []
    faults += ["sources: expected two or more; a set of one source names it by 'source'"] if len(sources) < 2 else []
    faults += [
        f"columns ({name}).aggregation.source: found {found!r}, expected one of {', '.join(sources)}"
        for name, found in taken.items()
        if found not in sources
    ]
    unread = [name for name in dict.fromkeys(sources) if name not in taken.values()]
    return faults + [f"sources: no column is taken of {name!r}; expected one, or the source left out" for name in unread if not has_sql]


def _feature_set_faults(document: Mapping[str, Any], *, has_sql: bool) -> list[str]:
    """Faults of ``feature_sets``: each is a view of the transform, so no source may have its name."""
    listed = document.get("feature_sets", [])
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    given = document.get("sources")
    taken = given if isinstance(given, list) else []
    faults = [f"feature_sets: {name!r} stands {count} times; expected once" for name, count in Counter(names).items() if count > 1]
    faults += [f"feature_sets: {name!r} is also a source; expected sets and sources of different names" for name in names if name in taken]
    if names and not has_sql:
        faults.append("feature_sets: only a SQL transform reads other sets; expected a <feature_set>.sql beside the contract, or none")
    return faults


def _check_faults(columns: list[dict[str, Any]]) -> list[str]:
    """Checks of columns whose statistics lack the figure: found only when a version is judged, they would fail it after its commit."""
    faults = []
    for column in columns:
        asked, kind = column.get("checks"), column.get("type")
        if not isinstance(asked, dict) or not isinstance(kind, str) or not types.is_known(kind):
            continue  # the model reports it
        where = f"columns ({column['name']}).checks"
        faults += [
            f"{where}.{said}: found on type {kind!r}; expected a column of {', '.join(_BOUNDED)}, or no {said!r}"
            for said in ("min", "max")
            if asked.get(said) is not None and kind not in _BOUNDED
        ]
        if asked.get("min_distinct_ratio") is not None and (kind == "bytes" or types.element_type(kind)):
            faults.append(f"{where}.min_distinct_ratio: different values of type {kind!r} are not counted; expected another type, or none")
    return faults


def _key_faults(columns: list[dict[str, Any]], fixed: set[str]) -> list[str]:
    return [
        f"columns ({column['name']}): a key or the event timestamp is not computed; expected no {said!r}"
        for column in columns
        for said in ("aggregation", "expression")
        if column["name"] in fixed and said in column
    ]


def _computation_faults(columns: list[dict[str, Any]], *, has_sql: bool) -> list[str]:
    faults = []
    aggregated = [column for column in columns if isinstance(column.get("aggregation"), dict)]
    numeric = [column["name"] for column in aggregated if isinstance(column.get("type"), str) and column["type"] in types.NUMERIC]
    for column in columns:
        where = f"columns ({column['name']})"
        aggregation, expression = column.get("aggregation"), column.get("expression")
        if has_sql and (aggregation is not None or expression is not None):
            kind = "an aggregation" if aggregation is not None else "an expression"
            faults.append(f"{where}: has {kind} although a SQL transform is delivered; expected one or the other")
        elif aggregation is not None and expression is not None:
            faults.append(f"{where}: has an aggregation and an expression; expected one of them")
        elif not has_sql and aggregation is None and expression is None:
            faults.append(
                f"{where}: says nothing about how it is computed; expected an 'aggregation', an 'expression' or a <feature_set>.sql beside "
                "the contract"
            )
        elif isinstance(aggregation, dict):
            faults += _aggregation_faults(where, column.get("type"), aggregation)
        elif isinstance(expression, str):
            if column.get("type") not in sorted(types.NUMERIC):
                expected = ", ".join(sorted(types.NUMERIC))
                faults.append(f"{where}: an expression cannot fill type {column.get('type')!r}; expected one of {expected}")
            faults += [f"{where}.expression: {fault}" for fault in expression_faults(expression, numeric=numeric)]
    return faults


def _aggregation_faults(where: str, kind: object, aggregation: dict[str, Any]) -> list[str]:
    function, faults = aggregation.get("function"), []
    if not isinstance(function, str):
        return []  # the model reports it
    if function in _WITHOUT_COLUMN and "column" in aggregation:
        faults.append(f"{where}.aggregation: {function} takes no column; expected none, found {aggregation['column']!r}")
    if function not in _WITHOUT_COLUMN and aggregation.get("column") is None:
        faults.append(f"{where}.aggregation: {function} needs the event column it is taken over; expected 'column'")
    allowed = _RESULT_TYPES.get(function)
    if allowed and isinstance(kind, str) and types.is_known(kind) and kind not in allowed:
        faults.append(f"{where}: {function} cannot fill type {kind!r}; expected one of {', '.join(sorted(allowed))}")
    for name, rule in aggregation.get("where", {}).items() if isinstance(aggregation.get("where"), dict) else ():
        if not re.fullmatch(documents.COLUMN_NAME, name):
            faults.append(f"{where}.aggregation.where: {name!r} is no column name")
        if rule in ([], {}) or (isinstance(rule, dict) and None in rule.values()):
            faults.append(f"{where}.aggregation.where ({name}): found {rule!r}, expected a value, a list of values or bounds")
    return faults
