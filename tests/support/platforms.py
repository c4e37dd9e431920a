"""Platforms to run Dagster on: one in memory, one on real servers, a job to run on either, and what its runs left behind.

Expectations do not belong here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dagster as dg

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.layout import raw_partition
from feature_platform.definitions import build_definitions
from feature_platform.defs.jobs import JOB_NAME
from feature_platform.defs.summary import summaries
from feature_platform.local.services import SHIPPED_CONTRACTS
from feature_platform.ports.object_store import ObjectStore
from feature_platform.settings import Settings
from feature_platform.wiring import Platform, open_platform

UPSTREAM = ("raw_events", "validated_events", "user_features", "user_features_latest")
"""The shipped assets that need no Redis."""

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def memory_platform(
    home: Path, *, contracts: Path = SHIPPED_CONTRACTS, store: ObjectStore | None = None, start: date = date(2026, 1, 10), **given: Any
) -> Platform:
    """A platform in memory that needs no server up to ``user_features_latest``; its Redis address refuses connections.

    ``given`` are further settings, and ports to use by keyword.
    """
    uris = {name: f"s3://memory/{name}" for name in ("raw_uri", "work_uri", "feature_base", "registry_uri")}
    defaults = {"env": "local", **uris, "redis": "127.0.0.1:1", "contracts_dir": contracts, "start_date": start, "home": home}
    settings = {name: value for name, value in given.items() if name in Settings.model_fields}
    ports = {name: value for name, value in given.items() if name not in settings}
    return open_platform(Settings(**defaults | settings), objects=store or MemoryObjectStore(), **ports)


def put_raw(platform: Platform, day: str, files: Mapping[str, bytes], *, source: str = "events") -> None:
    """Deliver raw files of a day as upstream does, over what lies there."""
    for name, body in files.items():
        uri = f"{raw_partition(platform.settings.raw_uri, source, day)}{name}"
        platform.objects.put(uri, body, write_id=f"upstream:{day}:{name}:{len(body)}", sha256=None, condition=None)


def event(user: object, moment: str, *, number: int = 0, **facts: object) -> dict[str, object]:
    """One raw event of the shipped source contract."""
    known = {"event_id": f"{user}-{moment}-{number}", "user_id": user, "event_time": moment, "event_type": "view"}
    return {**known, "session_sec": 10.0, "country": "PL", **facts}


def json_lines(events: Sequence[Mapping[str, object]]) -> bytes:
    """Events as a raw file."""
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in events).encode()


def put_events(platform: Platform, day: str, *, users: Sequence[int] = (1, 2, 3), **facts: Any) -> None:
    """One event of each user at noon of a day."""
    put_raw(platform, day, {"part-0.jsonl": json_lines([event(user, f"{day}T12:00:00Z", **facts) for user in users])})


@dataclass(frozen=True)
class Run:
    """One run of the job, and what Dagster's instance knows of it."""

    result: dg.ExecuteInProcessResult
    instance: dg.DagsterInstance

    @property
    def success(self) -> bool:
        return bool(self.result.success)

    def summary(self, step: str) -> dict[str, str]:
        """The summary of one step, from the run's tags; empty where it left none."""
        run = self.instance.get_run_by_id(self.result.run_id)
        assert run is not None
        return summaries(run.tags).get(step, {})

    def metadata(self, asset: str) -> dict[str, Any]:
        """Metadata values of an asset's last materialization in the run."""
        return list(self._materialized(asset).values())[-1]

    def partitions(self, asset: str) -> dict[str, dict[str, Any]]:
        """Partition → metadata values of what the run materialized."""
        return {str(partition): values for partition, values in self._materialized(asset).items()}

    def _materialized(self, asset: str) -> dict[str | None, dict[str, Any]]:
        records = self.instance.fetch_materializations(dg.AssetKey(asset), limit=100).records
        own = [r.asset_materialization for r in reversed(records) if r.run_id == self.result.run_id and r.asset_materialization]
        return {m.partition: {name: value.value for name, value in m.metadata.items()} for m in own}

    @property
    def failure(self) -> str:
        """What the failed steps said, all of them."""
        failures = [e.step_failure_data for e in self.result.all_events if e.event_type_value == "STEP_FAILURE"]
        return "\n".join(data.user_failure_data.description or "" if data.user_failure_data else str(data.error) for data in failures)

    def count(self, event_type: str) -> int:
        """How many events of a type the run had."""
        return sum(1 for e in self.result.all_events if e.event_type_value == event_type)

    def checks(self) -> dict[str, bool]:
        """Check → whether it passed, of the checks that the run evaluated."""
        return {e.check_name: e.passed for e in self.result.get_asset_check_evaluations()}


class MainJob:
    """The daily job over one platform, run in this process on an instance that forgets."""

    def __init__(self, platform: Platform, *, instance: dg.DagsterInstance, only: Sequence[str] | None = None) -> None:
        self.platform, self.instance = platform, instance
        self._only = only
        self.definitions = build_definitions(platform, retry_delay_s=0)
        self._job = self.definitions.resolve_job_def(JOB_NAME)

    def run(
        self,
        day: str | None,
        *,
        until: str | None = None,
        only: Sequence[str] | None = None,
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> Run:
        """Materialize the assets for one day, for a range of days in one run, or outside of days."""
        chosen = only or self._only
        keys = None if chosen is None else [dg.AssetKey(name) for name in chosen]
        of_range = {} if until is None else {RANGE[0]: str(day), RANGE[1]: until}
        result = self._job.execute_in_process(
            partition_key=day if until is None else None,
            tags={**of_range, **tags},
            instance=self.instance,
            asset_selection=keys,
            run_config=QUIET,
            raise_on_error=False,
        )
        return Run(result, self.instance)

    def version_of(self, day: str, *, feature_set: str = "user_features") -> str | None:
        """The newest version of a day's moment."""
        from feature_platform.core.layout import as_of

        found = self.platform.feature_sets.history(feature_set).newest_of(as_of(day))
        return found.version if found else None

    def latest(self, feature_set: str = "user_features") -> str | None:
        """The version that the log's head names."""
        head = self.platform.feature_sets.history(feature_set).head
        return head.version if head else None
