"""Redis as Feast's online store: exact loads of published versions, their marker, repair and comparison.

The protocol of a load: take the lease and a token; write a ``loading`` marker that keeps what was online; write every entity of the
version; remove those of earlier versions that it lacks; check that every row was acknowledged by servers that did not restart; write the
``online`` marker. Each chunk is conditional on the token (``redis_channel``). Whatever ends a load early leaves a ``loading``
marker, from which the next load becomes exact again.

Bytes and decisions do not belong here (``core.online``), nor Feast's read path (``feast_plugins``).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata

import pyarrow as pa

from feature_platform.adapters.online_store.published_file import KEY_ROWS, CheckedFile, checked_file, compare_rows, first_rows, read_keys
from feature_platform.adapters.online_store.redis_channel import Channels
from feature_platform.adapters.online_store.redis_connection import RedisTopology, connect, parse_address, redis_errors
from feature_platform.adapters.online_store.redis_lease import LEASE_S, Lease, hold_lease, read_marker
from feature_platform.adapters.online_store.redis_scan import ScanProgress, stored_rows, strays
from feature_platform.core.online.commands import Frames, removals, upserts
from feature_platform.core.online.keys import vanished
from feature_platform.core.online.layout import ViewLayout, refuse_unknown_feast, view_layout
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
from feature_platform.core.online.marker import Marker, marker_key, retention_key
from feature_platform.core.online.parity import OnlineRows, ParityReport, sampled
from feature_platform.errors import ConfigurationError, NotFoundError, StorageError

Progress = Callable[[int, int], object]
"""Is told rows written and rows in total, a few times a second."""


@dataclass(frozen=True, slots=True)
class _Session:
    """One load under way."""

    request: OnlineLoad
    layout: ViewLayout
    file: CheckedFile
    topology: RedisTopology
    lease: Lease
    channels: Channels


class RedisOnlineStore:
    """The online store behind Feast's connection string.

    Args:
        connection_string: ``host:port[,option=value…]``; a cluster is recognised by asking the server.
        lease_s: Seconds of silence after which another load may take over.
        wait_s: Seconds to wait for a load that is running; as long as a silent one needs to be given up, where left out.
        expire: Whether keys get a Redis TTL (the contract's), so that those of a stopped pipeline vanish.
    """

    def __init__(self, connection_string: str, *, lease_s: float = LEASE_S, wait_s: float | None = None, expire: bool = True) -> None:
        self._address = parse_address(connection_string)
        self._lease_s, self._wait_s, self._expire = lease_s, wait_s, expire

    def load(self, request: OnlineLoad, *, progress: Progress | None = None) -> LoadReport:
        """Make a published version exactly what is online for its view; see :class:`ports.OnlineStore`."""
        with self._session(request) as session:
            target = online_version(request, session.layout, row_count=session.file.row_count)
            lease = session.lease
            plan = plan_load(lease.marker(), target, view=session.layout.view, token=lease.token.decode(), since=lease.now())
            servers = _run_ids(session.topology)
            lease.write_marker(plan.marker)
            marker, swept = plan.marker, 0
            if plan.sweep:
                swept = _remove_strays(session, plan.stale_fields, ScanProgress())
                marker = replace(plan.marker, swept=True)
                lease.write_marker(marker)
            rows = self._write(session, plan, progress)
            removed = _remove_vanished(session, plan)
            _require_whole(session, rows=rows, servers=servers)
            marker = finished(marker, since=lease.now())
            lease.finish(marker)
            return LoadReport(request.version, request.sequence, rows, removed, swept, marker)

    def repair(self, request: OnlineLoad) -> RepairReport:
        """Remove every entity of the view that the online version lacks; see :class:`ports.OnlineStore`."""
        with self._session(request) as session:
            marker = require_repairable(session.lease.marker(), request)
            seen = ScanProgress()
            removed = _remove_strays(session, session.layout.fields, seen)
            return RepairReport(seen.scanned, removed, marker)

    def marker(self, *, project: str, view: str) -> Marker | None:
        """What the store says about a view; see :class:`ports.OnlineStore`."""
        with closing(connect(self._address)) as topology:
            key = marker_key(project, view)
            return read_marker(topology.place(key), key)

    def parity(
        self,
        request: OnlineLoad,
        *,
        limit: int | None,
        now_us: int,
        read: Callable[[pa.RecordBatch, pa.Array], OnlineRows] | None = None,
    ) -> ParityReport:
        """Compare what is online with a published version; see :class:`ports.OnlineStore`."""
        layout, file = view_layout(request.contract, project=request.project), checked_file(request)
        with closing(connect(self._address)) as topology:
            report = compare_rows(file, layout, read or partial(_stored, topology, layout), limit=limit, now_us=now_us)
            chosen = partial(sampled, rows=file.row_count, limit=limit)
            lost = strays(topology, layout, partial(read_keys, request.open_features, layout, batch_rows=KEY_ROWS), ScanProgress())
            return replace(report, extra=sum(int(chosen(keys).sum()) for keys in lost))

    def glance(self, request: OnlineLoad, *, rows: int) -> ParityReport:
        """Compare the stored bytes of a version's first rows; see :class:`ports.OnlineStore`."""
        layout = view_layout(request.contract, project=request.project)
        with closing(connect(self._address)) as topology:
            return compare_rows(first_rows(request, rows=rows), layout, partial(_stored, topology, layout), limit=None, now_us=0)

    def used_ratio(self) -> float:
        """How full the fullest server is; see :class:`ports.OnlineStore`."""
        ratios = [0.0]
        with closing(connect(self._address)) as topology:
            for node in topology.nodes:
                with redis_errors(node.address):
                    memory = node.client.info("memory")
                if most := memory.get("maxmemory"):
                    ratios.append(memory["used_memory"] / most)
        return max(ratios)

    @contextmanager
    def _session(self, request: OnlineLoad) -> Iterator[_Session]:
        refuse_unknown_feast(metadata.version("feast"))
        layout, file = view_layout(request.contract, project=request.project), checked_file(request)
        with closing(connect(self._address)) as topology:
            _require_noeviction(topology)
            with (
                hold_lease(topology, layout, lease_s=self._lease_s, wait_s=self._wait_s) as lease,
                closing(Channels(topology, lease.fences)) as channels,
            ):
                yield _Session(request, layout, file, topology, lease, channels)

    def _write(self, session: _Session, plan: LoadPlan, progress: Progress | None) -> int:
        expire_at_ms = session.lease.now_ms() + 1000 * _retention_s(session) if self._expire else None
        encode = partial(
            upserts, layout=session.layout, expire_at_ms=expire_at_ms, obsolete=plan.obsolete_fields, framing=session.channels.framing
        )
        rows = 0
        for frames in _ahead(map(encode, session.file.rows())):
            session.lease.renew()
            session.channels.send(frames)
            rows += len(frames.rows)
            if progress:
                progress(rows, session.file.row_count)
        session.channels.settle()
        return rows


def _stored(topology: RedisTopology, layout: ViewLayout, _rows: pa.RecordBatch, keys: pa.Array) -> OnlineRows:
    return stored_rows(topology, layout, keys)


def _ahead(frames: Iterator[Frames]) -> Iterator[Frames]:
    """The same frames; the next one is read and encoded while the server works on this one."""
    with ThreadPoolExecutor(1, thread_name_prefix="encode") as encoder:
        waiting = encoder.submit(next, frames, None)
        while (current := waiting.result()) is not None:
            waiting = encoder.submit(next, frames, None)
            yield current


def _remove_vanished(session: _Session, plan: LoadPlan) -> int:
    """Remove the view's fields of entities that earlier versions had and this one lacks."""
    removed = 0
    for version in plan.stale:
        layout = version.layout(session.layout)
        try:
            earlier = read_keys(partial(session.request.open_earlier, version.version), layout)
            # Under other join keys no entity of the earlier version is one of this version's.
            current = read_keys(session.request.open_features, session.layout) if layout.keys == session.layout.keys else iter(())
            for keys in vanished(earlier, current):
                removed += _remove(session, keys, plan.stale_fields)
        except NotFoundError:
            # Retention has taken the file that names them; only a scan still knows.
            return removed + _remove_strays(session, plan.stale_fields, ScanProgress())
    return removed


def _remove_strays(session: _Session, fields: tuple[bytes, ...], progress: ScanProgress) -> int:
    version_keys = partial(read_keys, session.request.open_features, session.layout, batch_rows=KEY_ROWS)
    return sum(_remove(session, keys, fields) for keys in strays(session.topology, session.layout, version_keys, progress))


def _remove(session: _Session, keys: pa.Array, fields: tuple[bytes, ...]) -> int:
    session.lease.renew()
    session.channels.send(removals(keys, fields, framing=session.channels.framing))
    session.channels.settle()
    return len(keys)


def _retention_s(session: _Session) -> int:
    """How long keys of this entity live: as long as the most patient of all views on it, since they share the keys."""
    key = retention_key(session.request.project, session.layout.key_prefix)
    node = session.topology.place(key)
    own = int(session.request.contract.ttl_duration.total_seconds())
    with redis_errors(node.address):
        node.client.hset(key, session.layout.view, own)
        return max(own, *(int(value) for value in node.client.hvals(key)))


def _require_noeviction(topology: RedisTopology) -> None:
    for node in topology.nodes:
        # INFO, because managed servers and careful operators forbid CONFIG.
        with redis_errors(node.address):
            policy = node.client.info("memory").get("maxmemory_policy")
        if policy != "noeviction":
            raise ConfigurationError(
                f"Redis at {node.address} may drop features silently when it is full.",
                [f"maxmemory-policy: expected noeviction, found {policy}; set it in the server's configuration or parameter group"],
            )


def _run_ids(topology: RedisTopology) -> tuple[str, ...]:
    """What each server process calls itself; a restart changes it."""
    ids = []
    for node in topology.nodes:
        with redis_errors(node.address):
            ids.append(str(node.client.info("server").get("run_id")))
    return tuple(ids)


def _require_whole(session: _Session, *, rows: int, servers: tuple[str, ...]) -> None:
    """Check what must hold before the marker may say ``online``."""
    if rows != session.file.row_count:
        raise StorageError(f"{session.layout.view}: read {rows} rows of {session.file.row_count}; the file changed under the load.")
    if _run_ids(session.topology) != servers:
        raise StorageError(
            f"{session.layout.view}: a Redis server restarted or was replaced during the load, and may have lost rows. Load again."
        )
    _require_noeviction(session.topology)
