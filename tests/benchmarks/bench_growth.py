"""What a long log costs a fresh process: requests and time with 10 records and with 10,000, on a real S3 server.

    make bench-growth                                         10,000 records
    python -m tests.benchmarks.bench_growth --records 500     fewer

Each operation runs in a process of its own that starts, asks and ends; its requests are those that reach the server. The peer is the same
operation beside a log of 10 records. Times are medians of interleaved rounds, of whole processes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from feature_platform.adapters.object_store.s3 import S3ObjectStore
from feature_platform.adapters.online_store.memory import MemoryOnlineStore
from feature_platform.core.layout import FeatureSetLayout, version_id
from feature_platform.core.versions.log import Record, fold
from feature_platform.settings import Settings
from feature_platform.use_cases.inspect import status
from feature_platform.use_cases.serve import published_head
from feature_platform.wiring import Platform, open_platform
from tests.benchmarks.build_commits import embedded_bucket
from tests.benchmarks.figures import ROOT, Figure, write_figures
from tests.support.feature_set_samples import DAY, FEATURE_SET, open_store, publish, sample_contract
from tests.support.services import S3Bucket

FEW: Final = 10
OPERATIONS: Final = ("know the head", "commit", "promote", "heal", "status", "open what Feast reads")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one operation asked of the server, and how long its process took."""

    requests: int
    elapsed_s: float


def lengthen(bucket: S3Bucket, root: str, *, records: int) -> None:
    """A log of so many records: versions that were committed and promoted day by day, the newest five of them whole."""
    store = open_store(bucket.store, root)
    if records > FEW:
        first = (FEW - records) // 2
        publish(store, "a", day=first)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(partial(_put, bucket, store.layout(FEATURE_SET)), _invented(store, first=first, count=records - FEW - 2)))
        store = open_store(bucket.store, root)
    for day in range(FEW // 2):
        publish(store, "b", day=day)
    assert len(store.history(FEATURE_SET).records) == records


def _invented(store: Any, *, first: int, count: int) -> Iterator[Record]:
    """Records of versions without files, one day after the other from the day after the first."""
    history = store.history(FEATURE_SET)
    commit, promotion = history.records
    for number in range(count):
        moment = DAY + timedelta(days=first + 1 + number // 2)
        facts = {"seq": history.next_sequence, "version": version_id(moment), "as_of": moment, "body": b"", "chain": history.chain}
        record = replace(promotion if number % 2 else commit, write_id=f"invented{number}", **facts)
        record = replace(record, body=record.to_json())
        # The state of these records is not asked for: only their number and their chain are carried on.
        history = replace(fold([replace(record, op="expire")], before=replace(history, expired=frozenset())), versions={})
        yield record


def _put(bucket: S3Bucket, layout: FeatureSetLayout, record: Record) -> None:
    bucket.store.put(layout.log_record(record.seq), record.to_json(), write_id=record.write_id, sha256=None, condition=None)


def measure(directory: Path, *, records: int, rounds: int, operations: Sequence[str] = OPERATIONS) -> list[Figure]:
    """Requests and seconds of every operation, beside a log of ``records`` and one of a few."""
    figures = []
    with embedded_bucket(directory) as bucket:
        roots = {count: f"{bucket.uri}{count}/" for count in (records, FEW)}
        for count, root in roots.items():
            lengthen(bucket, root, records=count)
        for operation in operations:
            costs: dict[int, list[Cost]] = {count: [] for count in roots}
            for turn in range(rounds):
                for count, root in roots.items():
                    costs[count].append(_run(bucket, operation, root, number=turn))
            for unit, of in (("requests", _requests), ("s", _elapsed_s)):
                ours, peer = (round(statistics.median(map(of, costs[count])), 2) for count in (records, FEW))
                figures.append(Figure(f"{operation}, {records:,} records; peer: {FEW}", ours, peer, round(ours / peer, 2), unit))
    return figures


def _requests(cost: Cost) -> float:
    return cost.requests


def _elapsed_s(cost: Cost) -> float:
    return cost.elapsed_s


def _run(bucket: S3Bucket, operation: str, root: str, *, number: int) -> Cost:
    command = [sys.executable, "-m", __spec__.name if __spec__ else __name__, "--step", operation, root, str(number)]
    started = time.perf_counter()
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **bucket.env, "PYTHONPATH": str(ROOT)}, timeout=600
    )
    return Cost(int(done.stdout.splitlines()[-1]), time.perf_counter() - started)


@contextmanager
def _counted() -> Iterator[list[str]]:
    """Every request that this process sends to S3."""
    from botocore.httpsession import URLLib3Session

    sent: list[str] = []
    original = URLLib3Session.send

    def send(session: Any, request: Any) -> Any:
        sent.append(request.method)
        return original(session, request)

    URLLib3Session.send = send
    try:
        yield sent
    finally:
        URLLib3Session.send = original


def _platform(root: str, home: Path) -> Platform:
    uris = {name: f"{root}{name}" for name in ("raw_uri", "work_uri", "registry_uri")}
    settings = Settings(
        env="local",
        **uris,
        feature_base=f"{root}features",
        redis="127.0.0.1:1",
        contracts_dir=ROOT / "feast_repo" / "contracts",
        start_date=date(2026, 1, 10),
        home=home,
    )
    return open_platform(settings, online=MemoryOnlineStore())


def _step(operation: str, root: str, number: int) -> None:
    """One operation of a fresh process, and how many requests it made."""
    with tempfile.TemporaryDirectory(prefix="bench-growth-") as home, _counted() as sent:
        platform = _platform(root, Path(home))
        store = open_store(S3ObjectStore(), root, workdir=Path(home))
        steps: dict[str, Callable[[], object]] = {
            "know the head": lambda: store.history(FEATURE_SET).head,
            "commit": lambda: publish(store, "c", day=20_000 + number, promoted=False),
            "promote": lambda: store.promote(FEATURE_SET, version_id(DAY + timedelta(days=20_000 + number)), actor="test"),
            "heal": lambda: store.heal(FEATURE_SET),
            "status": lambda: status(platform, sample_contract(), now=datetime.now(UTC)),
            "open what Feast reads": partial(_open_head, platform),
        }
        steps[operation]()
        print(len(sent))


def _open_head(platform: Platform) -> None:
    with published_head(platform.feature_sets, FEATURE_SET, project="bench") as head, head.load.open_features() as file:
        file.read(4)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.step:
        operation, root, number = options.step
        _step(operation, root, int(number))
        return
    with tempfile.TemporaryDirectory(prefix="bench-growth-") as directory:
        figures = measure(Path(directory), records=options.records, rounds=options.rounds)
    write_figures(figures, name="growth", title="A fresh process beside a long log")


if __name__ == "__main__":
    main()
