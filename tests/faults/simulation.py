"""A deterministic simulator of the publishing protocols: the real generators of ``core`` over a simulated store.

Every store call is a scheduling point. A seed decides who runs next and what goes wrong: a crash before or after a write, a lost answer,
a client that retries a write which had won and reports 412, a write that is applied long after its sender gave up, and pauses of any
length (a process that is not scheduled). The same seed replays the same schedule. Invariants are checked after every step.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from feature_platform.core import publication, retention
from feature_platform.core.feature_table import FileDigest
from feature_platform.core.layout import CSV, FILES, METADATA, PARQUET, SCHEMA, FeatureSetLayout
from feature_platform.core.log import History, fold, parse_record
from feature_platform.core.publication import Author, Build, Prepare, PreparedFile
from feature_platform.core.store_requests import (
    CopyOf,
    Delete,
    Get,
    GetImmutable,
    Head,
    IfAbsent,
    IfMatch,
    ObjectInfo,
    Put,
    Scan,
    StoredObject,
    Wait,
)
from feature_platform.errors import ConflictError, FeaturePlatformError, NotFoundError, StorageError

LAYOUT = FeatureSetLayout("s3://sim/features", "fs")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
FAULT_RATE = 0.06
FREEZE_RATE = 0.02


class InvariantError(AssertionError):
    """An invariant does not hold; the message names the seed."""


class CrashError(Exception):
    """The simulated process dies here."""


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@dataclass
class SimObject:
    body: bytes
    etag: str
    write_id: str
    sha256: str
    modified_at: datetime


@dataclass
class SimStore:
    """Linearizable object store; ETags are digests of bytes, as S3's are."""

    objects: dict[str, SimObject] = field(default_factory=dict)
    now: datetime = EPOCH

    def info(self, uri: str) -> ObjectInfo | None:
        found = self.objects.get(uri)
        return found and ObjectInfo(uri, found.etag, len(found.body), found.modified_at, found.write_id, found.sha256)

    def read(self, request: Any) -> object:
        match request:
            case Head():
                return self.info(request.uri)
            case Get():
                info = self.info(request.uri)
                return info and StoredObject(info, self.objects[request.uri].body)
            case GetImmutable():
                return tuple(self.objects[uri].body for uri in request.uris)
            case Scan():
                return tuple(info for uri in sorted(self.objects) if uri.startswith(request.prefix) and (info := self.info(uri)))
            case Wait():
                self.now += timedelta(seconds=request.seconds)
                return None
        raise TypeError(request)

    def write(self, request: Put | Delete, body: bytes) -> object:
        if isinstance(request, Delete):
            self.objects.pop(request.uri, None)
            return None
        found = self.objects.get(request.uri)
        if isinstance(request.condition, IfAbsent) and found is not None:
            raise ConflictError("412")
        if isinstance(request.condition, IfMatch) and (found is None or found.etag != request.condition.etag):
            raise ConflictError("412")
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        self.objects[request.uri] = SimObject(body, etag, request.write_id, sha(body), self.now)
        return etag


@dataclass
class Process:
    """One simulated process: what it does, the request it waits on, and what it was told."""

    name: str
    protocol: Iterator[Any]
    on_done: Callable[[object], None]
    restart: Callable[[], "Process"] | None
    answer: object = None
    problem: Exception | None = None
    request: Any = None
    copied: bytes | None = None
    frozen_until: int = 0


