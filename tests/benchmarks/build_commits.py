"""What writing and committing a version costs on a real S3 server: against encoding alone, and against encoding and plain uploads.

Both sides share two cores with the server. Encoding and features are those of ``bench_build``.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from feature_platform.adapters.feature_set_store.feature_sets import ObjectFeatureSetStore
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.versions.feature_table import FeatureTable
from feature_platform.core.versions.metadata import Provenance
from feature_platform.local.seaweedfs import endpoint_url
from feature_platform.local.services import LocalServices
from tests.support.services import S3Bucket, S3Endpoint

FIRST_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@contextmanager
def embedded_bucket(directory: Path) -> Iterator[S3Bucket]:
    """An empty bucket of an S3 server that lives as long as the block."""
    services = LocalServices(directory / "servers", detached=False)
    services.s3.start()
    try:
        credentials = services.s3_program.credentials
        endpoint = S3Endpoint(endpoint_url(services.s3.port), credentials.access_key_id, credentials.secret_access_key)
        yield endpoint.new_bucket()
    finally:
        services.s3.stop()


@dataclass
class Committing:
    """One table, committed again and again, each time as the version of another moment."""

    bucket: S3Bucket
    directory: Path
    contract: Contract
    template: str

    def __post_init__(self) -> None:
        self._store = ObjectFeatureSetStore(self.bucket.store, feature_base=f"{self.bucket.uri}features", workdir=self.directory)
        self._numbers = itertools.count()

    def commit(self, table: pa.Table) -> None:
        """Ours: four files with hashes and statistics, and the log record."""
        number = next(self._numbers)
        moment = FIRST_MOMENT + timedelta(days=number)
        done = self._store.commit(
            FeatureTable.from_arrow(table),
            contract=self.contract,
            template=self.template,
            as_of=moment,
            provenance=Provenance(sources=(), partitions=(), run_id="bench"),
            idempotency_key=f"bench:{number}",
            actor="bench",
        )
        assert done.is_new

    def upload(self, table: pa.Table, encode: Callable[[pa.Table, Path], None]) -> None:
        """The peer: both data files by the fastest writer, then two plain PUTs."""
        encode(table, self.directory)
        number = next(self._numbers)
        for name in ("bare.parquet", "bare.csv"):
            with (self.directory / name).open("rb") as body:
                self.bucket.client.put_object(Bucket=self.bucket.bucket, Key=f"bare/{number}/{name}", Body=body)
