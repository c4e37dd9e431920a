"""What Dagster is given as text: assets, checks, jobs, schedules and sensors, each with what its author decided.

``make graph`` writes it anew for the contracts that are shipped; what changed is reviewed as a diff.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import dagster as dg

from feature_platform.definitions import build_definitions
from tests.support.platforms import memory_platform

FILE: Final = Path(__file__).parents[1] / "orchestration" / "graph.txt"


def shipped_graph() -> str:
    """The text of the shipped contracts, as prod has them with Slack."""
    with tempfile.TemporaryDirectory() as home:
        platform = memory_platform(Path(home), env="prod", slack_token="xoxb-test", slack_channel="#features")
        return graph_text(build_definitions(platform))


def graph_text(definitions: dg.Definitions) -> str:
    """One block for each thing, in the order of its name."""
    graph, repository = definitions.resolve_asset_graph(), definitions.get_repository_def()
    blocks = [list(_asset(graph, key)) for key in sorted(graph.get_all_asset_keys())]
    jobs = sorted((job for job in repository.get_all_jobs() if not job.name.startswith("__")), key=lambda job: job.name)
    blocks += [list(_job(job)) for job in jobs]
    blocks += [list(_schedule(each)) for each in sorted(repository.schedule_defs, key=lambda each: each.name)]
    blocks += [list(_sensor(each)) for each in sorted(repository.sensor_defs, key=lambda each: each.name)]
    return "\n\n".join("\n  ".join(block) for block in blocks) + "\n"


def _asset(graph: Any, key: dg.AssetKey) -> Iterator[str]:
    node = graph.get(key)
    yield f"asset {key.to_user_string()} in {node.group_name}"
    yield f"kinds {', '.join(sorted(node.kinds))}; owners {', '.join(node.owners)}"
    for parent in sorted(node.parent_keys):
        mapping = node.partition_mappings.get(parent)
        days = f", days {mapping.start_offset} to {mapping.end_offset}" if isinstance(mapping, dg.TimeWindowPartitionMapping) else ""
        yield f"from {parent.to_user_string()}{days}"
    policy = node.backfill_policy.policy_type.value.lower() if node.backfill_policy else "a run each"
    yield f"partitions {_partitions(node.partitions_def)}; backfill {policy}"
    yield from (f"pool {pool}, one step at a time" for pool in sorted(node.pools))
    for check in sorted(node.check_keys, key=lambda check: check.name):
        yield f"check {check.name}{', blocks' if graph.get_check_spec(check).blocking else ''}"


def _job(job: dg.JobDefinition) -> Iterator[str]:
    yield f"job {job.name}"
    yield f"assets {', '.join(sorted(key.to_user_string() for key in job.asset_layer.selected_asset_keys))}"
    yield f"partitions {_partitions(job.partitions_def)}"
    yield from (f"tag {name}={value}" for name, value in sorted(job.tags.items()))


def _schedule(schedule: dg.ScheduleDefinition) -> Iterator[str]:
    yield f"schedule {schedule.name}"
    zone, status = schedule.execution_timezone or "UTC", schedule.default_status.value.lower()
    yield f"job {schedule.job_name} at {schedule.cron_schedule} {zone}, {status}"


def _sensor(sensor: dg.SensorDefinition) -> Iterator[str]:
    yield f"sensor {sensor.name}"
    jobs = ", ".join(sorted(target.job_name for target in sensor.targets)) or "no job"
    yield f"{sensor.sensor_type.value.lower()} for {jobs}, every {sensor.minimum_interval_seconds} s, {sensor.default_status.value.lower()}"


def _partitions(days: dg.PartitionsDefinition[Any] | None) -> str:
    return "none" if days is None else f"{type(days).__name__} {days.get_first_partition_key() or ''}".strip()


if __name__ == "__main__":
    FILE.write_text(shipped_graph(), encoding="utf-8")
