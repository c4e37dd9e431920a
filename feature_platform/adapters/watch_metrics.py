"""The last look of a watch as metrics for Prometheus, on a port of its own. Looking does not belong here (``use_cases.watch``).

Ages are computed when they are read, so that they grow when the watch hangs.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from feature_platform.core.operations.health import STATES
from feature_platform.errors import ConfigurationError
from feature_platform.use_cases.watch import Look, Watch


class WatchMetrics(Collector):
    """The last look as gauges."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._seen: tuple[Look, datetime] | None = None

    def show(self, look: Look, at: datetime) -> None:
        self._seen = look, at

    def collect(self) -> Iterator[Metric]:
        if self._seen is None:
            return
        (look, at), now = self._seen, datetime.now(UTC)
        yield GaugeMetricFamily("feature_platform_watch_look_age_seconds", "Since the last look", (now - at).total_seconds())
        state = GaugeMetricFamily("feature_platform_state", "1 for the state a feature set is in", labels=["feature_set", "state"])
        age = GaugeMetricFamily("feature_platform_latest_age_seconds", "Since the moment latest is true as of", labels=["feature_set"])
        figures = GaugeMetricFamily(
            "feature_platform_check_figure", "What checks of latest and of its raw day judged", labels=["feature_set", "check", "figure"]
        )
        failed = GaugeMetricFamily("feature_platform_check_failed", "1 where such a check failed", labels=["feature_set", "check"])
        for health in look.healths:
            for check in health.checks:
                failed.add_metric([health.feature_set, check.name], float(bool(check.faults)))
                for name, value in check.figures.items():
                    figures.add_metric([health.feature_set, check.name, name], value)
            for each in STATES:
                state.add_metric([health.feature_set, each], float(health.state == each))
            if health.as_of:
                age.add_metric([health.feature_set], (now - health.as_of).total_seconds())
        alerts = GaugeMetricFamily(
            "feature_platform_incident", "Incidents people were told of, by what is wrong", labels=["subject", "code"]
        )
        told = {(each.problem.subject, each.problem.code) for each in list(self._watch.incidents.values()) if each.alerted_at}
        for labels in sorted(told):
            alerts.add_metric(labels, 1.0)
        yield from (state, age, figures, failed, alerts)

    def serve(self, port: int, *, host: str = "127.0.0.1") -> None:
        """Answer ``/metrics`` from a thread of this process.

        Raises:
            ConfigurationError: The address cannot be listened on.
        """
        registry = CollectorRegistry()
        registry.register(self)
        try:
            start_http_server(port, addr=host, registry=registry)
        except OSError as error:
            raise ConfigurationError(f"Cannot listen on {host}:{port} for metrics ({error}); choose another port or address.") from error
