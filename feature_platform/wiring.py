"""Where ports meet adapters: one environment's stores, engine and catalog, built on first use.

The CLI and Dagster both start here, so that a step does the same whoever runs it. Decisions do not belong here.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_platform.adapters.contract_files import load_catalog
from feature_platform.core.contract.catalog import Catalog
from feature_platform.settings import Settings, load_settings

if TYPE_CHECKING:
    from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine
    from feature_platform.adapters.feature_set_store.feature_sets import ObjectFeatureSetStore
    from feature_platform.ports.object_store import ObjectStore
    from feature_platform.ports.online_store import OnlineStore


@dataclass(frozen=True)
class Platform:
    """One environment. Building it opens no connection and imports no heavy library; each part does so when it is first used."""

    settings: Settings
    catalog: Catalog

    @cached_property
    def objects(self) -> "ObjectStore":
        """The object store that every URI of the settings lies in."""
        from feature_platform.adapters.object_store.s3 import S3ObjectStore

        return S3ObjectStore()

    @cached_property
    def feature_sets(self) -> "ObjectFeatureSetStore":
        """Feature set versions below the feature base."""
        from feature_platform.adapters.feature_set_store.feature_sets import ObjectFeatureSetStore

        return ObjectFeatureSetStore(self.objects, feature_base=self.settings.feature_base, workdir=self.workdir)

    @cached_property
    def engine(self) -> "DuckDBEngine":
        """What validates days and computes features."""
        from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine

        return DuckDBEngine(self.objects, work_uri=self.settings.work_uri, workdir=self.workdir)

    @cached_property
    def online(self) -> "OnlineStore":
        """The online store behind Feast's connection string."""
        from feature_platform.adapters.online_store.redis_store import RedisOnlineStore

        return RedisOnlineStore(self.settings.redis)

    @cached_property
    def feast_store(self) -> Any:
        """The environment's Feast store; importing Feast takes seconds."""
        from feature_platform.adapters.feast.repository import open_store

        return open_store(self.settings)

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


def open_platform(settings: Settings | None = None) -> Platform:
    """The platform of the environment variables, or of given settings.

    Raises:
        ConfigurationError: Settings are missing or wrong.
        ContractError: A contract is wrong.
    """
    settings = settings or load_settings()
    return Platform(settings=settings, catalog=load_catalog(settings.contracts_dir))
