"""Comparison of online values with published ones, in the one form that both sides have: the bytes that Feast stores.

Readers supply the online side: raw bytes from Redis as they are, values from Feast's SDK through :func:`encoded_values`. Reading does not
belong here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_platform.core.contract import types
from feature_platform.core.online.encoding import encode_timestamps, encode_values
from feature_platform.core.online.keys import key_slots
from feature_platform.core.online.layout import ViewLayout
from feature_platform.core.online.slots import SLOTS

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FeatureParity:
    """Counts of one feature: values compared, different, and absent although the version has the entity."""

    compared: int = 0
    mismatched: int = 0
    missing: int = 0


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The outcome of a comparison.

    ``entities`` were compared, of ``rows`` in the version (a sample by key hash where fewer); ``mismatched`` of them differ in at least
    one feature, ``missing`` have no row of this view online, ``past_ttl`` are older than the ttl, so readers answer null. ``extra`` are
    online but not in the version; None where they were not searched for.
    """

    version: str
    rows: int
    entities: int = 0
    mismatched: int = 0
    missing: int = 0
    past_ttl: int = 0
    extra: int | None = None
    features: Mapping[str, FeatureParity] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether nothing differs, nothing is missing and nothing is there that should not be."""
        return not (self.mismatched or self.missing or self.extra)


@dataclass(frozen=True, slots=True)
class OnlineRows:
    """Online values beside published ones, row by row.

    ``columns`` hold ``Value`` bytes by feature; null where the field is absent. ``present`` says which entities have the view at all.
    """

    columns: Mapping[str, pa.Array]
    present: Mask


def published_values(batch: pa.RecordBatch, layout: ViewLayout) -> dict[str, pa.Array]:
    """What Feast stores for each column of a published batch, the event timestamp included."""
    values = {name: encode_values(batch.column(name), kind) for name, kind in layout.features}
    return {**values, layout.timestamp_field: encode_timestamps(batch.column(layout.timestamp_field))}


def encoded_values(values: Sequence[Any], kind: str) -> pa.Array:
    """The bytes that Feast stores for values that its SDK returned; it returns a date as the midnight that begins it."""
    form = "timestamp" if kind == "date" else kind
    return encode_values(pa.array(values, types.arrow_type(form)), form)


def sampled(keys: pa.Array, *, rows: int, limit: int | None) -> Mask:
    """Which entities to compare: all, or about ``limit`` of ``rows`` chosen by the hash of their key, the same ones on every run."""
    if limit is None or rows <= limit:
        return np.ones(len(keys), np.bool_)
    return key_slots(keys) < max(1, round(SLOTS * limit / rows))


def past_ttl(timestamps: pa.Array, *, now_us: int, ttl_us: int) -> Mask:
    """Which rows are older than the ttl, so that a reader answers null for them."""
    micros = timestamps.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy(zero_copy_only=False)
    return np.asarray(micros < now_us - ttl_us)


def compare(published: Mapping[str, pa.Array], online: OnlineRows, *, report: ParityReport, past_ttl: Mask) -> ParityReport:
    """Add one batch to a report.

    Args:
        published: Bytes by column, as :func:`published_values` gives them; only columns that ``online`` has are compared.
    """
    differs = np.zeros(len(online.present), np.bool_)
    features = dict(report.features)
    for name, found in online.columns.items():
        there = found.is_valid().to_numpy(zero_copy_only=False)
        same = pc.equal(found, published[name]).fill_null(False).to_numpy(zero_copy_only=False)
        compared, wrong, lost = online.present & there, online.present & there & ~same, ~there
        before = features.get(name, FeatureParity())
        features[name] = FeatureParity(
            before.compared + int(compared.sum()), before.mismatched + int(wrong.sum()), before.missing + int(lost.sum())
        )
        differs |= wrong | (lost & online.present)
    return ParityReport(
        version=report.version,
        rows=report.rows,
        entities=report.entities + len(differs),
        mismatched=report.mismatched + int(differs.sum()),
        missing=report.missing + int((~online.present).sum()),
        past_ttl=report.past_ttl + int(past_ttl.sum()),
        extra=report.extra,
        features=features,
    )
