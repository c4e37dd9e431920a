"""Prepare lookups of features: a feature set's timeline, its newest contract, and its verified files.

Joining does not belong here (the compute engine), nor what was known when (``core.training.known``).
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import BinaryIO

from feature_platform.core.training.known import KnownAt, timeline
from feature_platform.core.training.lookup import Lookup, OpenVersion, chosen_features
from feature_platform.core.versions.log import History
from feature_platform.errors import NotFoundError
from feature_platform.ports.feature_set_store import FeatureSetStore
from feature_platform.use_cases.read_version import verified_features


def lookup_in(
    feature_sets: FeatureSetStore,
    feature_set: str,
    history: History,
    *,
    features: Sequence[str],
    known_at: KnownAt,
    ttl: timedelta | None = None,
    prefix: str = "",
) -> Lookup:
    """The lookup of features in all versions that were ever known of a feature set.

    Args:
        features: Names of features; ``*`` alone for all.
        known_at: In which sense a version was known, see :data:`KnownAt`.
        ttl: How old values may be; the newest contract's ttl where left out.

    Raises:
        NotFoundError: Nothing that can be read was known at any moment.
        InvalidDataError: The newest contract has no such feature.
    """
    known = timeline(history, known_at=known_at)
    gone = gone_versions(feature_sets, feature_set, history)
    readable = [entry.version for entry in known if entry.version not in gone]
    if not readable:
        raise NotFoundError(f"Nothing of {feature_set} was published yet; materialize {feature_set} and {feature_set}_latest first.")
    contract = feature_sets.contract_of(feature_set, readable[-1])
    fields = chosen_features(contract, features)
    return Lookup(
        feature_set=feature_set,
        keys=tuple(contract.arrow_schema.field(key).with_nullable(True) for key in contract.primary_keys),
        timestamp_field=contract.timestamp_field,
        features=fields,
        names=tuple(f"{prefix}{field.name}" for field in fields),
        ttl=contract.ttl_duration if ttl is None else ttl,
        timeline=known,
        open_version=opener(feature_sets, feature_set, history, gone=gone),
    )


def gone_versions(feature_sets: FeatureSetStore, feature_set: str, history: History) -> frozenset[str]:
    """Versions that retention removed: expired, and kept by no pin."""
    pins = feature_sets.pins(feature_set) if history.expired else {}
    return frozenset(version for version in history.expired if version not in pins)


def opener(feature_sets: FeatureSetStore, feature_set: str, history: History, *, gone: Collection[str]) -> OpenVersion:
    """A function that opens verified versions of a feature set; it yields None for those that are gone."""

    @contextmanager
    def opened(version: str) -> Iterator[Callable[[], BinaryIO] | None]:
        if version in gone:
            yield None
            return
        with verified_features(feature_sets, feature_set, history.versions[version]) as open_file:
            yield open_file

    return opened
