"""Jobs and their schedules: one job of everything, one for each source, one for each feature set, one for their health.

Runs that a sensor starts do not belong here (``defs.automation``).
"""

from datetime import date
from typing import TYPE_CHECKING, Any, Final

import dagster as dg

# Dagster returns this from `define_asset_job` and does not export its name.
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from feature_platform.core.contract.catalog import Catalog
from feature_platform.defs.partitions import days_since
from feature_platform.defs.serving_assets import online_key
from feature_platform.defs.source_assets import raw_key

if TYPE_CHECKING:
    from dagster._core.definitions.partitions.partitioned_schedule import UnresolvedPartitionedAssetScheduleDefinition

    PartitionedSchedule = UnresolvedPartitionedAssetScheduleDefinition | dg.ScheduleDefinition

AssetJob = UnresolvedAssetJobDefinition
JOB_NAME: Final = "daily_features"
HEALTH: Final = "platform_health"
"""An asset with a job of its own that belongs to no other job, because it must run where those failed too."""

SETS_WITH_JOBS: Final = 50
"""Up to this many feature sets, each has a job: Dagster resolves every job against all assets, which for 200 sets took most of the load."""

QUEUE: Final = {"feature_platform/queue": JOB_NAME}
"""Tag by which the instance's run queue limits how many of these runs there are at one time."""


class _OfEverySource(UnresolvedAssetJobDefinition):
    """A job whose partitions are the environment's days: of assets with several (``SourceDays``) Dagster would take any one's."""

    def resolve(self, *given: Any, **named: Any) -> dg.JobDefinition:
        job = super().resolve(*given, **named)
        job._original_partitions_def_argument = self.partitions_def
        return job


def features_job(first_day: date) -> AssetJob:
    """Everything, for one daily partition."""
    return _OfEverySource(
        JOB_NAME,
        selection=dg.AssetSelection.all() - dg.AssetSelection.assets(HEALTH),
        partitions_def=days_since(first_day.isoformat()),
        tags=QUEUE,
        description="Raw events to served features, for one day.",
    )


def jobs_of_parts(catalog: Catalog) -> list[AssetJob]:
    """A job for each source with everything downstream; for up to :data:`SETS_WITH_JOBS` feature sets, a job each with all upstream."""
    health = dg.AssetSelection.assets(HEALTH)
    sources = {
        f"daily_source_{name}": (
            dg.AssetSelection.assets(raw_key(name)).downstream() - health,
            f"Source `{name}` and every feature set on it.",
        )
        for name in sorted(catalog.sources)
    }
    sets = {
        f"daily_set_{name}": (dg.AssetSelection.assets(online_key(name)).upstream(), f"Feature set `{name}` and what it rests on.")
        for name in (sorted(catalog.contracts) if len(catalog.contracts) <= SETS_WITH_JOBS else ())
    }
    return [
        dg.define_asset_job(name, selection=selection, tags=QUEUE, description=f"{what} For one day.")
        for name, (selection, what) in {**sources, **sets}.items()
    ]


def health_job() -> AssetJob:
    """A job for the state of every feature set; it has no tag of the queue, so that it never waits."""
    return dg.define_asset_job("hourly_health", selection=dg.AssetSelection.assets(HEALTH), description="The state of every feature set.")


def hourly_schedule(job: AssetJob, *, is_running: bool) -> dg.ScheduleDefinition:
    """Every hour at a quarter past: after midnight the daily run has mostly ended by then."""
    status = dg.DefaultScheduleStatus.RUNNING if is_running else dg.DefaultScheduleStatus.STOPPED
    return dg.ScheduleDefinition(name=f"{job.name}_at_quarter_past", job=job, cron_schedule="15 * * * *", default_status=status)


def daily_schedule(job: AssetJob, *, is_running: bool) -> "PartitionedSchedule":
    """At 00:00 UTC, for the day that just ended."""
    status = dg.DefaultScheduleStatus.RUNNING if is_running else dg.DefaultScheduleStatus.STOPPED
    return dg.build_schedule_from_partitioned_job(
        job, name=f"{job.name}_at_midnight", hour_of_day=0, minute_of_hour=0, default_status=status
    )
