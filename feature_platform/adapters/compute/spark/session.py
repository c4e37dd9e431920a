"""Sessions on a Spark Connect server: settings, results as they arrive, the end of what takes too long, and errors as ours.

What is computed does not belong here.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, cast

import pyarrow as pa
from grpc import RpcError  # type: ignore[import-untyped]  # it ships no types
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.connect.client.retries import DefaultPolicy
from pyspark.sql.types import StructType

from feature_platform.adapters.compute.spark.dialect import to_spark
from feature_platform.core.compute.dialect import no_rows
from feature_platform.core.compute.features_sql import explained
from feature_platform.errors import ConfigurationError, InvalidDataError, StorageError

_RETRIES: Final = 4
"""Retries take about five seconds in all; with the client's default number a run would be silent for ten minutes."""

_REFUSED: Final = (
    "does not fit",
    "is not whole",
    "CAST_OVERFLOW",
    "ARITHMETIC_OVERFLOW",
    "NUMERIC_VALUE_OUT_OF_RANGE",
    "Can't cast value",
    "Arithmetic overflow",
)
"""Parts of messages about a value that the contract's type cannot hold: the compiled SQL's, Spark's and Sail's."""

_UNPREPARED: Final = ("No module named", "PYTHON_VERSION_MISMATCH", "PYTHON_DIFFERENT_MINOR_VERSION")
"""Parts of Spark's messages where executors cannot run this project's code."""

REMEDY: Final = "install the same release of it, under the same minor version of Python, on every node"

_INTERRUPTED_EVERY_S: Final = 5.0

_SHOWN: Final = 2_000
"""Characters of Spark's message."""

_SETTINGS: Final = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",  # days before 1582 are as they are written
}


@dataclass(frozen=True, slots=True)
class SparkRun:
    """A session on a cluster, and whether its time is over."""

    session: SparkSession
    timeout_s: float
    is_late: threading.Event

    def batches(self, query: str) -> Iterator[pa.RecordBatch]:
        """A query's rows as they arrive; ``DataFrame.toArrow`` would hold all of them.

        Raises:
            StorageError: The session's time is over.
        """
        if self.is_late.is_set():
            raise self.lateness()
        frame, client = self.session.sql(query), self.session.client
        plan = cast("Any", frame)._plan  # Spark Connect's client has no public stream of Arrow
        for part in client.to_table_as_iterator(plan.to_proto(client), plan.observations):
            if not isinstance(part, StructType):
                yield from part.to_batches()

    def create_view(self, name: str, locations: Sequence[str], kinds: Mapping[str, str]) -> None:
        """The view of Parquet files; where there is none, a view of columns of these SQL types without rows."""
        frame = self.session.read.parquet(*locations) if locations else self.session.sql(to_spark(no_rows(kinds)))
        frame.createOrReplaceTempView(name)

    def lateness(self) -> StorageError:
        """The error of a session whose time is over."""
        return StorageError(f"Spark took longer than {self.timeout_s:.0f} s. Nothing was published; give the cluster more, then run again.")

    def interrupt(self, ended: threading.Event) -> None:
        """Interrupt what the session computes, again and again once its time is over: the next query may be on its way already."""
        wait_s = self.timeout_s
        while not ended.wait(wait_s):
            self.is_late.set()
            wait_s = _INTERRUPTED_EVERY_S
            with suppress(PySparkException, RpcError):
                self.session.interruptAll()


@contextmanager
def open_spark(remote: str, *, timeout_s: float) -> Iterator[SparkRun]:
    """A session that ends with the context, and whose time is over ``timeout_s`` seconds after its start.

    Raises:
        StorageError: The server cannot be reached or lost what it computed, or it took longer.
        InvalidDataError: A value does not fit its column.
        ConfigurationError: Executors cannot run this project's code.
    """
    try:
        session = SparkSession.builder.remote(remote).create()
        session.client.set_retry_policies([DefaultPolicy(max_retries=_RETRIES)])
        run, ended = SparkRun(session, timeout_s, threading.Event()), threading.Event()
        try:
            for name, value in _SETTINGS.items():
                session.conf.set(name, value)
            threading.Thread(target=run.interrupt, args=(ended,), daemon=True).start()
            yield run
        except (PySparkException, RpcError) as error:
            if run.is_late.is_set():
                raise run.lateness() from error
            raise
        finally:
            ended.set()
            session.stop()
    except (PySparkException, RpcError) as error:
        raise _translated(error, remote) from error


def _translated(error: Exception, remote: str) -> Exception:
    said = str(error).split("\n\nJVM stacktrace", 1)[0].strip()
    if len(said) > _SHOWN:
        said = f"{said[: _SHOWN // 4]} … {said[-_SHOWN * 3 // 4 :]}"  # a trace of Python begins with what failed, and ends with why
    address = remote.split("/;", 1)[0]  # options may hold a token
    if any(sign in said for sign in _REFUSED):
        return InvalidDataError(f"The cluster cannot compute it: {explained(said)}")
    if any(sign in str(error) for sign in _UNPREPARED):
        return ConfigurationError(f"The executors of {address} cannot run feature-platform; {REMEDY}: {said}")
    return StorageError(f"Spark at {address} did not answer with the rows: {said}. Nothing was published; check it, then run again.")
