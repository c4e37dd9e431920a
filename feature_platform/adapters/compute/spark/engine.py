"""The compute engine whose days, tiles and features a Spark cluster computes: any that speaks Spark Connect, at an ``sc://`` address.

SQL transforms and lookups of labels stay in this process (``adapters.compute.duckdb``): a transform is written in DuckDB's SQL. The cluster
reads and writes the object store by itself, with credentials of its own; what comes back is rows in their order, in batches.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from feature_platform.adapters.compute.day_files import DayFiles
from feature_platform.adapters.compute.duckdb.engine import DEFAULT_READ_LIMITS, DuckDBEngine
from feature_platform.adapters.compute.duckdb.session import EngineLimits
from feature_platform.adapters.compute.duckdb.tile_files import Query, Relation
from feature_platform.adapters.compute.row_spool import ObjectSpool, RowSpool
from feature_platform.adapters.compute.spark.dialect import to_spark
from feature_platform.adapters.compute.spark.judge import Judge
from feature_platform.adapters.compute.spark.session import SparkRun, open_spark
from feature_platform.adapters.compute.spark.validation import JudgedThere, judge_on
from feature_platform.adapters.machine.spool import spool
from feature_platform.core.compute.aggregates import POSITION
from feature_platform.core.compute.dialect import identifier, identifiers, sql_type
from feature_platform.core.contract.documents import canonical_json
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawManifest, ReadLimits
from feature_platform.core.events.validated import DataFile, ValidatedDay
from feature_platform.core.layout import staging
from feature_platform.errors import ConflictError, FeaturePlatformError
from feature_platform.ports.object_store import ObjectStore


def for_hadoop(uri: str) -> str:
    """The name of an object on a cluster: with Hadoop's scheme, which Sail reads too."""
    return uri.replace("s3://", "s3a://", 1)


class SparkEngine(DuckDBEngine):
    """See :class:`ComputeEngine`.

    Args:
        store: Where raw objects, validated events, quarantine and tiles are.
        remote: Address of the cluster, ``sc://host:port`` with Spark Connect's options behind it.
        locate: How the cluster names an object.
        work_uri, workdir, limits, read_limits: As in :class:`DuckDBEngine`; ``limits.transform_timeout_s`` also ends
            what the cluster computes.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        remote: str,
        work_uri: str,
        workdir: Path | None = None,
        limits: EngineLimits | None = None,
        read_limits: ReadLimits = DEFAULT_READ_LIMITS,
        locate: Callable[[str], str] = for_hadoop,
    ) -> None:
        super().__init__(store, work_uri=work_uri, workdir=workdir, limits=limits, read_limits=read_limits)
        self._remote, self._locate = remote, locate

    def validate(self, source: SourceContract, raw: RawManifest) -> ValidatedDay:
        """See :meth:`ComputeEngine.validate`."""
        prefix = staging(self._work_uri, uuid4().hex)
        judge = Judge(self._store, canonical_json(dict(source.document)), raw.document(), prefix, self._read_limits)
        try:
            with (
                spool("validate-", parent=self._workdir) as directory,
                open_spark(self._remote, timeout_s=self._limits.transform_timeout_s) as spark,
            ):
                judged, staged = judge_on(spark.session, judge, raw)
                locations = [self._locate(file.uri) for file in staged]
                files = DayFiles(self._store, work_uri=self._work_uri, source=source, directory=directory)
                return files.publish(judged, JudgedThere(spark, source, locations, directory=directory, limits=self._limits))
        finally:
            with suppress(FeaturePlatformError):  # what is left there nobody reads, and a fault here must not hide the one before
                for info in self._store.scan(prefix):
                    self._store.delete(info.uri)

    def _spool(self, contract: Contract) -> RowSpool:
        if contract.sql is not None:  # it runs in this process, which needs its disk anyway
            return super()._spool(contract)
        return ObjectSpool(self._store, f"{staging(self._work_uri, uuid4().hex)}rows.arrow", parent=self._workdir)

    @contextmanager
    def _run(self, query: Query, directory: Path) -> Iterator[Iterator[pa.RecordBatch]]:  # noqa: ARG002  nothing is spilled here
        self._require_unchanged(query.files)
        with open_spark(self._remote, timeout_s=self._limits.transform_timeout_s) as spark:
            for relation in query.relations:
                locations = [self._locate(file.uri) for file in relation.files]
                if relation.from_tiles:
                    spark.session.read.parquet(*locations).createOrReplaceTempView(relation.name)
                else:
                    _create_events(spark, locations, relation, query)
            yield spark.batches(to_spark(query.text))

    def _require_unchanged(self, files: Sequence[DataFile]) -> None:
        """Compare each file's ETag before a query, because the cluster reads files by name alone."""
        for file in files:
            found = self._store.head(file.uri)
            if found is None or found.etag != file.etag:
                is_there = f"has ETag {found.etag}" if found else "does not exist"
                raise ConflictError(f"{file.uri} {is_there}; expected {file.etag}. Validate the day again.")


def _create_events(spark: SparkRun, locations: Sequence[str], relation: Relation, query: Query) -> None:
    source, files = relation.source, f"files_of_{relation.name}"
    spark.create_view(files, locations, {column.name: sql_type(column.type) for column in source.columns})
    named = identifiers(column.name for column in source.columns)
    position = ""
    if identifier(POSITION) in query.text:
        # Files have no order on a cluster, so positions are counted in the order of validated events, within each key.
        names = [source.event_time, *(column.name for column in source.columns if column.name != source.event_time)]
        order = ", ".join(f"{identifier(name)} ASC NULLS LAST" for name in names)
        position = f", row_number() OVER (PARTITION BY {identifiers(query.keys)} ORDER BY {order}) AS {identifier(POSITION)}"
    spark.session.sql(to_spark(f"SELECT {named}{position} FROM {files}")).createOrReplaceTempView(relation.name)
