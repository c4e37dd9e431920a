"""The platform as use cases see it: one environment's ports and contracts. Constructing adapters belongs in ``wiring``."""

from collections.abc import Collection
from datetime import date
from typing import Protocol

from feature_platform.core.contract.catalog import Catalog
from feature_platform.ports.compute_engine import ComputeEngine
from feature_platform.ports.feature_registry import FeatureRegistry
from feature_platform.ports.feature_set_store import FeatureSetStore
from feature_platform.ports.object_store import ObjectStore
from feature_platform.ports.online_store import OnlineStore
from feature_platform.ports.raw_events import RawEvents
from feature_platform.ports.training_set_store import TrainingSetStore


class Bench(Protocol):
    """Raw events and an engine over a fixed set of raw objects; what the engine writes stays in memory."""

    @property
    def raw(self) -> RawEvents:
        """The fixed raw objects and no others."""

    @property
    def engine(self) -> ComputeEngine:
        """An engine that reads them."""


class Platform(Protocol):
    """One environment. Nothing is opened before it is used."""

    @property
    def catalog(self) -> Catalog:
        """Every contract."""

    @property
    def project(self) -> str:
        """The Feast project that serves this environment."""

    @property
    def first_day(self) -> date:
        """The first daily partition."""

    @property
    def look_back_days(self) -> int:
        """How many days back raw data is compared with what versions record."""

    @property
    def objects(self) -> ObjectStore:
        """The object store that every URI of the environment lies in."""

    @property
    def raw(self) -> RawEvents:
        """Raw events as upstream delivers them."""

    @property
    def feature_sets(self) -> FeatureSetStore:
        """Versions, logs and latest."""

    @property
    def training_sets(self) -> TrainingSetStore:
        """Training sets, kept beside the feature sets."""

    @property
    def engine(self) -> ComputeEngine:
        """What validates days and computes features."""

    @property
    def online(self) -> OnlineStore:
        """What services read from."""

    @property
    def registry(self) -> FeatureRegistry:
        """What services know feature sets by."""

    def bench(self, raw_uri: str, recorded: Collection[str]) -> Bench:
        """A place to compute again from recorded raw objects below one base URI, without writing anything to the store."""