class Simulation:
    """One schedule.

    Args:
        seed: Decides everything.
        faults: Probability of a fault at each write.
        is_strict: Whether a build may leave files under one id only, which a sweep of leftovers does not allow it to hold.
    """

    def __init__(self, seed: int, *, faults: float = FAULT_RATE, is_strict: bool = False) -> None:
        self.is_strict = is_strict
        self.random = random.Random(seed)
        self.seed = seed
        self.faults = faults
        self.store = SimStore()
        self.delayed: list[tuple[Put, bytes]] = []
        self.ids = 0
        self.steps = 0
        self.acknowledged: list[str] = []
        self.pinned: dict[tuple[str, str], bool] = {}
        self.committed_bytes: dict[str, bytes] = {}
        self.log_bytes: dict[str, bytes] = {}
        self.deleted: set[str] = set()
        self.shown = 0
        self.history: History | None = None
        self.processes: list[Process] = []

    # -- what processes do -------------------------------------------------------------------------------------------------------------

    def new_id(self) -> str:
        self.ids += 1
        return f"id{self.ids}"

    def author(self, name: str) -> Author:
        return Author(actor=name, reason="", at=self.store.now, new_id=self.new_id)

    def publish(self, name: str, *, day: int, content: str, key: str) -> Process:
        """Commit and promote, as a run does; restarted under the same idempotency key after a crash."""

        def protocol() -> Iterator[Any]:
            build = Build(EPOCH + timedelta(days=day), self.new_id(), key, "schema", sha(content.encode()))
            done = yield from publication.commit(LAYOUT, build, author=self.author(name))
            if done.is_new and self.is_strict:
                self.check_directories(build.write_id)
            move = yield from publication.promote(LAYOUT, done.version.version, author=self.author(name))
            return done.version.version, move.sequence

        def on_done(result: object) -> None:
            version, sequence = result  # type: ignore[misc]
            self.acknowledged.append(version)
            self.check_acknowledged(version, sequence)

        process = Process(name, protocol(), on_done, lambda: self.publish(f"{name}'", day=day, content=content, key=key))
        process.content = content  # type: ignore[attr-defined]
        return process

    def rollback(self, name: str) -> Process:
        def protocol() -> Iterator[Any]:
            history = yield from publication.read_history(LAYOUT)
            if not history.versions:
                return None
            version = self.random.choice(sorted(history.versions))
            move = yield from publication.rollback(LAYOUT, version, author=self.author(name))
            return version, move.sequence

        return Process(name, protocol(), lambda result: result and self.check_acknowledged(*result), None)  # type: ignore[misc]

    def heal(self, name: str) -> Process:
        return Process(name, publication.project(LAYOUT, new_id=self.new_id), lambda _: None, None)

    def collect(self, name: str) -> Process:
        policy = retention.Policy(keep_newest=1, keep_days=0, grace_s=1.0, leftover_age=timedelta(0))
        author = Author(actor=name, reason="", at=EPOCH + timedelta(days=60), new_id=self.new_id)
        return Process(name, retention.collect(LAYOUT, protected=tuple, policy=policy, author=author), lambda _: None, None)

    def trainer(self, name: str) -> Process:
        """Pin a version, then read all of it: nothing may be missing while the pin stands."""

        def protocol() -> Iterator[Any]:
            history = yield from publication.read_history(LAYOUT)
            if not history.live:
                return None
            version = self.random.choice(history.live).version
            yield from retention.pin(LAYOUT, version, name=name, author=self.author(name))
            self.pinned[version, name] = True
            for file in FILES:
                if (yield Get(LAYOUT.version_file(version, file))) is None:
                    raise InvariantError(f"seed {self.seed}: {file} of {version} vanished under a pin")
            self.pinned.pop((version, name))
            yield from retention.unpin(LAYOUT, version, name=name)
            return None

        return Process(name, protocol(), lambda _: None, None)

    def prepare(self, process: Process, request: Prepare) -> dict[str, PreparedFile]:
        content = getattr(process, "content", "")
        bodies = {
            PARQUET: f"parquet {content} {request.version} {self.new_id()}".encode(),
            CSV: f"csv {content}".encode(),
            SCHEMA: b"schema",
        }
        files = {name: {"sha256": sha(body), "bytes": len(body)} for name, body in bodies.items()}
        bodies[METADATA] = json.dumps({"version": request.version, "files": files}).encode()
        return {name: PreparedFile(body, FileDigest(sha(body), len(body))) for name, body in bodies.items()}

    # -- the schedule ------------------------------------------------------------------------------------------------------------------

    def run(self, processes: list[Process], *, max_steps: int = 5_000) -> None:
        """Run to the end, heal once, and check that latest shows the head."""
        self.processes = processes
        for process in processes:
            process.frozen_until = self.random.choice((0, 0, 30, 90))
        while self.processes:
            self.step()
            if self.steps > max_steps:
                raise InvariantError(f"seed {self.seed}: no end after {max_steps} steps")
        for put, body in self.delayed:
            self.apply_late(put, body)
        self.delayed.clear()
        self.faults = 0.0
        self.processes = [self.heal("final heal")]
        while self.processes:
            self.step()
        self.check_converged()

    def step(self) -> None:
        self.steps += 1
        self.store.now += timedelta(milliseconds=self.random.choice((1, 10, 400)))
        if self.delayed and self.random.random() < 0.1:
            self.apply_late(*self.delayed.pop(self.random.randrange(len(self.delayed))))
            self.check_store()
        process = self.awake()
        if self.random.random() < FREEZE_RATE:
            process.frozen_until = self.steps + self.random.choice((10, 40, 160))
            return
        try:
            self.advance(process)
        except CrashError:
            self.processes.remove(process)
            if process.restart and self.random.random() < 0.8:
                self.processes.append(process.restart())
        self.check_store()

    def awake(self) -> Process:
        """A process that is not frozen; when all are, the one that thaws first."""
        awake = [process for process in self.processes if process.frozen_until <= self.steps]
        return self.random.choice(awake) if awake else min(self.processes, key=lambda process: process.frozen_until)

    def advance(self, process: Process) -> None:
        if process.request is None:
            try:
                if process.problem is not None:
                    problem, process.problem = process.problem, None
                    process.request = process.protocol.throw(problem)  # type: ignore[attr-defined]
                else:
                    process.request = process.protocol.send(process.answer)  # type: ignore[attr-defined]
            except StopIteration as stop:
                self.processes.remove(process)
                process.on_done(stop.value)
                return
            except FeaturePlatformError as error:
                self.processes.remove(process)
                if isinstance(error, StorageError) and process.restart and self.random.random() < 0.8:
                    self.processes.append(process.restart())
                return
        self.perform(process)

    def perform(self, process: Process) -> None:
        request = process.request
        if isinstance(request, Prepare):
            process.answer, process.request = self.prepare(process, request), None
            return
        if not isinstance(request, Put | Delete):
            if self.random.random() < self.faults / 4:
                raise CrashError
            process.answer, process.request = self.store.read(request), None
            return
        body = self.body(process, request)
        if body is None:
            return
        process.request, process.copied = None, None
        try:
            process.answer = self.faulty_write(request, body)
        except (ConflictError, StorageError) as error:
            process.problem = error

    def body(self, process: Process, request: Put | Delete) -> bytes | None:
        """The bytes to write; a copy reads its source in one step and writes it in a later one."""
        if isinstance(request, Delete) or not isinstance(request.body, CopyOf):
            return b"" if isinstance(request, Delete) else request.body  # type: ignore[return-value]
        if process.copied is None:
            source = self.store.objects.get(request.body.uri)
            if source is None:
                process.request, process.problem = None, NotFoundError(f"{request.body.uri} is gone.")
                return None
            if sha(source.body) != request.body.sha256:
                raise InvariantError(f"seed {self.seed}: {request.body.uri} is not what its record says")
            process.copied = source.body + (request.body.padding or b"")
            return None
        return process.copied

    def faulty_write(self, request: Put | Delete, body: bytes) -> object:
        if self.random.random() >= self.faults:
            return self.store.write(request, body)
        kind = self.random.choice(("crash before", "crash after", "lost before", "lost after", "retried", "late"))
        if kind == "crash before":
            raise CrashError
        if kind == "lost before":
            raise StorageError("timeout")
        if kind == "late" and isinstance(request, Put):
            self.delayed.append((request, body))
            raise StorageError("timeout")
        answer = self.store.write(request, body)
        if kind == "crash after":
            raise CrashError
        if kind == "retried" and isinstance(request, Put) and request.condition is not None:
            raise ConflictError("412 to the client's own retry")
        if kind == "lost after":
            raise StorageError("timeout")
        return answer

    def apply_late(self, put: Put, body: bytes) -> None:
        try:
            self.store.write(put, body)
        except ConflictError:
            return

    # -- invariants --------------------------------------------------------------------------------------------------------------------

    def fail(self, what: str) -> None:
        raise InvariantError(f"seed {self.seed}, step {self.steps}: {what}")

    def check_store(self) -> None:
        """Everything that must hold at every moment; cheap, because only what changed is looked at anew."""
        objects = self.store.objects
        logged = {uri: found.body for uri, found in objects.items() if uri.startswith(LAYOUT.log)}
        if logged != self.log_bytes:
            if any(logged.get(uri) != body for uri, body in self.log_bytes.items()):
                self.fail("a log record changed or vanished")
            self.log_bytes = logged
            self.history = fold(parse_record(body, uri=uri) for uri, body in sorted(logged.items()))
            self.check_history(self.history)
        self.check_versions(objects)
        self.check_latest(objects)

    def check_history(self, history: History) -> None:
        keys = [v.idempotency_key for v in history.versions.values() if not v.is_expired]
        if len(keys) != len(set(keys)):
            self.fail("a run committed twice")
        commits = [record.version for record in history.records if record.op == "commit"]
        if len(commits) != len(set(commits)):
            self.fail("a version id was committed twice")
        best, gone = None, set()
        for record in history.records:
            if record.op == "expire":
                gone.add(record.version)
            if record.op in {"promote", "rollback"}:
                if record.version in gone:
                    self.fail(f"record {record.seq} moves latest to an expired version")
                order = history.versions[record.version].order
                if record.op == "promote" and best is not None and order < best:
                    self.fail(f"record {record.seq} promotes a version older than latest ever was")
                best = order if best is None else max(best, order)
        if history.head and history.head.version in history.expired:
            self.fail("latest names an expired version")

    def check_versions(self, objects: dict[str, SimObject]) -> None:
        if self.history is None:
            return
        for version in self.history.versions.values():
            if version.is_expired and LAYOUT.version_file(version.version, PARQUET) not in objects:
                self.deleted.add(version.version)  # its id is spent; a builder that thaws may still leave files there, never a version
            if version.version in self.deleted:
                continue
            for name in FILES:
                uri = LAYOUT.version_file(version.version, name)
                found = objects.get(uri)
                if found is None and not version.is_expired:
                    self.fail(f"{uri} is missing")
                if found is not None and found.sha256 != version.files[name].sha256:
                    self.fail(f"{uri} is not what was committed")
        for version_name, _ in self.pinned:
            if any(LAYOUT.version_file(version_name, name) not in objects for name in FILES):
                self.fail(f"{version_name} lost a file under a pin")

    def check_latest(self, objects: dict[str, SimObject]) -> None:
        found = objects.get(LAYOUT.latest_file(PARQUET))
        if found is None:
            return
        sequence = int(found.write_id.split(":", 1)[0])
        if sequence < self.shown:
            self.fail(f"latest went back from record {self.shown} to {sequence}")
        self.shown = sequence
        version = found.body.split(b" ")[2].decode()
        if self.history is None or version not in self.history.versions:
            self.fail("latest shows a version that was never committed")

    def check_directories(self, write_id: str) -> None:
        own = {LAYOUT.version_of(uri) for uri, found in self.store.objects.items() if found.write_id.startswith(f"{write_id}:")}
        if len(own) != 1:
            self.fail(f"a build took its own writes for somebody else's and left files in {sorted(map(str, own))}")

    def check_acknowledged(self, version: str, sequence: int) -> None:
        if self.history is None or version not in self.history.versions:
            self.fail(f"{version} was acknowledged but is not in the log")
        if self.shown < sequence:
            self.fail(f"record {sequence} was acknowledged while latest shows {self.shown}")

    def check_converged(self) -> None:
        history = self.history
        if history is None or history.head is None:
            return
        for version in self.acknowledged:
            if version not in history.versions:
                self.fail(f"acknowledged version {version} was lost")
        for name in FILES:
            shown = self.store.objects.get(LAYOUT.latest_file(name))
            source = self.store.objects[LAYOUT.version_file(history.head.version, name)]
            if shown is None or not shown.write_id.startswith(f"{history.head.sequence}:"):
                self.fail(f"after a heal latest/{name} does not show record {history.head.sequence}")
            elif history.head.operation == "promote" and shown.body != source.body:
                self.fail(f"after a heal latest/{name} differs from {history.head.version}")
            elif name == PARQUET and not shown.body.startswith(source.body):
                self.fail("after a heal latest holds other pages than the head")


