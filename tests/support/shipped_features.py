"""Versions of the shipped contract, published as a run publishes them, and the environment's settings for Feast in this process."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_platform.adapters.contract_files import load_catalog
from feature_platform.adapters.feature_set_store.feature_sets import ObjectFeatureSetStore
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.versions.feature_table import FeatureTable
from feature_platform.local.services import SHIPPED_CONTRACTS
from feature_platform.ports.object_store import ObjectStore
from tests.support.feature_set_samples import PROVENANCE

FEATURE_SET = "user_features"
BIG = 2**60 + 1
"""An integer that a float cannot hold."""


def shipped_contract() -> Contract:
    """The contract in the repository."""
    return load_catalog(SHIPPED_CONTRACTS).contracts[FEATURE_SET]


def today() -> datetime:
    """The last midnight, UTC: a moment within every ttl."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def user_rows(ids: range, *, as_of: datetime, shift: int = 0) -> pa.Table:
    """Rows of the shipped contract whose values follow from id and ``shift``; the first user has an integer beyond 2^53, others nulls."""
    schema = shipped_contract().arrow_schema
    values: dict[str, list[Any]] = {
        "user_id": list(ids),
        "event_timestamp": [as_of] * len(ids),
        "f_total_events_7d": [BIG if user == ids[0] else None if user % 5 == 0 else user * 3 + shift for user in ids],
        "f_avg_session_sec_7d": [None if user % 3 == 0 else user / 7 + shift for user in ids],
        "f_last_event_age_sec": [user % 86_400 for user in ids],
        "f_purchases_1d": [(user + shift) % 11 for user in ids],
        "f_last_country": [None if user % 4 == 0 else f"Österreich {user + shift}" for user in ids],
    }
    return pa.table([pa.array(values[field.name], field.type) for field in schema], schema=schema)


def publish_users(
    objects: ObjectStore, feature_base: str, table: pa.Table, *, as_of: datetime, workdir: Path | None = None, rollback: bool = False
) -> str:
    """Commit rows of the shipped contract, make them the head, and return the version."""
    store = ObjectFeatureSetStore(objects, feature_base=feature_base, workdir=workdir)
    contract, catalog = shipped_contract(), load_catalog(SHIPPED_CONTRACTS)
    done = store.commit(
        FeatureTable.from_arrow(table),
        contract=contract,
        template=catalog.templates[FEATURE_SET],
        as_of=as_of,
        provenance=PROVENANCE,
        idempotency_key=f"test-{as_of}-{table.num_rows}-{hash(str(table.slice(0, 50)))}",
        actor="test",
    )
    if rollback:
        store.rollback(FEATURE_SET, done.version, actor="test", reason="test")
    else:
        store.promote(FEATURE_SET, done.version, actor="test")
    return done.version


def enter(monkeypatch: Any, environment: Mapping[str, str]) -> None:
    """Make an environment this process's own for one test."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
