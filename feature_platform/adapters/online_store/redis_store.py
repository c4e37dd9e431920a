"""Redis as Feast's online store: exact loads of published versions, their marker, repair and comparison.

The steps of a load: take the lease and a token; write a ``loading`` marker that keeps what was online; write every entity of the
version, or only those that differ from what the marker proves to be online; remove those of earlier versions that it lacks; check that
every row was acknowledged by servers that did not restart; write the ``online`` marker. Each chunk is conditional on the token
(``redis_channel``). A load that ends early leaves a ``loading`` marker, by which the next load makes the store exact again.

Bytes and decisions do not belong here (``core.online``), nor Feast's read path (``feast_plugins``).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from typing import TypeVar

import pyarrow as pa

from feature_platform.adapters.online_store.published_file import (
    KEY_ROWS,
    CheckedFile,
    checked_file,
    compare_rows,
    first_rows,
    read_keys,
    version_rows,
)
from feature_platform.adapters.online_store.redis_channel import Channels
from feature_platform.adapters.online_store.redis_connection import RedisTopology, connect, parse_address, redis_errors
from feature_platform.adapters.online_store.redis_lease import LEASE_S, Lease, doubt_marker, hold_lease, read_marker
from feature_platform.adapters.online_store.redis_scan import stored_rows, strays
from feature_platform.core.online.commands import Frames, removals, upserts
from feature_platform.core.online.difference import differences
from feature_platform.core.online.keys import KeyBatch, vanished
from feature_platform.core.online.layout import ViewLayout, refuse_unknown_feast, view_layout
from feature_platform.core.online.load import (
    FULL_EVERY_S,
    LoadPlan,
    LoadReport,
    OnlineLoad,
    RepairReport,
    finished,
    online_version,
    plan_load,
    reason_for_full,
    require_repairable,
)
from feature_platform.core.online.marker import Basis, Marker, OnlineVersion, marker_key, retention_key
from feature_platform.core.online.parity import OnlineRows, ParityReport, sampled
from feature_platform.errors import ConfigurationError, NotFoundError, StorageError

T = TypeVar("T")

Progress = Callable[[int, int], object]
"""Called with rows done and rows in total, a few times a second."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Commands to send, and how many rows of the version they complete, rows they write and entities they remove."""

    frames: Frames | None
    done: int
    written: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class _Session:
    """One load under way."""

    request: OnlineLoad
    layout: ViewLayout
    file: CheckedFile
    topology: RedisTopology
    lease: Lease
    channels: Channels
    progress: Progress


