"""A raw day judged on a cluster: executors judge one raw object each, Spark finds duplicates and sorts.

So rows are judged by the same code wherever that runs, and Spark only groups and orders them by bytes (``core.compute.judged_sql``).
Judging an object does not belong here (``judge``), nor writing the day (``day_files``).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.functions import udf

from feature_platform.adapters.compute.duckdb.session import EngineLimits, fetch_batches, open_local_session
from feature_platform.adapters.compute.spark.dialect import to_spark
from feature_platform.adapters.compute.spark.judge import Judge
from feature_platform.adapters.compute.spark.session import REMEDY, SparkRun
from feature_platform.core.compute import judged_sql as sql
from feature_platform.core.compute.dialect import sql_type
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawManifest, require_readable
from feature_platform.core.events.validated import DataFile
from feature_platform.errors import ConfigurationError, ConflictError, InvalidDataError


def judge_on(session: SparkSession, judge: Judge, raw: RawManifest) -> tuple[RawManifest, list[DataFile]]:
    """Judge each object of a day in a task of its own; returns the manifest with their rows, and the files that hold these.

    Raises:
        InvalidDataError: Objects cannot be read as a whole.
        ConflictError: One changed since the manifest was made.
        ConfigurationError: Executors have another release of this project.
    """
    count = len(raw.objects)
    frame = session.range(0, count, 1, count).select("id", udf(judge, "string", useArrow=False)("id").alias("told"))
    answers = [json.loads(row["told"]) for row in sorted(frame.toArrow().to_pylist(), key=lambda row: row["id"])]
    releases = {answer["release"] for answer in answers} - {version("feature-platform")}
    if releases:
        raise ConfigurationError(
            f"Executors run feature-platform {', '.join(releases)}, and this is {version('feature-platform')}; {REMEDY}."
        )
    _require_judged([answer["error"] for answer in answers if "error" in answer], raw)
    counted = tuple(replace(item, rows=answer["rows"]) for item, answer in zip(raw.objects, answers, strict=True))
    faults = judge.read_limits.beyond_rows(sum(answer["rows"] for answer in answers), f"The day {raw.partition}")
    require_readable(faults, source=raw.source, partition=raw.partition)
    return replace(raw, objects=counted), [DataFile(**file) for answer in answers for file in answer["files"]]


def _require_judged(errors: Sequence[tuple[str, str, Sequence[str]]], raw: RawManifest) -> None:
    for kind, subject, faults in errors:
        if kind == ConflictError.kind:
            raise ConflictError(subject)
        if not faults:
            raise InvalidDataError(subject)
    require_readable([fault for _, _, faults in errors for fault in faults], source=raw.source, partition=raw.partition)


class JudgedThere:
    """See :class:`JudgedRows`: staged rows that a cluster reads.

    Args:
        locations: Their files, as the cluster names them.
        directory: An existing local directory; what rejected rows are told is spelled here, batch by batch.
    """

    def __init__(self, spark: SparkRun, source: SourceContract, locations: Sequence[str], *, directory: Path, limits: EngineLimits) -> None:
        self._spark, self._source, self._directory, self._limits = spark, source, directory, limits
        kinds = {"file": "INTEGER", "row": "BIGINT", **dict.fromkeys(("reason", "detail", "original"), "VARCHAR")}
        kinds |= {f"v{place}": sql_type(column.type) for place, column in enumerate(source.columns)}
        spark.create_view(sql.STAGED, locations, kinds | {"same": "BLOB", "place": "BLOB"})
        spark.session.sql(to_spark(sql.judge_staged())).createOrReplaceTempView(sql.JUDGED)

    def counts(self) -> Mapping[str | None, int]:
        return {row["verdict"]: row["number"] for batch in self._batches(sql.count_by_verdict()) for row in batch.to_pylist()}

    def values(self) -> Sequence[int]:
        [counts] = [row for batch in self._batches(sql.count_values(self._source, relation=sql.STAGED)) for row in batch.to_pylist()]
        return list(counts.values())

    def kept(self) -> Iterator[pa.RecordBatch]:
        return self._batches(sql.select_kept_there(self._source))

    def quarantined(self) -> Iterator[pa.RecordBatch]:
        with open_local_session(files=[], directory=self._directory, limits=self._limits) as connection:
            for batch in self._batches(sql.select_rejected_there(self._source)):
                connection.register("rejected", pa.Table.from_batches([batch]))
                yield from fetch_batches(connection.sql(sql.describe_rejected(self._source, relation="rejected")))

    def _batches(self, query: str) -> Iterator[pa.RecordBatch]:
        return self._spark.batches(to_spark(query))
