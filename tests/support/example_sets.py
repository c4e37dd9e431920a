"""The shipped contracts with the feature sets of ``examples/feature_sets`` beside them, and payments for them. No expectations here."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from feature_platform.local.services import SHIPPED_CONTRACTS
from feature_platform.wiring import Platform
from tests.support.platforms import json_lines, put_raw

EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "feature_sets"


def example_contracts(directory: Path) -> Path:
    """A directory of contracts."""
    contracts = directory / "contracts"
    shutil.copytree(SHIPPED_CONTRACTS, contracts)
    shutil.copytree(EXAMPLES, contracts, dirs_exist_ok=True)
    return contracts


def put_payments(platform: Platform, day: str, paid: Sequence[tuple[int, float]], *, status: str = "paid") -> None:
    """One payment of each user and amount, one each hour."""
    payments = [
        {
            "payment_id": f"{day}-{hour}",
            "user_id": user,
            "merchant": "Łódź 1",
            "currency": "PLN",
            "paid_at": f"{day}T{hour:02}:00:00Z",
            "amount": amount,
            "status": status,
        }
        for hour, (user, amount) in enumerate(paid)
    ]
    put_raw(platform, day, {f"{status}.jsonl": json_lines(payments)}, source="payments")