class RedisOnlineStore:
    """The online store behind Feast's connection string.

    Args:
        connection_string: ``host:port[,option=value…]``; a cluster is recognised by asking the server.
        lease_s: Seconds without a renewal after which another load may take over.
        wait_s: Seconds to wait for a load that is running; where left out, until the lease of a dead load has certainly ended.
        expire: Whether keys get a Redis TTL (the contract's), so that Redis drops them when the pipeline stops.
        full_every_s: Seconds after which a load writes every row again, even where only some differ.
    """

    def __init__(
        self,
        connection_string: str,
        *,
        lease_s: float = LEASE_S,
        wait_s: float | None = None,
        expire: bool = True,
        full_every_s: int = FULL_EVERY_S,
    ) -> None:
        self._address = parse_address(connection_string)
        self._lease_s, self._wait_s, self._expire, self._full_every_s = lease_s, wait_s, expire, full_every_s

    def load(self, request: OnlineLoad, *, progress: Progress | None = None, is_full: bool = False) -> LoadReport:
        with self._session(request, progress) as session:
            target = online_version(request, session.layout, row_count=session.file.row_count)
            lease, before = session.lease, session.lease.marker()
            plan = plan_load(before, target, view=session.layout.view, token=lease.token.decode(), since=lease.now())
            servers, now_ms = _run_ids(session.topology), lease.now_ms()
            why = reason_for_full(before, target, servers=servers, now_ms=now_ms, full_every_s=self._full_every_s)
            lease.write_marker(plan.marker)
            marker, swept = plan.marker, 0
            if plan.sweep:
                _, swept = _remove_strays(session, plan.stale_fields)
                marker = replace(plan.marker, swept=True)
                lease.write_marker(marker)
            expire_at_ms = now_ms + 1000 * _retention_s(session) if self._expire else None
            sent, why = self._write(session, plan, before, expire_at_ms=expire_at_ms, why="it was asked for" if is_full else why)
            removed = sent.removed + (_remove_vanished(session, plan) if why else 0)
            _require_whole(session, rows=sent.done, servers=servers)
            basis = Basis(servers, now_ms, expire_at_ms)
            if before and before.basis and not why:
                basis = _carried_on(before.basis, expire_at_ms=expire_at_ms, is_all_written=sent.written == sent.done)
            marker = finished(marker, since=lease.now(), basis=basis)
            lease.finish(marker)
            return LoadReport(request.version, request.sequence, sent.done, sent.written, removed, swept, marker, why)

    def repair(self, request: OnlineLoad) -> RepairReport:
        with self._session(request) as session:
            marker = require_repairable(session.lease.marker(), request)
            scanned, removed = _remove_strays(session, session.layout.fields)
            return RepairReport(scanned, removed, marker)

    def marker(self, *, project: str, view: str) -> Marker | None:
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
        layout, file = view_layout(request.contract, project=request.project), checked_file(request)
        with closing(connect(self._address)) as topology:
            report = compare_rows(file, layout, read or partial(_stored, topology, layout), limit=limit, now_us=now_us)
            chosen = partial(sampled, rows=file.row_count, limit=limit)
            lost = strays(topology, layout, partial(read_keys, request.open_features, layout, batch_rows=KEY_ROWS))
            return _doubted(replace(report, extra=sum(int(chosen(keys).sum()) for _, keys in lost if len(keys))), request, topology)

    def glance(self, request: OnlineLoad, *, rows: int) -> ParityReport:
        layout = view_layout(request.contract, project=request.project)
        with closing(connect(self._address)) as topology:
            report = compare_rows(first_rows(request, rows=rows), layout, partial(_stored, topology, layout), limit=None, now_us=0)
            return _doubted(report, request, topology)

    def used_ratio(self) -> float:
        with closing(connect(self._address)) as topology:
            found = [node.info("memory") for node in topology.nodes]
        return max((memory["used_memory"] / most for memory in found if (most := memory.get("maxmemory"))), default=0.0)

    @contextmanager
    def _session(self, request: OnlineLoad, progress: Progress | None = None) -> Iterator[_Session]:
        refuse_unknown_feast(metadata.version("feast"))
        layout, file = view_layout(request.contract, project=request.project), checked_file(request)
        with closing(connect(self._address)) as topology:
            _require_noeviction(topology)
            with (
                hold_lease(topology, layout, lease_s=self._lease_s, wait_s=self._wait_s) as lease,
                closing(Channels(topology, lease.fences)) as channels,
            ):
                yield _Session(request, layout, file, topology, lease, channels, progress or _silent)

    def _write(
        self, session: _Session, plan: LoadPlan, before: Marker | None, *, expire_at_ms: int | None, why: str | None
    ) -> tuple[_Part, str | None]:
        """Send the rows that differ, or all rows where there is a reason to; returns what was sent, and that reason."""
        if before and not why:
            try:
                return _sent(session, _differing(session, before.target, expire_at_ms=expire_at_ms)), None
            except NotFoundError as error:
                why = f"there is nothing to compare with: {error}"
        return _sent(session, _all_rows(session, plan, expire_at_ms=expire_at_ms)), why


def _all_rows(session: _Session, plan: LoadPlan, *, expire_at_ms: int | None) -> Iterator[_Part]:
    for batch in session.file.rows():
        frames = upserts(batch, session.layout, expire_at_ms=expire_at_ms, obsolete=plan.obsolete_fields, framing=session.channels.framing)
        yield _Part(frames, batch.num_rows, batch.num_rows)


def _differing(session: _Session, online: OnlineVersion, *, expire_at_ms: int | None) -> Iterator[_Part]:
    """The commands that turn the version that is online into that of the request.

    Raises:
        NotFoundError: The online version's file is gone, damaged or another; what was sent so far need not be undone.
    """
    framing, batch_rows = session.channels.framing, session.file.batch_rows
    earlier, later = _ahead(version_rows(session.request, online, like=session.file)), _ahead(session.file.rows(at_once=KEY_ROWS))
    for found in differences(earlier, later, session.layout):
        for changed in found.changed:
            for start in range(0, changed.rows.num_rows, batch_rows):
                rows = changed.rows.slice(start, batch_rows)
                yield _Part(upserts(rows, changed.layout, expire_at_ms=expire_at_ms, framing=framing), 0, written=rows.num_rows)
        frames = removals(found.vanished, session.layout.fields, framing=framing) if len(found.vanished) else None
        yield _Part(frames, found.rows, removed=len(found.vanished))


