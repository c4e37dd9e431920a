"""The counters of a server, summed over all of its workers, for Prometheus.

Each worker counts in plain Python numbers and writes a copy of them to a file every second; the worker that is asked adds the copies up.
The files of workers that died stay, so that sums never fall. (prometheus_client's own counters would cost a request 10 µs.)
Names are Feast's where they mean the same. When something is counted does not belong here (``feature_server``, ``app``).
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; a histogram where it has bounds."""

    name: str
    help: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()


LATENCY_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

REQUESTS: Final = Metric("feast_feature_server_request", "Requests by endpoint and status", ("endpoint", "status"))
LATENCY: Final = Metric(
    "feast_feature_server_request_latency_seconds",
    "Time from the whole body to the answer",
    ("endpoint", "feature_count", "feature_view_count"),
    LATENCY_S,
)
READ: Final = Metric("feast_feature_server_online_store_read_duration_seconds", "The online store's part of a request", (), LATENCY_S)
FEATURE_REQUESTS: Final = Metric("feast_online_features_request", "Requests for online features that were answered with values")
ENTITIES: Final = Metric(
    "feast_online_features_entity_count", "Entity rows per request for online features", (), (1, 5, 10, 25, 50, 100, 250, 500, 1000)
)
STATUSES: Final = Metric("feast_online_features_status", "Values by view and status", ("feature_view", "status"))
INEXACT: Final = Metric("feature_server_inexact_answers", "Answers during a load, or of unknown origin", ("feature_view", "state"))
CACHE_HITS: Final = Metric("feature_server_cache_hits", "Rows answered from the cache", ("feature_view",))
CACHE_MISSES: Final = Metric("feature_server_cache_misses", "Rows that the cache lacked", ("feature_view",))
DEADLINES: Final = Metric("feature_server_deadlines_missed", "Requests that the online store did not answer in time")
SHED: Final = Metric("feature_server_shed", "Requests refused at once because too many were under way", ("where",))
BY_FEAST: Final = Metric("feature_server_passed_to_feast", "Requests that Feast's own server answered")
LOGGED: Final = Metric("feature_server_response_log_rows", "Rows of the response log by outcome", ("outcome",))

METRICS: Final = (
    REQUESTS, LATENCY, READ, FEATURE_REQUESTS, ENTITIES, STATUSES, INEXACT, CACHE_HITS, CACHE_MISSES, DEADLINES, SHED, BY_FEAST, LOGGED,
)  # fmt: skip


class Number(msgspec.Struct):
    """One counter under its labels."""

    value: int = 0


class Histogram(msgspec.Struct):
    """One histogram under its labels: how many values lie up to each bound and beyond the last, and their sum."""

    bounds: tuple[float, ...]
    counts: list[int]
    total: float = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Counts:
    """The numbers of one worker. What counts often keeps its :class:`Number`, because finding it costs more than adding to it."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, Labels], Number] = {}
        self._histograms: dict[tuple[str, Labels], Histogram] = {}

    def number(self, metric: Metric, *labels: str) -> Number:
        key = (metric.name, labels)
        return self._numbers.get(key) or self._numbers.setdefault(key, Number())

    def histogram(self, metric: Metric, *labels: str) -> Histogram:
        fresh = Histogram(metric.bounds, [0] * (len(metric.bounds) + 1))
        return self._histograms.setdefault((metric.name, labels), fresh)

    def add(self, metric: Metric, *labels: str, count: int = 1) -> None:
        self.number(metric, *labels).value += count

    def value(self, metric: Metric, *labels: str) -> int:
        return self.number(metric, *labels).value

    def dump(self) -> bytes:
        """The numbers as bytes, for :func:`added_up`."""
        # Lists, because this runs in a thread while the event loop adds labels.
        numbers, histograms = list(self._numbers.items()), list(self._histograms.items())
        return msgspec.json.encode(
            _Dump(
                [(name, labels, number.value) for (name, labels), number in numbers],
                [(name, labels, value.bounds, value.counts, value.total) for (name, labels), value in histograms],
            )
        )


class _Dump(msgspec.Struct):
    counters: list[tuple[str, Labels, int]]
    histograms: list[tuple[str, Labels, tuple[float, ...], list[int], float]]


def added_up(dumps: Iterable[bytes]) -> Counts:
    """The sum of several workers' numbers; a dump that is not whole is left out."""
    total = Counts()
    for raw in dumps:
        try:
            dump = msgspec.json.decode(raw, type=_Dump)
        except msgspec.DecodeError:
            continue
        for name, labels, value in dump.counters:
            total._numbers.setdefault((name, labels), Number()).value += value
        for name, labels, bounds, counts, added in dump.histograms:
            known = total._histograms.setdefault((name, labels), Histogram(bounds, [0] * len(counts)))
            known.counts = [left + right for left, right in zip(known.counts, counts, strict=True)]
            known.total += added
    return total


class MetricsBoard:
    """The counters of one worker, and the directory through which the workers of one server share theirs.

    Args:
        directory: Shared by the workers; None for a worker alone.
        name: This worker's, unique among all that ever used the directory.
    """

    def __init__(self, directory: Path | None, *, name: str) -> None:
        self._file = directory / f"{name}.json" if directory else None
        self.counts = Counts()

    def publish(self) -> None:
        """Write a copy of this worker's counters to its file, whole or not at all."""
        if self._file:
            fresh = self._file.with_suffix(".new")
            fresh.write_bytes(self.counts.dump())
            fresh.replace(self._file)

    def rendered(self, gauges: Sequence[tuple[Metric, Labels, float]]) -> bytes:
        """Every worker's numbers and some momentary values, in Prometheus' text format."""
        others = [path.read_bytes() for path in self._file.parent.glob("*.json") if path != self._file] if self._file else []
        return _rendered(added_up([self.counts.dump(), *others]), gauges)


def _rendered(counts: Counts, gauges: Sequence[tuple[Metric, Labels, float]]) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest

    class Collector:
        def collect(self) -> Iterator[Any]:
            yield from _families(counts, gauges)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(registry)


def _families(counts: Counts, gauges: Sequence[tuple[Metric, Labels, float]]) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    for metric in METRICS:
        if metric.bounds:
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for (name, labels), value in counts._histograms.items():
                if name == metric.name:
                    histogram.add_metric(labels, _cumulative(metric.bounds, value.counts), value.total)
            yield histogram
        else:
            counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
            for (name, labels), number in counts._numbers.items():
                if name == metric.name:
                    counter.add_metric(labels, number.value)
            yield counter
    for metric in dict.fromkeys(metric for metric, _, _ in gauges):
        gauge = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        for found, labels, moment in gauges:
            if found == metric:
                gauge.add_metric(labels, moment)
        yield gauge


def _cumulative(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    buckets, total = [], 0
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets


_BINS: Final = (1, 5, 20, 50, 100)


def feature_count_label(count: int) -> str:
    """A range that holds a number of features, so that there are few labels.

    >>> feature_count_label(3), feature_count_label(500)
    ('2-5', '101+')
    """
    place = bisect_left(_BINS, count)
    if place == len(_BINS):
        return f"{_BINS[-1] + 1}+"
    return "1" if place == 0 else f"{_BINS[place - 1] + 1}-{_BINS[place]}"
