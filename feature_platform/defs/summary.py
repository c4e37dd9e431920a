"""The summary line of every step, also of one that failed: feature set, partition, version, URI, rows, outcome; in log and run tags.

Messages to Slack do not belong here: sensors (``defs.automation``) make them from these tags.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from feature_platform.defs.failures import Retry, as_dagster_failures
from feature_platform.defs.partitions import partitions_of, span

TAG_PREFIX = "feature_platform/summary."
CAUSE = "feature_platform/cause"
"""Run tag that says why a sensor started the run; it becomes the reason in the log of versions."""
_LONGEST_TAG = 1_000


def summaries(tags: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Step → what its summary says, from a run's tags.

    >>> summaries({"feature_platform/summary.raw_events": "rows=5 outcome=succeeded", "dagster/partition": "2026-01-14"})
    {'raw_events': {'rows': '5', 'outcome': 'succeeded'}}
    """
    return {
        tag.removeprefix(TAG_PREFIX): dict(part.split("=", 1) for part in line.split(" ") if "=" in part)
        for tag, line in tags.items()
        if tag.startswith(TAG_PREFIX)
    }


@dataclass
class Report:
    """The facts of a step's summary, collected while it works."""

    facts: dict[str, Any] = field(default_factory=dict)
    outcome: str = "succeeded"
    started_s: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the work began, in milliseconds; a pause before it does not count."""
        return round(time.monotonic() - self.started_s, 3)

    def skip(self) -> None:
        self.outcome = "skipped"

    def add(self, **facts: object) -> None:
        self.facts.update(facts)


def run_id_of(context: dg.AssetExecutionContext) -> str:
    """The run that a step belongs to; ``direct`` for an asset that is called as a function."""
    try:
        return context.run.run_id
    except dg.DagsterError:
        return "direct"


@contextmanager
def reported(
    context: dg.AssetExecutionContext | dg.OutputContext,
    *,
    feature_set: str,
    partitions: Sequence[str] | None = None,
    retry: Retry | None = None,
    is_last: bool = True,
) -> Iterator[Report]:
    """Run a part of a step: map its errors to Dagster's, and write the summary in every case.

    Args:
        context: The context of the step's body, or of its IO manager.
        feature_set: Feature set or source that the step is about.
        partitions: What the step covers; read from the body's context where left out.
        retry: The pause before a second attempt; left out by an IO manager, whose step's body paused already.
        is_last: False for a body whose IO manager ends the step; then only a failure is summed up here.
    """
    report = Report()
    outcome = "failed"
    try:
        if retry is not None and isinstance(context, dg.AssetExecutionContext):
            retry.pause(context)
            report.started_s = time.monotonic()
        with as_dagster_failures():
            yield report
        outcome = report.outcome
    finally:
        if is_last or outcome == "failed":
            covered = partitions_of(context) if isinstance(context, dg.AssetExecutionContext) else sorted(partitions or ())
            spelled = span(covered, between="..") if covered else "-"
            known = {"feature_set": feature_set, "partition": spelled, "version": "-", "uri": "-", "rows": "-"}
            _write(context, {**known, **report.facts, "outcome": outcome})


def _write(context: dg.AssetExecutionContext | dg.OutputContext, facts: dict[str, Any]) -> None:
    step = context.asset_key.to_user_string()
    line = " ".join(f"{name}={str(value).replace(' ', '_')}" for name, value in facts.items())
    context.log.info(f"summary {step}: {line}")
    try:
        run, instance = (context.run, context.instance) if isinstance(context, dg.AssetExecutionContext) else _run_of(context)
    except dg.DagsterError:
        return  # called directly, outside any run: the log line is all there is
    instance.add_run_tags(run.run_id, {f"{TAG_PREFIX}{step}": line[:_LONGEST_TAG]})


def cause_of(context: dg.OutputContext) -> str:
    """Why a run was asked for; empty where a person or a schedule started it."""
    try:
        return _run_of(context)[0].tags.get(CAUSE, "")
    except dg.DagsterError:
        return ""


def _run_of(context: dg.OutputContext) -> tuple[dg.DagsterRun, dg.DagsterInstance]:
    step = context.step_context
    return step.dagster_run, step.instance
