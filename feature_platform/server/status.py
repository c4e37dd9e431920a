"""What a server reports about itself: whether it is ready, which versions it serves, and how old they are.

It reads markers only. Answers to requests for features do not belong here (``feature_server``), nor depend on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from feature_platform.core.layout import version_moment
from feature_platform.core.online.marker import Marker, decode_marker, marker_key
from feature_platform.errors import FeaturePlatformError, InvalidDataError
from feature_platform.server.metrics import Labels, Metric
from feature_platform.server.online_reader import OnlineReader
from feature_platform.server.proof import described, proof_of
from feature_platform.server.registry_watch import RegistryWatch
from feature_platform.server.served_registry import ServedView

FRESHNESS: Final = Metric("feast_feature_freshness_seconds", "Seconds since the last load was finished", ("feature_view", "project"))
VERSION_AGE: Final = Metric("feature_server_version_age_seconds", "Seconds since the as-of moment of the online version", ("feature_view",))
REGISTRY_AGE: Final = Metric("feature_server_registry_age_seconds", "Seconds since the registry was last read")


@dataclass(frozen=True, slots=True)
class ViewStatus:
    """One view and its marker; ``raw`` is None where the store has none."""

    view: ServedView
    raw: bytes | None

    @property
    def marker(self) -> Marker | None:
        try:
            return decode_marker(self.raw) if self.raw else None
        except InvalidDataError:
            return None

    def fault(self, *, now: datetime, max_age_s: float | None) -> str:
        """Why this view is not served as it should be, or nothing.

        A view that is being loaded over a version that was online is served all along, whole rows of either; that is no fault.
        """
        marker = self.marker
        if marker is None:
            return "the online store has no marker of it: load it"
        if marker.state == "loading" and marker.previous is None:
            return f"its first load, of {marker.target.version}, has not finished"
        served = marker.target if marker.state == "online" or marker.previous is None else marker.previous
        age_s, most_s = age_of(served.version, now=now), max_age_s or self.view.ttl_s
        if age_s is not None and most_s is not None and age_s > most_s:
            return f"{served.version} is {age_s:.0f} s old, expected at most {most_s:.0f} s"
        return ""


class ServerStatus:
    """Answers about a server.

    Args:
        max_age_s: How old an online version may be for the server to be ready; each view's ttl where left out.
    """

    def __init__(self, registry: RegistryWatch, reader: OnlineReader, *, max_age_s: float | None = None) -> None:
        self._registry, self._reader, self._max_age_s = registry, reader, max_age_s

    async def views(self) -> list[ViewStatus]:
        """Every plain view, by name. Errors are those of :meth:`OnlineReader.markers`."""
        registry = self._registry.registry
        views = [view for _, view in sorted(registry.views.items()) if view.is_plain]
        markers = await self._reader.markers([marker_key(registry.project, view.name) for view in views])
        return [ViewStatus(view, raw) for view, raw in zip(views, markers, strict=True)]

    async def versions(self) -> dict[str, Any]:
        """View → what it is served from. Errors are those of :meth:`views`."""
        documents = {}
        for item in await self.views():
            marker = item.marker
            documents[item.view.name] = described(proof_of(item.view.name, item.raw, item.raw), since=marker.since if marker else "")
        return documents

    async def faults(self) -> dict[str, str]:
        """Why the server is not ready, by part; nothing where it is."""
        faults = {} if self._registry.is_current else {"registry": "it could not be read lately"}
        try:
            await self._reader.ping()
            views = await self.views()
        except FeaturePlatformError as error:
            return {**faults, "online_store": str(error)}
        now = datetime.now(UTC)
        found = {item.view.name: item.fault(now=now, max_age_s=self._max_age_s) for item in views}
        return {**faults, **{f"view {name}": fault for name, fault in found.items() if fault}}

    async def gauges(self) -> Sequence[tuple[Metric, Labels, float]]:
        """Ages, for metrics; without those that need an online store that does not answer."""
        now = datetime.now(UTC)
        gauges: list[tuple[Metric, Labels, float]] = []
        if (age_s := self._registry.age_s) is not None:
            gauges.append((REGISTRY_AGE, (), age_s))
        try:
            views = await self.views()
        except FeaturePlatformError:
            return gauges
        for item in views:
            marker = item.marker
            if marker is None or marker.state != "online":
                continue
            since = datetime.fromisoformat(marker.since)
            gauges.append((FRESHNESS, (item.view.name, self._registry.registry.project), (now - since).total_seconds()))
            if (old_s := age_of(marker.target.version, now=now)) is not None:
                gauges.append((VERSION_AGE, (item.view.name,), old_s))
        return gauges


def age_of(version: str, *, now: datetime) -> float | None:
    """Seconds since the as-of moment in a version's id; None where it is no such id."""
    try:
        return (now - version_moment(version)).total_seconds()
    except InvalidDataError:
        return None
