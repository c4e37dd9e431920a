"""The compute engine whose tiles and features a Spark cluster computes: any that speaks Spark Connect, at an ``sc://`` address.

Validation, SQL transforms and lookups of labels stay in this process (``adapters.compute.duckdb``): a day is judged row by row with its
original text at hand, and a transform is written in DuckDB's SQL. The cluster reads validated events and tiles from the object store by
itself, with credentials of its own; what comes back is one row per key, in batches.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import pyarrow as pa
from grpc import RpcError  # type: ignore[import-untyped]  # it ships no types
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.connect.client.retries import DefaultPolicy
from pyspark.sql.types import StructType

from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine
from feature_platform.adapters.compute.duckdb.session import EngineLimits
from feature_platform.adapters.compute.duckdb.tile_files import Query, Relation
from feature_platform.adapters.compute.spark.dialect import to_spark
from feature_platform.core.compute.aggregates import POSITION
from feature_platform.core.compute.dialect import identifier, identifiers, sql_type
from feature_platform.core.events.validated import DataFile
from feature_platform.errors import ConflictError, InvalidDataError, StorageError
from feature_platform.ports.object_store import ObjectStore

_RETRIES: Final = 4
"""Retries take about five seconds in all; with the client's default number a run would be silent for ten minutes."""

_REFUSED: Final = ("does not fit", "is not whole")
"""Parts of the compiled SQL's messages about a value that the contract's type cannot hold."""


def for_hadoop(uri: str) -> str:
    """The name of an object on a cluster: with Hadoop's scheme, which Sail reads too."""
    return uri.replace("s3://", "s3a://", 1)


class SparkEngine(DuckDBEngine):
    """See :class:`ComputeEngine`.

    Args:
        store: Where raw objects, validated events, quarantine and tiles are.
        remote: Address of the cluster, ``sc://host:port`` with Spark Connect's options behind it.
        locate: How the cluster names an object.
        work_uri, workdir, limits: As in :class:`DuckDBEngine`; ``limits.transform_timeout_s`` also ends a query of the cluster.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        remote: str,
        work_uri: str,
        workdir: Path | None = None,
        limits: EngineLimits | None = None,
        locate: Callable[[str], str] = for_hadoop,
    ) -> None:
        super().__init__(store, work_uri=work_uri, workdir=workdir, limits=limits)
        self._remote, self._locate = remote, locate

    @contextmanager
    def _run(self, query: Query, directory: Path) -> Iterator[Iterator[pa.RecordBatch]]:  # noqa: ARG002  nothing is spilled here
        self._require_unchanged(query.files)
        try:
            session = SparkSession.builder.remote(self._remote).create()
            session.client.set_retry_policies([DefaultPolicy(max_retries=_RETRIES)])
            try:
                session.conf.set("spark.sql.session.timeZone", "UTC")
                for relation in query.relations:
                    locations = [self._locate(file.uri) for file in relation.files]
                    if relation.from_tiles:
                        session.read.parquet(*locations).createOrReplaceTempView(relation.name)
                    else:
                        _create_events(session, locations, relation, query)
                with _ended(session, after_s=self._limits.transform_timeout_s):
                    yield _batches(session, to_spark(query.text))
            finally:
                session.stop()
        except (PySparkException, RpcError) as error:
            raise _translated(error, self._remote) from error

    def _require_unchanged(self, files: Sequence[DataFile]) -> None:
        """Compare each file's ETag before a query, because the cluster reads files by name alone."""
        for file in files:
            found = self._store.head(file.uri)
            if found is None or found.etag != file.etag:
                is_there = f"has ETag {found.etag}" if found else "does not exist"
                raise ConflictError(f"{file.uri} {is_there}; expected {file.etag}. Validate the day again.")


def _create_events(session: SparkSession, locations: Sequence[str], relation: Relation, query: Query) -> None:
    source, files = relation.source, f"files_of_{relation.name}"
    columns = ", ".join(f"CAST(NULL AS {sql_type(column.type)}) AS {identifier(column.name)}" for column in source.columns)
    if locations:
        session.read.parquet(*locations).createOrReplaceTempView(files)
    else:
        session.sql(to_spark(f"SELECT {columns} WHERE false")).createOrReplaceTempView(files)
    named = identifiers(column.name for column in source.columns)
    position = ""
    if identifier(POSITION) in query.text:
        # Files have no order on a cluster, so positions are counted in the order of validated events, within each key.
        names = [source.event_time, *(column.name for column in source.columns if column.name != source.event_time)]
        order = ", ".join(f"{identifier(name)} ASC NULLS LAST" for name in names)
        position = f", row_number() OVER (PARTITION BY {identifiers(query.keys)} ORDER BY {order}) AS {identifier(POSITION)}"
    session.sql(to_spark(f"SELECT {named}{position} FROM {files}")).createOrReplaceTempView(relation.name)


def _batches(session: SparkSession, query: str) -> Iterator[pa.RecordBatch]:
    """A query's rows as they arrive. ``DataFrame.toArrow`` would hold all of them; Spark Connect's client has no public stream of Arrow."""
    frame = session.sql(query)
    client, plan = session.client, cast("Any", frame)._plan
    for part in client.to_table_as_iterator(plan.to_proto(client), plan.observations):
        if not isinstance(part, StructType):
            yield from part.to_batches()


@contextmanager
def _ended(session: SparkSession, *, after_s: float) -> Iterator[None]:
    """Interrupt what the session computes after ``after_s`` seconds.

    Raises:
        StorageError: It took longer.
    """
    is_late = threading.Event()

    def end() -> None:
        is_late.set()
        session.interruptAll()

    timer = threading.Timer(after_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if is_late.is_set():
            raise StorageError(f"Spark took longer than {after_s:.0f} s. Nothing was written; give the cluster more, then run again.")


def _translated(error: Exception, remote: str) -> Exception:
    said = str(error).split("\n\nJVM stacktrace", 1)[0].strip()[:2000]
    if any(sign in said for sign in _REFUSED):
        return InvalidDataError(f"The cluster cannot compute it: {said}")
    address = remote.split("/;", 1)[0]  # options may hold a token
    return StorageError(f"Spark at {address} did not answer with the rows: {said}. Nothing was written; check the cluster, then run again.")
