"""The online store in this process's memory: Feast's hashes as dictionaries, loaded row by row in the simplest way.

For tests and dry runs; it passes the same contract suite as Redis. Keys are never dropped by age, and nothing outlives the process. Speed
does not belong here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from threading import Lock

import pyarrow as pa

from feature_platform.adapters.online_store.published_file import CheckedFile, checked_file, compare_rows, first_rows, read_keys
from feature_platform.core.online.decoding import project_of_key
from feature_platform.core.online.encoding import encode_keys
from feature_platform.core.online.layout import ViewLayout, view_layout
from feature_platform.core.online.load import (
    LoadPlan,
    LoadReport,
    OnlineLoad,
    RepairReport,
    finished,
    online_version,
    plan_load,
    require_repairable,
)
from feature_platform.core.online.marker import Basis, Marker
from feature_platform.core.online.parity import OnlineRows, ParityReport, published_values, sampled
from feature_platform.errors import ConflictError, NotFoundError

Fields = dict[bytes, bytes]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class MemoryOnlineStore:
    """Implements :class:`ports.OnlineStore`.

    Args:
        hashes: Redis key → field → value, as Feast would read them.
        now: The clock that markers are dated by.
    """

    hashes: dict[bytes, Fields] = field(default_factory=dict)
    now: Callable[[], str] = _now
    _markers: dict[tuple[str, str], Marker] = field(default_factory=dict)
    _busy: Lock = field(default_factory=Lock)
    _loads: int = 0

    def load(self, request: OnlineLoad, *, progress: Callable[[int, int], object] | None = None, is_full: bool = False) -> LoadReport:
        del is_full  # this store always writes every row
        layout, file = view_layout(request.contract, project=request.project), checked_file(request)
        if not self._busy.acquire(blocking=False):
            raise ConflictError(f"Another load of {layout.view} is running. It ends by itself; then load again.")
        try:
            self._loads += 1
            target = online_version(request, layout, row_count=file.row_count)
            marker = self.marker(project=layout.project, view=layout.view)
            plan = plan_load(marker, target, view=layout.view, token=str(self._loads), since=self.now())
            self._markers[layout.project, layout.view] = plan.marker
            swept = self._remove(self._strays(request, layout), plan.stale_fields) if plan.sweep else 0
            self._write(file, layout, plan, progress)
            removed = self._remove_stale(request, layout, plan)
            done = finished(plan.marker, since=self.now(), basis=Basis((), 0, None))
            self._markers[layout.project, layout.view] = done
            rows = file.row_count
            return LoadReport(request.version, request.sequence, rows, rows, removed, swept, done, "this store always writes all")
        finally:
            self._busy.release()

    def repair(self, request: OnlineLoad) -> RepairReport:
        layout = view_layout(request.contract, project=request.project)
        checked_file(request)
        marker = require_repairable(self.marker(project=layout.project, view=layout.view), request)
        scanned = sum(project_of_key(key) == layout.key_suffix for key in self.hashes)
        return RepairReport(scanned, self._remove(self._strays(request, layout), layout.fields), marker)

    def marker(self, *, project: str, view: str) -> Marker | None:
        return self._markers.get((project, view))

    def parity(
        self,
        request: OnlineLoad,
        *,
        limit: int | None,
        now_us: int,
        read: Callable[[pa.RecordBatch, pa.Array], OnlineRows] | None = None,
    ) -> ParityReport:
        layout, file = view_layout(request.contract, project=request.project), checked_file(request)
        report = compare_rows(file, layout, read or (lambda _rows, keys: self.stored(layout, keys)), limit=limit, now_us=now_us)
        strays = pa.array(self._strays(request, layout), pa.binary())
        return replace(report, extra=int(sampled(strays, rows=file.row_count, limit=limit).sum()))

    def glance(self, request: OnlineLoad, *, rows: int) -> ParityReport:
        layout = view_layout(request.contract, project=request.project)
        return compare_rows(first_rows(request, rows=rows), layout, lambda _rows, keys: self.stored(layout, keys), limit=None, now_us=0)

    def used_ratio(self) -> float:
        return 0.0

    def forget(self, layout: ViewLayout) -> None:
        """Remove a view with its marker."""
        self._remove([key for key in self.hashes if project_of_key(key) == layout.key_suffix], layout.fields)
        self._markers.pop((layout.project, layout.view), None)

    def _write(self, file: CheckedFile, layout: ViewLayout, plan: LoadPlan, progress: Callable[[int, int], object] | None) -> None:
        done, names = 0, (layout.timestamp_field, *(name for name, _ in layout.features))
        for batch in file.rows():
            values = published_values(batch, layout)
            for key, *row in zip(encode_keys(batch, layout).to_pylist(), *(values[name].to_pylist() for name in names), strict=True):
                fields = self.hashes.setdefault(key, {})
                fields |= dict(zip(layout.fields, row, strict=True))
                for obsolete in plan.obsolete_fields:
                    fields.pop(obsolete, None)
            done += batch.num_rows
            if progress:
                progress(done, file.row_count)

    def _remove_stale(self, request: OnlineLoad, layout: ViewLayout, plan: LoadPlan) -> int:
        current = set(_keys(request, layout))
        removed = 0
        for version in plan.stale:
            try:
                batches = read_keys(partial(request.open_earlier, version.version), version.layout(layout))
                earlier = {key for batch in batches for key in batch.keys.to_pylist()}
            except NotFoundError:
                return removed + self._remove(self._strays(request, layout), plan.stale_fields)
            removed += self._remove(list(earlier - current), plan.stale_fields)
        return removed

    def _remove(self, keys: list[bytes], fields: tuple[bytes, ...]) -> int:
        for key in keys:
            left = {name: value for name, value in self.hashes.get(key, {}).items() if name not in fields}
            if left:
                self.hashes[key] = left
            else:
                self.hashes.pop(key, None)
        return len(keys)

    def _strays(self, request: OnlineLoad, layout: ViewLayout) -> list[bytes]:
        current = set(_keys(request, layout))
        ours = (key for key, fields in self.hashes.items() if layout.timestamp_key in fields and project_of_key(key) == layout.key_suffix)
        return [key for key in ours if key not in current]

    def stored(self, layout: ViewLayout, keys: pa.Array) -> OnlineRows:
        names = (layout.timestamp_field, *(name for name, _ in layout.features))
        found = [self.hashes.get(key, {}) for key in keys.to_pylist()]
        columns = {
            name: pa.array([fields.get(place) for fields in found], pa.binary()) for name, place in zip(names, layout.fields, strict=True)
        }
        return OnlineRows(columns, columns[layout.timestamp_field].is_valid().to_numpy(zero_copy_only=False))


def _keys(request: OnlineLoad, layout: ViewLayout) -> list[bytes]:
    return [key for batch in read_keys(request.open_features, layout) for key in batch.keys.to_pylist()]