def publishing(seed: int, *, faults: float = FAULT_RATE) -> Simulation:
    """A schedule of publishers, corrections, rollbacks and healers."""
    simulation = Simulation(seed, faults=faults, is_strict=True)
    rng = simulation.random
    processes: list[Process] = []
    for number in range(rng.randint(2, 4)):
        day, content = rng.randint(0, 2), rng.choice("abc")
        processes.append(simulation.publish(f"p{number}", day=day, content=content, key=f"run{number}"))
        if rng.random() < 0.25:
            processes.append(simulation.publish(f"twin{number}", day=day, content=content, key=f"run{number}"))
    processes += [simulation.rollback(f"r{number}") for number in range(rng.randint(0, 2))]
    processes += [simulation.heal(f"h{number}") for number in range(rng.randint(0, 2))]
    simulation.run(processes)
    return simulation


def collecting(seed: int, *, faults: float = FAULT_RATE) -> Simulation:
    """A schedule of publishers, collectors, trainers and rollbacks."""
    simulation = Simulation(seed, faults=faults)
    rng = simulation.random
    processes = [
        simulation.publish(f"p{number}", day=rng.randint(0, 3), content=rng.choice("ab"), key=f"run{number}")
        for number in range(rng.randint(2, 4))
    ]
    processes += [simulation.collect(f"g{number}") for number in range(rng.randint(1, 2))]
    processes += [simulation.trainer(f"t{number}") for number in range(rng.randint(1, 3))]
    if rng.random() < 0.6:
        processes.append(simulation.rollback("r"))
    simulation.run(processes)
    return simulation
