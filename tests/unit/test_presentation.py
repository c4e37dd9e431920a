"""What the UI shows of a materialization: tables that render whatever the values are."""

import json

import pytest

from feature_platform.core.contract.feature_set import load_contract
from feature_platform.core.contract.source import load_source_contract
from feature_platform.defs import presentation
from feature_platform.defs.source_assets import raw_key

SOURCE = load_source_contract(
    json.dumps(
        {
            "source": "orders",
            "event_time": "at",
            "columns": [
                {"name": "shop", "type": "string", "nullable": False, "description": "Who sold"},
                {"name": "at", "type": "timestamp"},
                {"name": "amount", "type": "float64"},
                {"name": "status", "type": "string"},
            ],
        }
    ),
    file="orders.source.json",
)
COLUMNS = [
    {"name": "shop", "type": "string"},
    {
        "name": "f_paid",
        "type": "float64",
        "aggregation": {"function": "sum", "column": "amount", "window": "1d", "where": {"status": "paid"}},
    },
]
DOCUMENT = {"feature_set": "shops", "version": "v1", "source": "orders", "primary_keys": ["shop"], "columns": COLUMNS}
CONTRACT = load_contract(json.dumps(DOCUMENT), file="shops.schema.json")


@pytest.mark.parametrize(
    ("rows", "markdown"),
    [
        ([], "no rows"),
        ([{"a": 1, "b": None}], "| a | b |\n| --- | --- |\n| 1 |  |"),
        ([{"a": "x|y"}, {"a": "two\nlines"}], "| a |\n| --- |\n| x\\|y |\n| two lines |"),
    ],
)
def test_cells_cannot_break_the_table(rows: list[dict[str, object]], markdown: str) -> None:
    assert presentation.table(rows).value == markdown


def test_columns_show_type_nullability_and_key() -> None:
    columns = presentation.contract_schema(CONTRACT).columns
    assert [(c.name, c.type, c.constraints.nullable, c.constraints.unique) for c in columns] == [
        ("shop", "string", False, True),
        ("f_paid", "float64", True, False),
        ("event_timestamp", "timestamp", False, False),
    ]
    source = presentation.source_schema(SOURCE).columns
    assert [(c.name, c.description, c.constraints.nullable) for c in source][:2] == [("shop", "Who sold", False), ("at", None, True)]


def test_lineage_names_every_event_column_that_a_feature_reads() -> None:
    lineage = presentation.lineage(CONTRACT, {raw_key("orders"): SOURCE})
    assert {name: [dep.column_name for dep in deps] for name, deps in lineage.deps_by_column.items()} == {
        "shop": ["shop"],
        "f_paid": ["amount", "at", "status"],
        "event_timestamp": ["at"],
    }


def test_of_a_sql_transform_no_lineage_is_claimed() -> None:
    plain = {**DOCUMENT, "columns": [{"name": column["name"], "type": column["type"]} for column in COLUMNS]}
    written = load_contract(json.dumps(plain), file="shops.schema.json", sql="SELECT 1")
    assert presentation.lineage(written, {raw_key("orders"): SOURCE}).deps_by_column == {}
