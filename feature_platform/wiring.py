"""Constructs the adapters of one environment from its settings, each when it is first used.

No other module constructs adapters; the command line, Dagster, Feast's plugins and the server all start here, so that a step does the same
whoever runs it. Decisions do not belong here.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from feature_platform.core.layout import registry_uri
from feature_platform.errors import ConfigurationError
from feature_platform.settings import Settings, load_settings, s3_endpoint_url, variable

if TYPE_CHECKING:
    from feature_platform.adapters.compute.duckdb.session import EngineLimits
    from feature_platform.adapters.feast.repository import Environment
    from feature_platform.core.contract.catalog import Catalog
    from feature_platform.ports.alerts import AlertChannel
    from feature_platform.ports.compute_engine import ComputeEngine
    from feature_platform.ports.feature_registry import FeatureRegistry
    from feature_platform.ports.feature_server import FeatureServer
    from feature_platform.ports.feature_set_store import FeatureSetStore
    from feature_platform.ports.object_store import ObjectStore
    from feature_platform.ports.online_store import OnlineStore
    from feature_platform.ports.orchestrator import Orchestrator
    from feature_platform.ports.raw_events import RawEvents
    from feature_platform.ports.training_set_store import TrainingSetStore

T = TypeVar("T")

SCRATCH_URI = "s3://in-memory/work"
"""The URI below which a bench writes; its object store keeps that in memory."""


@dataclass(frozen=True, slots=True)
class Bench:
    """See :class:`ports.platform.Bench`."""

    raw: "RawEvents"
    engine: "ComputeEngine"


class Platform:
    """One environment; see :class:`ports.platform.Platform`.

    Constructing it opens no connection and imports no heavy library; each port does so when it is first used.

    Args:
        ports: Ports to use instead of the environment's own, by name: ``objects``, ``raw``, ``feature_sets``, ``training_sets``,
            ``engine``, ``online``, ``registry``. Those that build on a replaced one use it.

    Raises:
        TypeError: There is no port of that name.
    """

    def __init__(self, *, settings: Settings, catalog: "Catalog", **ports: object) -> None:
        unknown = ports.keys() - {"objects", "raw", "feature_sets", "training_sets", "engine", "online", "registry"}
        if unknown:
            raise TypeError(f"Platform has no port named {', '.join(sorted(unknown))}")
        self.settings, self.catalog = settings, catalog
        self._given = ports

    @property
    def project(self) -> str:
        return self.settings.feast_project

    @property
    def first_day(self) -> date:
        return self.settings.start_date

    @property
    def look_back_days(self) -> int:
        return self.settings.look_back_days

    @cached_property
    def objects(self) -> "ObjectStore":
        return self._port("objects", s3_at)

    @cached_property
    def _owned(self) -> "ObjectStore":
        """The same, but it refuses writes below a base of another environment. Keys of the registry and Redis contain the environment."""
        from feature_platform.adapters.object_store.owned import OwnedObjects

        return OwnedObjects(self.objects, bases=(self.settings.feature_base, self.settings.work_uri), owner=self.settings.env)

    @cached_property
    def raw(self) -> "RawEvents":
        return self._port("raw", lambda: _raw(self.objects, self.settings.raw_uri))

    @cached_property
    def feature_sets(self) -> "FeatureSetStore":
        return self._port("feature_sets", lambda: feature_sets_at(self.settings.feature_base, objects=self._owned, workdir=self.workdir))

    @cached_property
    def training_sets(self) -> "TrainingSetStore":
        return self._port("training_sets", lambda: _training_sets(self._owned, self.settings.feature_base, self.workdir))

    @cached_property
    def engine(self) -> "ComputeEngine":
        return self._port("engine", lambda: _engine(self._owned, self.settings, self.workdir))

    @cached_property
    def online(self) -> "OnlineStore":
        return self._port("online", lambda: online_store_at(self.settings.redis, full_every_s=86_400 * self.settings.online_full_days))

    @cached_property
    def registry(self) -> "FeatureRegistry":
        return self._port("registry", lambda: _feast(self.settings))

    def bench(self, raw_uri: str, recorded: Collection[str]) -> Bench:
        from feature_platform.adapters.object_store.recorded import RecordedObjects

        objects = RecordedObjects(self.objects, recorded)
        return Bench(_raw(objects, raw_uri), _duckdb(objects, SCRATCH_URI, self.workdir, self.settings.engine_memory_mib))

    @cached_property
    def workdir(self) -> Path:
        """Where files are spooled; below the platform's home, which is sized for it.

        Raises:
            ConfigurationError: The home is a file or cannot be written.
        """
        from feature_platform.adapters.machine.spool import disk_errors

        directory = self.settings.home / "tmp"
        with disk_errors(self.settings.home):
            directory.mkdir(parents=True, exist_ok=True)
        return directory

    def _port(self, name: str, construct: Callable[[], T]) -> T:
        return cast("T", self._given[name]) if name in self._given else construct()


def open_platform(settings: Settings | None = None, **ports: object) -> Platform:
    """The platform of the environment variables, or of given settings, with ports replaced by keyword.

    Raises:
        ConfigurationError: Settings are missing or wrong.
        ContractError: A contract is wrong.
    """
    from feature_platform.adapters.contract_files import load_catalog

    settings = settings or load_settings()
    return Platform(settings=settings, catalog=load_catalog(settings.contracts_dir), **ports)


def feature_sets_at(
    feature_base: str, *, objects: "ObjectStore | None" = None, workdir: Path | None = None, endpoint_url: str | None = None
) -> "FeatureSetStore":
    """Feature set versions below a base URI; on S3, at the environment's endpoint or a given one, where no object store is given."""
    from feature_platform.adapters.feature_set_store.feature_sets import ObjectFeatureSetStore

    return ObjectFeatureSetStore(objects or s3_at(endpoint_url), feature_base=feature_base, workdir=workdir)


