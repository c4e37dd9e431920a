"""Runs, as the Dagster UI launches and follows them: GraphQL on the webserver, asked from the client pod."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deploy.e2e.cluster import wait_for
from deploy.e2e.release import NAME, Release

LOCATION = "feature_platform.definitions"
JOB = "daily_features"
FINISHED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})
_LAUNCH = """
mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } ... on InvalidSubsetError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }
"""
_RUN = """
query($id: ID!) { runOrError(runId: $id) { __typename ... on Run {
  runId status startTime endTime tags { key value } assetMaterializations { assetKey { path } } } } }
"""
_RUNS = """
query($filter: RunsFilter!) { runsOrError(filter: $filter) { __typename ... on Runs { results {
  runId status startTime endTime tags { key value } } } } }
"""


@dataclass(frozen=True)
class Dagster:
    """The release's Dagster."""

    release: Release

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of a GraphQL answer."""
        answer = self.release.post(f"http://{NAME}-webserver/graphql", {"query": query, "variables": variables})
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def launch(self, *, partition: str | None = None, assets: Sequence[str] = ()) -> str:
        """Queue a run: of the daily job for a partition, or of some assets. Answers its id."""
        selector: dict[str, Any] = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__", "jobName": JOB}
        if assets:
            selector |= {"jobName": "__ASSET_JOB", "assetSelection": [{"path": [name]} for name in assets]}
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        params = {"selector": selector, "runConfigData": {}, "mode": "default", "executionMetadata": {"tags": tags}}
        answer = self.ask(_LAUNCH, params=params)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def run(self, run_id: str) -> Any:
        """A run's state, times and tags (a dict)."""
        found = self.ask(_RUN, id=run_id)["runOrError"]
        assert found["__typename"] == "Run", found
        return found | {"tags": {tag["key"]: tag["value"] for tag in found["tags"]}}

    def runs(self, **tags: str) -> list[Any]:
        """Runs that carry all of these tags; a name's two underscores stand for a slash."""
        wanted = [{"key": key.replace("__", "/"), "value": value} for key, value in tags.items()]
        found = self.ask(_RUNS, filter={"tags": wanted})["runsOrError"]
        assert found["__typename"] == "Runs", found
        return [run | {"tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found["results"]]

    def finished(self, run_id: str, *, timeout_s: float = 420) -> Any:
        """The run, once it ended in whatever way."""
        return wait_for(f"the end of run {run_id}", lambda: _when(self.run(run_id), FINISHED), timeout_s=timeout_s, every_s=1)

    def succeeded(self, run_id: str, *, timeout_s: float = 420) -> Any:
        """The run, once it succeeded.

        Raises:
            AssertionError: It failed; the message has the end of its pod's log.
        """
        run = self.finished(run_id, timeout_s=timeout_s)
        assert run["status"] == "SUCCESS", f"run {run_id} ended as {run['status']}\n{self.log(run_id)}"
        return run

    def started(self, run_id: str) -> Any:
        """The run's pod, once the run executes in it."""
        wait_for(f"the start of run {run_id}", lambda: _when(self.run(run_id), FINISHED | {"STARTED"}), timeout_s=240)
        return self.pod(run_id)

    def pod(self, run_id: str) -> Any:
        """The pod that executes a run, or executed it."""
        (pod,) = self.release.cluster.get("pods", "--selector", f"dagster/run-id={run_id}")
        return pod

    def log(self, run_id: str) -> str:
        """The end of a run's log in its pod."""
        return self.release.cluster.kubectl("logs", "--selector", f"dagster/run-id={run_id}", "--tail=80")


def _when(run: Any, states: frozenset[str]) -> Any:
    return run if run["status"] in states else None
