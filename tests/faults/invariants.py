"""What must hold after every step of a simulated schedule, and once more at its end."""

from feature_platform.core.layout import FILES, PARQUET
from feature_platform.core.versions.log import History, fold, parse_record
from feature_platform.errors import StorageError
from tests.faults.simulated_store import LAYOUT, InvariantError, SimObject, SimStore

LOG, CHECKPOINT = LAYOUT.log, LAYOUT.log_checkpoint


class Invariants:
    """The checks of one schedule, over the store and what its processes were told."""

    seed: int
    steps: int
    store: SimStore
    history: History | None
    log_bytes: dict[str, bytes]
    deleted: set[str]
    pinned: dict[tuple[str, str], bool]
    acknowledged: list[str]
    shown: int
    checked: object = None

    def fail(self, what: str) -> None:
        raise InvariantError(f"seed {self.seed}, step {self.steps}: {what}")

    def check_store(self) -> None:
        """Everything that must hold at every moment; looked at whenever the store or the pins changed."""
        state = (self.store.changes, frozenset(self.pinned))
        if state == self.checked:
            return
        self.checked = state
        objects = self.store.objects
        logged = {uri: found.body for uri, found in objects.items() if uri.startswith(LOG) and uri != CHECKPOINT}
        if logged != self.log_bytes:
            if any(logged.get(uri) != body for uri, body in self.log_bytes.items()):
                self.fail("a log record changed or vanished")
            self.log_bytes = logged
            try:
                self.history = fold(parse_record(body, uri=uri) for uri, body in sorted(logged.items()))
            except StorageError as error:
                self.fail(f"the log does not add up: {error}")
            self.check_history(self.history)
        self.check_versions(objects)
        self.check_latest(objects)

    def check_read(self, history: History) -> None:
        """What a process took for the log is the log as it was once, whatever a checkpoint said."""
        known = self.history.records if self.history else ()
        if history.records != known[: len(history.records)]:
            self.fail("a process read another log than there is")

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
