"""A second source and a feature set on it, beside the shipped ones. Expectations do not belong here."""

import json
import shutil
from pathlib import Path
from typing import Any, Final

from feature_platform.local.services import SHIPPED_CONTRACTS
from feature_platform.wiring import Platform
from tests.support.platforms import json_lines, put_raw

ORDERS: Final[dict[str, Any]] = {
    "source": "orders",
    "event_time": "ordered_at",
    "columns": [
        {"name": "shop", "type": "string", "nullable": False},
        {"name": "ordered_at", "type": "timestamp", "nullable": False},
        {"name": "amount", "type": "float64", "decimals": 2},
    ],
}
SHOP_FEATURES: Final[dict[str, Any]] = {
    "feature_set": "shop_features",
    "version": "v1",
    "primary_keys": ["shop"],
    "source": "orders",
    "columns": [
        {"name": "shop", "type": "string"},
        {"name": "f_revenue_2d", "type": "float64", "aggregation": {"function": "sum", "column": "amount", "window": "2d"}},
    ],
}


def two_sources(directory: Path, *, first_day: str | None = None) -> Path:
    """The shipped contracts and these; ``orders`` begins on a day of its own where one is given."""
    contracts = directory / "contracts"
    shutil.copytree(SHIPPED_CONTRACTS, contracts)
    source = {**ORDERS, "first_day": first_day} if first_day else ORDERS
    (contracts / "orders.source.json").write_text(json.dumps(source))
    (contracts / "shop_features.schema.json").write_text(json.dumps(SHOP_FEATURES))
    return contracts


def put_orders(platform: Platform, day: str, *amounts: float, shop: str = "Łódź 1") -> None:
    """One shop's orders of a day, one each hour."""
    orders = [{"shop": shop, "ordered_at": f"{day} {hour:02}:00:00", "amount": amount} for hour, amount in enumerate(amounts)]
    put_raw(platform, day, {"a.jsonl": json_lines(orders)}, source="orders")
