"""What is counted of an answer with values: the numbers of one plan, found once and kept. Other counts belong where they arise."""

from collections.abc import Sequence
from typing import Final

from feature_platform.server import metrics
from feature_platform.server.answers import ViewColumns
from feature_platform.server.metrics import Counts
from feature_platform.server.plans import RequestPlan
from feature_platform.server.proof import Proof

FEATURES_PATH: Final = "/get-online-features"


class AnswerCounts:
    """The numbers of one plan's answers in a worker's ``counts``."""

    def __init__(self, counts: Counts, plan: RequestPlan) -> None:
        self._counts = counts
        self._requests = counts.number(metrics.FEATURE_REQUESTS)
        self._entities, self._read = counts.histogram(metrics.ENTITIES), counts.histogram(metrics.READ)
        self._latency = counts.histogram(metrics.LATENCY, FEATURES_PATH, plan.features_label, plan.views_label)
        self._present = [counts.number(metrics.STATUSES, part.view.name, "present") for part in plan.views]

    def add(self, views: Sequence[ViewColumns], proofs: Sequence[Proof], *, rows: int, read_s: float, total_s: float) -> None:
        """Count one answer of so many rows."""
        self._requests.value += 1
        self._entities.observe(rows)
        self._read.observe(read_s)
        self._latency.observe(total_s)
        for view, proof, present in zip(views, proofs, self._present):  # noqa: B905  a keyword costs half a microsecond
            late, width = sum(view.late) if view.late else 0, len(view.columns)
            present.value += (rows - late) * width
            if late:
                self._counts.add(metrics.STATUSES, proof.view, "outside_max_age", count=late * width)
            if not proof.is_exact:
                self._counts.add(metrics.INEXACT, proof.view, proof.state)