def online_store_at(connection_string: str, *, full_every_s: int) -> "OnlineStore":
    """The online store behind Feast's connection string; after so many seconds a load writes every row again."""
    from feature_platform.adapters.online_store.redis_store import RedisOnlineStore

    return RedisOnlineStore(connection_string, full_every_s=full_every_s)


def feature_server_at(address: str, *, tokens: Path | None = None, authority: Path | None = None) -> "FeatureServer":
    """The feature server at a URL; ``tokens`` is the server's file of tokens, ``authority`` the CA certificate to check it by."""
    from feature_platform.adapters.feature_server import HTTPFeatureServer

    return HTTPFeatureServer.of(address, tokens=tokens, authority=authority)


def orchestrator_at(url: str) -> "Orchestrator":
    """Dagster, by its webserver at a URL."""
    from feature_platform.adapters.orchestrator import DagsterWebserver

    return DagsterWebserver(url)


def alert_channels(settings: Settings, *, webhook: Path | None = None) -> "list[AlertChannel]":
    """Slack where the settings name it, and the webhook whose address a file holds; the list may be empty.

    Raises:
        ConfigurationError: The file cannot be read or holds no address.
    """
    from feature_platform.adapters.alerts import SlackChannel, WebhookChannel

    channels: list[AlertChannel] = [WebhookChannel.of(webhook)] if webhook else []
    if settings.slack_token and settings.slack_channel:
        channels.append(SlackChannel(settings.slack_token, settings.slack_channel))
    return channels


def s3_at(endpoint_url: str | None = None, *, patience_s: float | None = None) -> "ObjectStore":
    """The S3 that the environment names, or the one at an endpoint; with a patience it asks once and waits so long for an answer."""
    from feature_platform.adapters.object_store.s3 import S3ObjectStore, S3Timeouts

    once = S3Timeouts(connect_s=0.5, read_s=patience_s, attempts=1, deadline_s=patience_s, body_attempts=1) if patience_s else None
    return S3ObjectStore(endpoint_url=endpoint_url, timeouts=once)


def _raw(objects: "ObjectStore", uri: str) -> "RawEvents":
    from feature_platform.adapters.events.raw_files import RawFiles

    return RawFiles(objects, uri)


def label_engine() -> "ComputeEngine":
    """An engine that looks features up and has no events to read."""
    return _duckdb(s3_at(), SCRATCH_URI, None, None)


def _engine(objects: "ObjectStore", settings: Settings, workdir: Path) -> "ComputeEngine":
    if settings.spark_remote is None:
        return _duckdb(objects, settings.work_uri, workdir, settings.engine_memory_mib)
    try:
        from feature_platform.adapters.compute.spark.engine import SparkEngine
    except ImportError as error:
        raise ConfigurationError(f"{variable('spark_remote')} is set, and {error}. Install feature-platform[spark].") from error
    limits = _limits(settings.engine_memory_mib)
    return SparkEngine(objects, remote=settings.spark_remote, work_uri=settings.work_uri, workdir=workdir, limits=limits)


def _duckdb(objects: "ObjectStore", work_uri: str, workdir: Path | None, memory_mib: int | None) -> "ComputeEngine":
    from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine

    return DuckDBEngine(objects, work_uri=work_uri, workdir=workdir, limits=_limits(memory_mib))


def _limits(memory_mib: int | None) -> "EngineLimits | None":
    from feature_platform.adapters.compute.duckdb.session import EngineLimits

    return EngineLimits(memory_bytes=memory_mib << 20) if memory_mib else None


def _training_sets(objects: "ObjectStore", feature_base: str, workdir: Path) -> "TrainingSetStore":
    from feature_platform.adapters.training.training_sets import ObjectTrainingSetStore

    return ObjectTrainingSetStore(objects, feature_base=feature_base, workdir=workdir)


def feast_environment(settings: Settings) -> "Environment":
    """The addresses that an environment's Feast is configured with."""
    from feature_platform.adapters.feast.repository import Environment

    return Environment(
        project=settings.feast_project,
        registry_uri=registry_uri(settings.registry_uri, settings.env),
        feature_base=settings.feature_base,
        redis=settings.redis,
        s3_endpoint=s3_endpoint_url(),
    )


def _feast(settings: Settings) -> "FeatureRegistry":
    from feature_platform.adapters.feast.registry import FeastRegistry

    return FeastRegistry(feast_environment(settings))
