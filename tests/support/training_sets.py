"""Versions of the sample feature set whose log tells the time that a test gives it, and training sets made from them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from feature_platform.adapters.feature_set_store.feature_sets import ObjectFeatureSetStore
from feature_platform.core.training.labels import Rows
from feature_platform.core.training.manifest import TrainingManifest
from feature_platform.use_cases import training
from feature_platform.wiring import Platform
from tests.support.feature_set_samples import DAY, FEATURE_SET, publish

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass
class Published:
    """Versions of the sample feature set, published at moments that the test chooses."""

    platform: Platform
    store: ObjectFeatureSetStore
    clock: list[datetime]
    contents: dict[str, str] = field(default_factory=dict)

    def publish(self, content: str, *, day: int = 0, hours: float = 6.0, at: datetime | None = None, promoted: bool = True) -> str:
        """Rows that follow from a letter, as of a day, published so many hours after that moment."""
        self.clock[0] = at or DAY + timedelta(days=day, hours=hours)
        key = f"{day}-{content}-{len(self.store.history(FEATURE_SET).records)}"
        done = publish(self.store, content, day=day, key=key, promoted=promoted)
        self.contents[done.version] = content
        return done.version

    def rollback(self, version: str, *, at: datetime) -> None:
        self.clock[0] = at
        self.store.rollback(FEATURE_SET, version, actor="test", reason="test")

    def make(self, labels: pa.Table, *features: str, out: str | None = None, **asked: Any) -> tuple[pa.Table, TrainingManifest]:
        """A training set of features (all where none is named), and its manifest."""
        wanted = training.Asked(features=features or (FEATURE_SET,), **{"ttl": timedelta(0)} | asked)
        rows = Rows(labels.schema, lambda: iter(labels.to_batches()))
        made = training.create(self.platform, rows, wanted, now=NOW, actor="test", out=out)
        return self.read(made), made

    def read(self, made: TrainingManifest) -> pa.Table:
        with self.platform.training_sets.open_rows(made.data) as rows:
            return pa.Table.from_batches(rows.batches(), schema=rows.schema)


def labels(*rows: tuple[int, datetime], **columns: list[object]) -> pa.Table:
    """Label rows: user and moment."""
    users, moments = [user for user, _ in rows], [moment for _, moment in rows]
    return pa.table({"user_id": pa.array(users, pa.int64()), "event_timestamp": pa.array(moments, pa.timestamp("us", tz="UTC")), **columns})
