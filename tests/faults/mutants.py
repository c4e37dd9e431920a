"""Mutants of the publishing protocols: each removes one rule that the invariants rest on. A suite that lets one live proves nothing.

Source of the list: the measured campaign in which each of these lost or tore something.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from feature_platform.core.layout import FILES, PARQUET, FeatureSetLayout
from feature_platform.core.objects import IfAbsent
from feature_platform.core.publishing import decisions, log_access, publication, retention
from feature_platform.core.publishing.requests import CopyOf, Delete, GetObject, HeadObject, Put, Scan, Wait
from feature_platform.core.versions import log
from feature_platform.errors import ConflictError, StorageError
from tests.faults import simulation
from tests.faults.simulated_store import LAYOUT
from tests.faults.simulation import Simulation

Mutant = Callable[[], Any]


def _rewriting_put(change: Callable[[Put], Put]) -> Mutant:
    """A mutant whose writes reach the store changed."""
    original = Simulation.perform

    def perform(self: Simulation, process: Any) -> None:
        if isinstance(process.request, Put):
            process.request = change(process.request)
        original(self, process)

    return lambda: patch.object(Simulation, "perform", perform)


def _unconditional(matches: Callable[[str], bool]) -> Mutant:
    return _rewriting_put(lambda put: replace(put, condition=None) if matches(put.uri) else put)


def _no_read_back() -> Any:
    def settle(put: Put) -> Iterator[Any]:
        try:
            yield put
        except ConflictError:
            return False
        except StorageError:
            raise
        return True

    return _patch_everywhere("settle", settle)


@contextmanager
def _patch_everywhere(name: str, value: Any) -> Iterator[None]:
    with ExitStack() as patched:
        for module in (log_access, publication, retention):
            if hasattr(module, name):
                patched.enter_context(patch.object(module, name, value))
        yield


def _no_idempotency_key() -> Any:
    return patch.object(decisions, "existing_version", lambda _history, **_facts: None)


def _head_before_etags() -> Any:
    def project(layout: FeatureSetLayout, *, new_id: Any) -> Iterator[Any]:
        for _ in range(publication.MAX_PASSES):
            history = yield from log_access.read_history(layout)
            seen = {}
            for name in FILES:
                seen[name] = yield HeadObject(layout.latest_file(name))
            stale = [] if history.head is None else [n for n in FILES if not publication._shows(seen[n], history.head.sequence)]
            if not stale:
                return history, 0
            for name in stale:
                shown = {"head": history.head, "version": history.head_version}
                if not (yield from publication._project_file(layout, name, seen=seen[name], **shown, new_id=new_id)):
                    break
        raise StorageError("no end")

    return patch.object(publication, "project", project)


def _no_clean_pass() -> Any:
    def project(layout: FeatureSetLayout, *, new_id: Any) -> Iterator[Any]:
        seen = {}
        for name in FILES:
            seen[name] = yield HeadObject(layout.latest_file(name))
        history = yield from log_access.read_history(layout)
        stale = [] if history.head is None else [n for n in FILES if not publication._shows(seen[n], history.head.sequence)]
        for name in stale:
            shown = {"head": history.head, "version": history.head_version}
            yield from publication._project_file(layout, name, seen=seen[name], **shown, new_id=new_id)
        return history, 0

    return patch.object(publication, "project", project)


def _acknowledged_early() -> Any:
    def project(layout: FeatureSetLayout, *, new_id: Any) -> Iterator[Any]:
        del new_id
        return (yield from log_access.read_history(layout)), 0

    return patch.object(publication, "project", project)


def _backfill_promotes() -> Any:
    return patch.object(decisions, "refusal_to_promote", lambda history, version: decisions.committed(history, version) and None)


def _no_padding() -> Mutant:
    return _rewriting_put(lambda put: replace(put, body=replace(put.body, padding=None)) if isinstance(put.body, CopyOf) else put)


def _unexpire() -> Any:
    """A collector that takes its expire record back when it finds a pin, by deleting the record."""

    def collect(layout: FeatureSetLayout, *, protected: Any, policy: Any, author: Any) -> Iterator[Any]:
        candidates = yield from retention.survey(layout, protected=protected(), policy=policy, now=author.at)
        for candidate in candidates:
            if (yield from retention._expire(layout, candidate, author=author)):
                continue
            pins = yield from retention.list_pins(layout)
            if candidate.version in pins:
                history = yield from log_access.read_history(layout)
                last = max(r.seq for r in history.records if r.op == "expire" and r.version == candidate.version)
                yield Delete(layout.log_record(last))
                continue
            for name in retention.DELETE_ORDER:
                yield Delete(layout.version_file(candidate.version, name))
        return retention.Sweep((), {})

    return patch.object(retention, "collect", collect)


def _pins_before_expire() -> Any:
    def collect(layout: FeatureSetLayout, *, protected: Any, policy: Any, author: Any) -> Iterator[Any]:
        candidates = yield from retention.survey(layout, protected=protected(), policy=policy, now=author.at)
        for candidate in candidates:
            pins = yield from retention.list_pins(layout)
            if candidate.version in pins or (yield from retention._expire(layout, candidate, author=author)):
                continue
            yield Wait(policy.grace_s)
            for name in retention.DELETE_ORDER:
                yield Delete(layout.version_file(candidate.version, name))
        return retention.Sweep((), {})

    return patch.object(retention, "collect", collect)


def _pinner_does_not_recheck() -> Any:
    def pin(layout: FeatureSetLayout, *versions: str, name: str, author: Any) -> Iterator[Any]:
        history = yield from log_access.read_history(layout)
        for version in versions:
            decisions.committed(history, version)
            body = json.dumps({"pin": name}).encode()
            yield from publication.settle(Put(layout.pin(version, name), body, author.new_id(), IfAbsent()))
        return True

    return patch.object(retention, "pin", pin)


def _rollback_to_expired() -> Any:
    return patch.object(decisions, "committed", lambda history, version: history.versions[version])


def _expire_without_check() -> Any:
    """Expire by overwriting whatever record has the next number."""
    original = Simulation.perform

    def perform(self: Simulation, process: Any) -> None:
        if isinstance(process.request, Put) and process.request.uri.startswith(LAYOUT.log) and b'"op": "expire"' in process.request.body:
            process.request = replace(process.request, condition=None)
        original(self, process)

    return patch.object(Simulation, "perform", perform)


def _sweep_without_expire() -> Any:
    """A collector that deletes the leftovers of builds without expiring their id first."""

    def expire(layout: FeatureSetLayout, candidate: Any, *, author: Any) -> Iterator[Any]:
        if candidate.reason.startswith("left by"):
            yield Scan(layout.log)
            return None
        return (yield from _expire_original(layout, candidate, author=author))

    return patch.object(retention, "_expire", expire)


_expire_original = retention._expire


def _any_checkpoint() -> Any:
    """A reader that takes a checkpoint's last record for the log's own."""

    def checkpoint(layout: FeatureSetLayout) -> Iterator[Any]:
        stored = yield GetObject(layout.log_checkpoint)
        return log_access._unpacked(stored.body, uri=layout.log_checkpoint) if stored else log.EMPTY

    return patch.object(log_access, "_checkpoint", checkpoint)


def _no_chain() -> Any:
    """A reader that does not compare what a record says of those before it."""
    original = log.fold

    def fold(records: Any, **options: Any) -> log.History:
        return original((replace(record, chain="") for record in records), **options)

    return patch.object(log_access, "fold", fold)


PUBLISHING: dict[str, Mutant] = {
    "checkpoint believed unseen": _any_checkpoint,
    "chain not compared": _no_chain,
    "no condition on version files": _unconditional(lambda uri: LAYOUT.version_of(uri) is not None),
    "no condition on the log": _unconditional(lambda uri: uri.startswith(LAYOUT.log)),
    "no read-back after 412": _no_read_back,
    "no idempotency key": _no_idempotency_key,
    "projection without If-Match": _unconditional(lambda uri: uri.startswith(LAYOUT.latest)),
    "head read before the ETags": _head_before_etags,
    "backfill promotes": _backfill_promotes,
    "no final clean pass": _no_clean_pass,
    "acknowledged before latest shows it": _acknowledged_early,
    "rollback returns to earlier bytes": _no_padding(),
}
COLLECTING: dict[str, Mutant] = {
    "unexpire": _unexpire,
    "pins listed before the expire record": _pins_before_expire,
    "pinner does not check again": _pinner_does_not_recheck,
    "rollback to an expired version": _rollback_to_expired,
    "expire without compare-and-set": _expire_without_check,
    "leftovers swept without expiring their id": _sweep_without_expire,
}
CAMPAIGNS = {**dict.fromkeys(PUBLISHING, simulation.publishing), **dict.fromkeys(COLLECTING, simulation.collecting)}
MUTANTS = {**PUBLISHING, **COLLECTING}
__all__ = ["CAMPAIGNS", "MUTANTS", "PARQUET"]
