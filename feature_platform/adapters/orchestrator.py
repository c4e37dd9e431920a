"""The orchestrator port over the GraphQL of Dagster's webserver: daemons, code locations, schedules, runs; in one request.

Over the network, because a watch must work when daemon and code location are dead. Alerting does not belong here (``use_cases.watch``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import urllib3

from feature_platform.core.operations.health import Problem
from feature_platform.ports.orchestrator import SUBJECT

_ANSWER_S: Final = 10.0
_SILENT: Final = timedelta(minutes=2)
"""A daemon is dead without a heartbeat for this long; it sends one every 30 seconds."""

_STUCK: Final = timedelta(minutes=30)
_EVALUATED: Final = timedelta(minutes=10)
"""Time after which the daemon must have evaluated a schedule that was due."""

_LOOKED_BACK: Final = timedelta(days=7)
_RUNS: Final = 500
_LONGEST: Final = 300
_OK: Final = 200

_QUERY: Final = """
query Watch($ended: RunsFilter!, $waiting: RunsFilter!, $limit: Int!, $due: Float!) {
  instance { daemonHealth { allDaemonStatuses { daemonType required lastHeartbeatTime } } }
  workspaceOrError {
    __typename
    ... on PythonError { message causes { message } }
    ... on Workspace { locationEntries { name locationOrLoadError {
      __typename
      ... on PythonError { message causes { message } }
      ... on RepositoryLocation { repositories { schedules {
        name defaultStatus potentialTickTimestamps(startTimestamp: $due, upperLimit: 1, lowerLimit: 1)
        scheduleState { status ticks(limit: 1) { timestamp status } typeSpecificData { ... on ScheduleData { startTimestamp } } }
      } } }
    } } }
  }
  ended: runsOrError(filter: $ended, limit: $limit) { ... on Runs { results { runId jobName status creationTime tags { key value } } } }
  waiting: runsOrError(filter: $waiting, limit: $limit) { ... on Runs { results { runId jobName status creationTime } } }
}
"""


@dataclass(frozen=True, slots=True)
class DagsterWebserver:
    """Dagster as its webserver at a URL shows it; see :class:`ports.orchestrator.Orchestrator`."""

    url: str

    def problems(self, *, now: datetime) -> Sequence[Problem]:
        try:
            answer = self._ask(now)
            seen = self._locations(answer["workspaceOrError"])
            return [*self._daemons(answer, now), *seen, *self._schedules(answer), *self._runs(answer, now)]
        except (urllib3.exceptions.HTTPError, OSError, ValueError, LookupError, TypeError) as error:
            told = f"its webserver at {self.url} does not answer as it should ({type(error).__name__})"
            return [
                self._problem("orchestrator_unreachable", "webserver", told, "See the webserver's log, and whether its database answers.")
            ]

    def _ask(self, now: datetime) -> Any:
        since = (now - _LOOKED_BACK).timestamp()
        variables = {
            "ended": {"statuses": ["SUCCESS", "FAILURE", "CANCELED"], "createdAfter": since},
            "waiting": {"statuses": ["QUEUED", "NOT_STARTED", "STARTING", "CANCELING"]},
            "limit": _RUNS,
            "due": (now - _EVALUATED).timestamp(),
        }
        answer = urllib3.request(
            "POST", f"{self.url.rstrip('/')}/graphql", json={"query": _QUERY, "variables": variables}, timeout=_ANSWER_S, retries=False
        )
        if answer.status != _OK:
            raise ValueError(f"status {answer.status}")
        return answer.json()["data"]

    def _daemons(self, answer: Mapping[str, Any], now: datetime) -> Iterator[Problem]:
        """One problem for all dead daemons, which are threads of one process."""
        silent = []
        for status in answer["instance"]["daemonHealth"]["allDaemonStatuses"]:
            heard = datetime.fromtimestamp(status["lastHeartbeatTime"], UTC) if status["lastHeartbeatTime"] else None
            if status["required"] and (heard is None or now - heard > _SILENT):
                silent.append(f"{status['daemonType']} ({f'since {heard:%H:%M:%S} UTC' if heard else 'never'})")
        if silent:
            told = f"daemons give no sign of life: {', '.join(silent)}"
            yield self._problem("daemon_dead", "daemon", told, "Start `dagster-daemon run` again; its log says why it ended.")

    def _locations(self, workspace: Mapping[str, Any]) -> Iterator[Problem]:
        remedy = "See its log: a contract or a setting is wrong, or its process is gone. Runs cannot start until it loads."
        if workspace["__typename"] != "Workspace":
            yield self._problem("location_broken", "workspace", f"the workspace does not load: {_cause(workspace)}", remedy)
            return
        for entry in workspace["locationEntries"]:
            loaded = entry["locationOrLoadError"]
            if loaded and loaded["__typename"] == "PythonError":
                told = f"code location {entry['name']} does not load: {_cause(loaded)}"
                yield self._problem("location_broken", entry["name"], told, remedy, page="/locations")

    def _schedules(self, answer: Mapping[str, Any]) -> Iterator[Problem]:
        """Schedules that are on by default and were switched off, and schedules that were due and started no run."""
        entries = answer["workspaceOrError"].get("locationEntries", ())
        repositories = [found for entry in entries for found in (entry["locationOrLoadError"] or {}).get("repositories", ())]
        for schedule in (each for repository in repositories for each in repository["schedules"]):
            name, state = schedule["name"], schedule["scheduleState"]
            if state["status"] != "RUNNING":
                if schedule["defaultStatus"] == "RUNNING":
                    told, remedy = f"schedule {name} is switched off", "Switch it on again: until then no day is built by itself."
                    yield self._problem("schedule_off", name, told, remedy, page="/automation", state="degraded")
                continue
            due, begun = next(iter(schedule["potentialTickTimestamps"]), None), (state["typeSpecificData"] or {}).get("startTimestamp")
            if due is None:
                continue
            seen = next((tick for tick in state["ticks"] if tick["timestamp"] >= due), None)
            if begun is None or begun > due or (seen and seen["status"] != "FAILURE") or _is_made(answer, due):
                continue
            told = f"schedule {name} started no run at {datetime.fromtimestamp(due, UTC):%Y-%m-%d %H:%M} UTC"
            remedy = "Materialize that day by hand, which also ends this. The schedule's ticks and the daemon's log say why."
            yield self._problem("schedule_missed", name, told, remedy, page="/automation", state="degraded")

    def _runs(self, answer: Mapping[str, Any], now: datetime) -> Iterator[Problem]:
        for run in answer["waiting"]["results"]:
            waited = now - datetime.fromtimestamp(run["creationTime"], UTC)
            if waited > _STUCK:
                told = f"run {run['runId'][:8]} of {run['jobName']} is {run['status']} for {int(waited.total_seconds() // 60)} minutes"
                remedy = "See what holds the queue (the run before it, its concurrency pool) and the daemon's log; terminate what hangs."
                yield self._problem("run_stuck", run["runId"], told, remedy, page=f"/runs/{run['runId']}", state="degraded")
        newest: dict[tuple[str, str], Mapping[str, Any]] = {}
        for run in sorted(answer["ended"]["results"], key=lambda run: -float(run["creationTime"])):
            newest.setdefault((run["jobName"], _covered(run)), run)
        for (job, covered), run in newest.items():
            if run["status"] == "FAILURE":
                told = f"run {run['runId'][:8]} of {job}{f' for {covered}' if covered else ''} failed"
                remedy = (
                    "Open the run: the failed step names the remedy. Re-execute it from there; a later run that succeeds ends this too."
                )
                yield self._problem("run_failed", f"{job} {covered}", told, remedy, page=f"/runs/{run['runId']}", state="degraded")

    def _problem(self, code: str, part: str, told: str, remedy: str, *, page: str = "", state: Any = "failing") -> Problem:
        return Problem(SUBJECT, code, part, state, told, remedy, f"{self.url.rstrip('/')}{page}")


def _is_made(answer: Mapping[str, Any], due_s: float) -> bool:
    """Whether a successful run covered the day that ended at a moment, whoever started it."""
    day = f"{datetime.fromtimestamp(due_s, UTC) - timedelta(days=1):%Y-%m-%d}"
    covered = [_covered(run).split("..") for run in answer["ended"]["results"] if run["status"] == "SUCCESS"]
    return any(days[0] <= day <= days[-1] for days in covered)


def _covered(run: Mapping[str, Any]) -> str:
    """The partitions of a run, so that a failed day is over when a run of that day succeeds; empty for a run without partitions."""
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    first, last = tags.get("dagster/asset_partition_range_start"), tags.get("dagster/asset_partition_range_end")
    return str(tags.get("dagster/partition") or (f"{first}..{last}" if first else ""))


def _cause(error: Mapping[str, Any]) -> str:
    """The message of the innermost cause of an error, on one line."""
    innermost = [error, *error["causes"]][-1]
    return " ".join(str(innermost["message"]).split())[:_LONGEST]
