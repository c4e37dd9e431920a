"""The proof of a response log: each of its files compared with the immutable files of the versions that its rows name.

A version's Parquet file is used only if its SHA-256 is that of its commit record. Comparing rows does not belong here (``log_proof``), nor
printing what was found (``cli.prove``).
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from feature_platform.core.layout import PARQUET, SCHEMA
from feature_platform.core.parquet import read_whole
from feature_platform.core.versions.proof import contract_of
from feature_platform.errors import InvalidDataError, NotFoundError, UnknownNameError
from feature_platform.ports.feature_set_store import FeatureSetStore
from feature_platform.ports.object_store import ObjectStore
from feature_platform.server.log_proof import Fault, LogTable, claims, described_row, log_table, places_in, proven

FAULTS_SHOWN: Final = 20
_VERSIONS_HELD: Final = 4


@dataclass
class ProofReport:
    """What a proof found: rows by outcome (``proven``, ``wrong``, ``unknown`` where the server said so), and the first faults."""

    files: int = 0
    answers: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    more_faults: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether everything was proven: nothing wrong, nothing damaged, nothing of unknown origin."""
        return not (self.faults or self.rows["wrong"] or self.rows["unknown"])

    def blame(self, fault: Fault) -> None:
        """Add a fault; the first ones are kept, the others only counted."""
        if len(self.faults) < FAULTS_SHOWN:
            self.faults.append(fault)
        else:
            self.more_faults += 1


class Prover:
    """Proves logs against the versions of one feature base."""

    def __init__(self, feature_sets: FeatureSetStore) -> None:
        self._feature_sets = feature_sets
        self._published = lru_cache(maxsize=_VERSIONS_HELD)(self._read_version)

    def prove(self, log: "Iterator[tuple[str, bytes]]") -> ProofReport:
        """Check every file of a log, given as name and bytes.

        Raises:
            StorageError, ConfigurationError: The feature base cannot be read. What is wrong with the log is in the report.
        """
        report = ProofReport()
        for name, body in log:
            report.files += 1
            try:
                table = log_table(name, read_whole(body))
                self._prove_file(table, report)
                report.answers += len(table.column("answer").unique())
            except (InvalidDataError, pa.ArrowException, OSError) as error:
                report.blame(Fault(name, f"the file is damaged or no response log: {error}"))
        return report

    def _prove_file(self, log: LogTable, report: ProofReport) -> None:
        for (state, versions), places in claims(log).items():
            if state == "unknown":
                report.rows["unknown"] += len(places)
                continue
            candidates = self._between(log, versions) if state == "changed" else versions
            open_places = places
            try:
                for version in candidates:
                    published, timestamp_field = self._published(log.layout.view, version)
                    explained = proven(log, open_places, published, timestamp_field=timestamp_field)
                    open_places = open_places[~explained]
                    if not len(open_places):
                        break
            except (NotFoundError, InvalidDataError) as error:  # said once for all rows that it leaves unproven
                report.blame(Fault(log.name, str(error)))
            else:
                shown = open_places[: FAULTS_SHOWN - len(report.faults)]
                for place in shown:
                    report.blame(Fault(log.name, self._described(log, int(place), candidates), int(place)))
                report.more_faults += len(open_places) - len(shown)
            report.rows["proven"] += len(places) - len(open_places)
            report.rows["wrong"] += len(open_places)

    def _between(self, log: LogTable, versions: Sequence[str]) -> tuple[str, ...]:
        """Every version that was the head from the first of two to the last."""
        if not versions:
            return ()
        history = self._feature_sets.history(log.layout.view)
        moves = [record.version for record in history.records if record.op in {"promote", "rollback"}]
        if not {versions[0], versions[-1]} <= set(moves):
            return tuple(versions)
        first, last = moves.index(versions[0]), len(moves) - moves[::-1].index(versions[-1])
        return tuple(dict.fromkeys(moves[first:last]))

    def _read_version(self, view: str, version: str) -> tuple[pa.Table, str]:
        found = self._feature_sets.readable(view, version)
        with self._feature_sets.open_features(view, version) as file:
            body = file.read()
        expected = found.files[PARQUET].sha256
        if hashlib.sha256(body).hexdigest() != expected:
            raise InvalidDataError(f"{PARQUET} of {view} {version} is not the file that was committed (SHA-256 {expected}).")
        try:
            table = read_whole(body)
        except (pa.ArrowException, OSError) as error:
            raise InvalidDataError(f"{PARQUET} of {view} {version} is damaged: {error}") from error
        uri = self._feature_sets.layout(view).version_file(version, SCHEMA)
        document = self._feature_sets.objects.get(uri)
        if document is None:
            raise NotFoundError(f"{uri} is gone although the log names {version}; restore its previous S3 version.")
        return table, contract_of(document.body, feature_set=view).timestamp_field

    def _described(self, log: LogTable, place: int, versions: Sequence[str]) -> str:
        if not versions:
            return described_row(log, place, versions=(), published=None)
        published, _ = self._published(log.layout.view, versions[-1])
        at = places_in(log.table.slice(place, 1), published, log.layout)[0].as_py()
        row: dict[str, Any] | None = None if at is None else published.slice(at, 1).to_pylist()[0]
        return described_row(log, place, versions=versions, published=row)


def log_files(target: str, objects: ObjectStore) -> Iterator[tuple[str, bytes]]:
    """Every file of a log, in name order.

    Raises:
        UnknownNameError: There is none.
    """
    if target.startswith("s3://"):
        names = [info.uri for info in objects.scan(target.rstrip("/") + "/") if info.uri.endswith(".parquet")]
        bodies = ((name, stored.body) for name in names if (stored := objects.get(name)) is not None)
    else:
        path = Path(target)
        names = sorted(map(str, [path] if path.is_file() else path.rglob("*.parquet")))
        bodies = ((name, Path(name).read_bytes()) for name in names)
    if not names:
        raise UnknownNameError(f"There is no response log at {target}: expected .parquet files, found none.")
    yield from bodies
