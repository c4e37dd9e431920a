"""A deterministic simulator of the publishing protocols: the real generators of ``core`` over a simulated store.

Every store call is a scheduling point. A seed decides who runs next and what goes wrong: a crash before or after a write, a lost answer,
a client that retries a write which had won and reports 412, a write that is applied long after its sender gave up, and pauses of any
length (a process that is not scheduled). The same seed replays the same schedule. Invariants are checked after every step.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Any

from feature_platform.core.layout import CSV, FILES, METADATA, PARQUET, SCHEMA
from feature_platform.core.publishing import log_access, publication, retention
from feature_platform.core.publishing.publication import Author, Build, Prepare, PreparedFile
from feature_platform.core.publishing.requests import CopyOf, Delete, GetObject, Put, Recall, Remember
from feature_platform.core.versions.feature_table import FileDigest
from feature_platform.core.versions.log import History
from feature_platform.errors import ConflictError, FeaturePlatformError, InvalidDataError, NotFoundError, StorageError
from tests.faults.forged_checkpoints import forge_checkpoint
from tests.faults.invariants import Invariants
from tests.faults.simulated_store import EPOCH, LAYOUT, CrashError, InvariantError, SimStore, sha

FAULT_RATE = 0.06
FREEZE_RATE = 0.02
FORGE_RATE = 0.015


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
    memory: History | None = None


class Simulation(Invariants):
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
            history = yield from log_access.read_history(LAYOUT)
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
        """Pin one version or two, then read all of them: nothing may be missing while the pins stand."""

        def protocol() -> Iterator[Any]:
            history = yield from log_access.read_history(LAYOUT)
            if not history.live:
                return None
            chosen = self.random.sample([version.version for version in history.live], self.random.randint(1, min(2, len(history.live))))
            yield from retention.pin(LAYOUT, *chosen, name=name, author=self.author(name))
            self.pinned.update({(version, name): True for version in chosen})
            for version, file in product(chosen, FILES):
                if (yield GetObject(LAYOUT.version_file(version, file))) is None:
                    raise InvariantError(f"seed {self.seed}: {file} of {version} vanished under a pin")
            for version in chosen:
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
        if self.faults and self.random.random() < FORGE_RATE:
            forge_checkpoint(self.store, self.random)
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
            except InvalidDataError as error:
                raise InvariantError(f"seed {self.seed}: {process.name} was stopped by a file of no live version: {error}") from error
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
        if isinstance(request, Recall | Remember):
            process.answer, process.request = self.remembered(process, request), None
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

    def remembered(self, process: Process, request: Recall | Remember) -> History | None:
        """A process may forget at any time: then it starts from the checkpoint."""
        if isinstance(request, Remember):
            self.check_read(request.history)
            process.memory = request.history
        return process.memory if self.random.random() < 0.5 else None

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
                process.request, process.problem = None, InvalidDataError(f"{request.body.uri} is not what its record says.")
                return None
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
