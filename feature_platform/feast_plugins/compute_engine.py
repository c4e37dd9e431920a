"""``feast materialize`` run by hand: it loads the published version exactly and fenced, as the platform's own load does.

Feast's own engine turns integers with nulls into floats (exact only up to 2^53), keeps entities that vanished, and knows neither marker nor
fence. Views without a log are left to it. Loading itself does not belong here (``ports.online_store``). Decision:
docs/adr/0004-materialize-by-hand.md.
"""

from typing import Any

from feast import FeatureStore, FileSource
from feast.infra.common.materialization_job import MaterializationJobStatus
from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig
from feast.infra.compute_engines.local.job import LocalMaterializationJob

from feature_platform.adapters.feast.objects import SCHEMA_HASH_TAG, feast_objects
from feature_platform.adapters.feast.repository import COMPUTE_ENGINE
from feature_platform.core.layout import PARQUET
from feature_platform.errors import FeaturePlatformError, NotFoundError
from feature_platform.settings import s3_endpoint_url
from feature_platform.use_cases.serve import PublishedHead, published_head
from feature_platform.wiring import feature_sets_at, online_store_at


class PublishedVersionEngineConfig(LocalComputeEngineConfig):  # type: ignore[misc]  # Feast ships no types
    """The ``batch_engine`` section of ``feature_store.yaml``; ``backend`` is for views that are left to Feast's engine."""

    type: str = COMPUTE_ENGINE
    backend: str | None = "polars"


class PublishedVersionEngine(LocalComputeEngine):  # type: ignore[misc]
    """Materializes a view of a feature set by making the head of its log exactly what is online.

    The head is loaded whatever the start of the interval is, so that a correction or a rollback to an older moment is loaded too; one that
    lies beyond the end is not.
    """

    def __init__(self, *, backend: str | None = "polars", **options: Any) -> None:
        super().__init__(backend=backend, **options)

    def _materialize_one(self, registry: Any, task: Any, **options: Any) -> Any:
        view = task.feature_view
        base = feature_base_of(view)
        if base is None:
            return super()._materialize_one(registry, task, **options)
        job_id = f"{view.name}-{task.start_time}-{task.end_time}"
        try:
            self._load(base, task)
        except FeaturePlatformError as error:
            return LocalMaterializationJob(job_id=job_id, status=MaterializationJobStatus.ERROR, error=error)
        return LocalMaterializationJob(job_id=job_id, status=MaterializationJobStatus.SUCCEEDED)

    def _load(self, base: str, task: Any) -> None:
        view = task.feature_view
        feature_sets = feature_sets_at(base, endpoint_url=s3_endpoint_url() or view.batch_source.s3_endpoint_override or None)
        with published_head(feature_sets, view.name, project=task.project) as head:
            if head.as_of > task.end_time and not task.disable_event_timestamp:
                raise NotFoundError(
                    f"{view.name}: the published version {head.load.version} is true as of {head.as_of:%Y-%m-%dT%H:%M:%SZ}, after the end "
                    f"of the interval ({task.end_time:%Y-%m-%dT%H:%M:%SZ}). Only the published version can be online; choose a later end."
                )
            if view.tags.get(SCHEMA_HASH_TAG) != head.load.schema_hash:
                self._describe(head, base, s3_endpoint=view.batch_source.s3_endpoint_override or None)
            # Every row, each time: a person who materializes by hand may want to correct what others wrote to the online store.
            store = online_store_at(self.repo_config.online_store.connection_string, full_every_s=0)
            store.load(head.load, progress=_progress(task, head))

    def _describe(self, head: PublishedHead, base: str, *, s3_endpoint: str | None) -> None:
        """Apply the head's own contract: after a rollback, or an apply before the first build, the registry has another one."""
        objects = feast_objects([head.load.contract], feature_base=base, s3_endpoint=s3_endpoint)
        FeatureStore(config=self.repo_config).apply(objects.all, partial=True)


def feature_base_of(view: Any) -> str | None:
    """The base URI below which the view's feature set is published; None for a view over any other source."""
    source = view.batch_source
    ending = f"/{view.name}/latest/{PARQUET}"
    if not isinstance(source, FileSource) or not source.path.startswith("s3://") or not source.path.endswith(ending):
        return None
    return str(source.path).removesuffix(ending)


def _progress(task: Any, head: PublishedHead) -> Any:
    if task.tqdm_builder is None:
        return None
    bar: Any = None
    done = 0

    def show(rows: int, total: int) -> None:
        nonlocal bar, done
        if bar is None:
            bar = task.tqdm_builder(total)
            bar.set_description(head.load.version)
        bar.update(rows - done)
        done = rows
        if rows >= total:
            bar.close()

    return show
