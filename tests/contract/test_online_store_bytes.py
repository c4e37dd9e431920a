"""Our bytes against Feast's: the same rows loaded by both, every key and every field compared."""

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.online.layout import FEAST_TYPES
from tests.support.online import AS_OF_US, Publications, contract_of, table_of
from tests.support.stock_feast import StockWriter, contents, features_only
from tests.support.valkey_server import ValkeyServer, valkey_server

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",  # Feast and what it imports
    "ignore::FutureWarning",
    "ignore::pydantic.warnings.PydanticDeprecatedSince20",
)

UTC = dt.UTC
moments = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  bounds are naive
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "int32": st.integers(-(2**31), 2**31 - 1),
    # Feast rounds larger integers where their column has a null; see the test for that.
    "int64": st.integers(-(2**53), 2**53),
    "float32": st.floats(width=32),
    "float64": st.floats(),
    "bool": st.booleans(),
    "string": st.text(st.characters(codec="utf-8"), max_size=40),
    "bytes": st.binary(max_size=200),
    "timestamp": moments,
    "date": st.dates(),
}
KEYS: dict[str, st.SearchStrategy[Any]] = {
    "int32": SCALARS["int32"],
    "int64": st.integers(-(2**63), 2**63 - 1),
    "string": SCALARS["string"],
}


def _values(kind: str) -> st.SearchStrategy[Any]:
    element = kind.removeprefix("list<").removesuffix(">")
    return st.none() | (SCALARS[kind] if element == kind else st.lists(SCALARS[element], max_size=5))


@st.composite
def versions(draw: Callable[[Any], Any]) -> tuple[Contract, str, pa.Table]:
    """A contract with one to three join keys and up to six features of any type, a project name, and rows."""
    join_keys = dict(draw(st.lists(st.tuples(st.sampled_from(["user_id", "Area", "b"]), st.sampled_from(sorted(KEYS))), min_size=1)))
    kinds = draw(st.lists(st.sampled_from(sorted(FEAST_TYPES)), min_size=1, max_size=6))
    features = {f"f_{place}": kind for place, kind in enumerate(kinds)}
    checks = {"max_null_ratio": dict.fromkeys(features, 1.0)}
    contract = contract_of({**join_keys, **features}, keys=tuple(join_keys), **checks)
    entities = draw(st.sets(st.tuples(*(KEYS[kind] for kind in join_keys.values())), min_size=1, max_size=12))
    ordered = sorted(entities, key=lambda entity: tuple(v.encode() if isinstance(v, str) else v for v in entity))
    rows: dict[str, list[Any]] = {name: [entity[place] for entity in ordered] for place, name in enumerate(join_keys)}
    for name, kind in features.items():
        rows[name] = [draw(_values(kind)) for _ in ordered]
        if kind == "bytes" and not any(rows[name]):  # Feast stores empty bytes alone as nulls; see the test for that.
            rows[name] = [None] * len(ordered)
    if draw(st.booleans()):
        rows[contract.timestamp_field] = [draw(moments) for _ in ordered]
    return contract, draw(st.sampled_from(["shop", "feature_store_dev", "lådan"])), table_of(contract, rows)


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    """Database 0 is ours, database 1 Feast's."""
    with valkey_server() as running:
        yield running


def _load_both(server: ValkeyServer, project: str, *versions: tuple[Contract, pa.Table]) -> tuple[dict[Any, Any], dict[Any, Any]]:
    with server.client() as ours, server.client(db=1) as stock:
        ours.flushall()
        for contract, table in versions:
            publications = Publications(contract, project)
            RedisOnlineStore(f"{server.connection_string},db=0").load(publications.publish("v_20260115T000000", table))
            StockWriter(f"{server.connection_string},db=1", project=project).write(contract, table)
        return features_only(contents(ours)), contents(stock)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(version=versions())
def test_every_key_and_every_field_equals_stock_feast(server: ValkeyServer, version: tuple[Contract, str, pa.Table]) -> None:
    """Generated contracts and rows: all types, nulls, NaN, extremes, unicode, composite keys, project names."""
    contract, project, table = version
    ours, stock = _load_both(server, project, (contract, table))
    assert ours == stock


def test_several_views_of_one_entity_equal_stock_feast(server: ValkeyServer) -> None:
    """They share hashes."""
    views = [contract_of({"user_id": "int64", "f": kind}, name=name) for name, kind in (("clicks", "int64"), ("orders", "list<string>"))]
    tables = [
        table_of(views[0], {"user_id": [1, 2, 3], "f": [10, None, 30]}),
        table_of(views[1], {"user_id": [2, 3, 4], "f": [["a", "é"], None, []]}),
    ]
    ours, stock = _load_both(server, "shop", *zip(views, tables, strict=True))
    assert ours == stock
    assert [len(fields) for fields in ours.values()] == [2, 4, 4, 2]


def test_empty_bytes_alone_in_their_column_are_right_where_stock_feast_stores_nulls(server: ValkeyServer) -> None:
    """Feast looks for a value that is not empty to learn a column's type, and finds none (``_non_empty_value`` in its type_map.py)."""
    contract = contract_of({"user_id": "int64", "f": "bytes"}, max_null_ratio={"f": 1.0})
    ours, stock = _load_both(server, "shop", (contract, table_of(contract, {"user_id": [1, 2], "f": [b"", None]})))
    differing = [(ours[key][field], stock[key][field]) for key in ours for field in ours[key] if ours[key][field] != stock[key][field]]
    assert differing == [(bytes.fromhex("0a00"), b"")]


def test_large_integers_beside_nulls_are_right_where_stock_feast_rounds(server: ValkeyServer) -> None:
    """Our bytes differ on purpose: Feast reads such a column through floats."""
    contract = contract_of({"user_id": "int64", "f": "int64"})
    table = table_of(contract, {"user_id": [1, 2], "f": [2**60 + 1, None]})
    ours, stock = _load_both(server, "shop", (contract, table))
    differing = [
        (ours[key][field].hex(), stock[key][field].hex()) for key in ours for field in ours[key] if ours[key][field] != stock[key][field]
    ]
    assert differing == [("20818080808080808010", "20808080808080808010")]


def test_event_timestamps_are_stored_to_the_microsecond(server: ValkeyServer) -> None:
    """One moment for all rows takes a shortcut; different ones do not."""
    contract = contract_of({"user_id": "int64", "f": "int64"})
    table = table_of(contract, {"user_id": [1, 2], "f": [1, 2], "event_timestamp": [AS_OF_US + 1, AS_OF_US + 999_999]})
    ours, stock = _load_both(server, "shop", (contract, table))
    assert ours == stock