def _sent(session: _Session, parts: Iterator[_Part]) -> _Part:
    """Send everything; on return all of it is applied."""
    done = written = removed = 0
    for part in _ahead(parts):
        session.lease.renew()
        if part.frames is not None:
            session.channels.send(part.frames)
        done, written, removed = done + part.done, written + part.written, removed + part.removed
        session.progress(done, session.file.row_count)
    session.channels.settle()
    return _Part(None, done, written, removed)


def _carried_on(basis: Basis, *, expire_at_ms: int | None, is_all_written: bool) -> Basis:
    """The basis after a load of only what differs: rows that were not sent keep the moment at which the server drops them."""
    moments = [moment for moment in (expire_at_ms, None if is_all_written else basis.expire_at_ms) if moment is not None]
    return replace(basis, expire_at_ms=min(moments, default=None))


def _doubted(report: ParityReport, request: OnlineLoad, topology: RedisTopology) -> ParityReport:
    """The report; where it found a difference, the marker is changed so that the next load writes every row."""
    if not report.exact:
        key = marker_key(request.project, request.contract.feature_set)
        doubt_marker(topology.place(key), key, version=request.version)
    return report


def _silent(_done: int, _total: int) -> None:
    """The progress function of a caller that gives none."""


def _stored(topology: RedisTopology, layout: ViewLayout, _rows: pa.RecordBatch, keys: pa.Array) -> OnlineRows:
    return stored_rows(topology, layout, keys)


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; the next one is read and encoded while the server works on this one."""
    with ThreadPoolExecutor(1, thread_name_prefix="encode") as encoder:
        waiting = encoder.submit(next, items, None)
        while (current := waiting.result()) is not None:
            waiting = encoder.submit(next, items, None)
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
            # Retention has deleted the file that names them; only a scan can find them.
            return removed + _remove_strays(session, plan.stale_fields)[1]
    return removed


def _remove_strays(session: _Session, fields: tuple[bytes, ...]) -> tuple[int, int]:
    """Remove the view's fields of entities that the version lacks; how many hashes were seen, and how many were removed from."""

    def version_keys() -> Iterator[KeyBatch]:
        for batch in read_keys(session.request.open_features, session.layout, batch_rows=KEY_ROWS):
            session.lease.renew()
            yield batch

    scanned = removed = 0
    for seen, keys in strays(session.topology, session.layout, version_keys):
        scanned += seen
        removed += _remove(session, keys, fields)
    return scanned, removed


def _remove(session: _Session, keys: pa.Array, fields: tuple[bytes, ...]) -> int:
    session.lease.renew()
    if len(keys):
        session.channels.send(removals(keys, fields, framing=session.channels.framing))
        session.channels.settle()
    return len(keys)


def _retention_s(session: _Session) -> int:
    """How long keys of this entity live: the longest time of all views on it, since they share the keys."""
    # Never shortened: another view's load may rely on its keys staying as long as it once asked for.
    key = retention_key(session.request.project, session.layout.key_prefix)
    node = session.topology.place(key)
    own = int(session.request.contract.ttl_duration.total_seconds())
    with redis_errors(node.address):
        if own > int(node.client.hget(key, session.layout.view) or 0):
            node.client.hset(key, session.layout.view, own)
        return max(int(value) for value in node.client.hvals(key))


def _require_noeviction(topology: RedisTopology) -> None:
    for node in topology.nodes:
        policy = node.info("memory").get("maxmemory_policy")
        if policy != "noeviction":
            raise ConfigurationError(
                f"Redis at {node.address} may drop features silently when it is full.",
                [f"maxmemory-policy: expected noeviction, found {policy}; set it in the server's configuration or parameter group"],
            )


def _run_ids(topology: RedisTopology) -> tuple[str, ...]:
    """The run id of each server process; a restart changes it."""
    return tuple(str(node.info("server").get("run_id")) for node in topology.nodes)


def _require_whole(session: _Session, *, rows: int, servers: tuple[str, ...]) -> None:
    """Check what must hold before the marker may say ``online``."""
    if rows != session.file.row_count:
        raise StorageError(f"{session.layout.view}: read {rows} rows of {session.file.row_count}; the file changed under the load.")
    if _run_ids(session.topology) != servers:
        raise StorageError(
            f"{session.layout.view}: a Redis server restarted or was replaced during the load, and may have lost rows. Load again."
        )
    _require_noeviction(session.topology)
