"""Feast's offline store over published Parquet files on S3: whole-object reads by Arrow, point-in-time joins by DuckDB.

Feast's own DuckDB store needs ibis and, for S3, an extension that DuckDB downloads at run time; its Dask store drops entity rows that
share key and timestamp. This one downloads nothing and writes no temporary files. Writing features does not belong here.
"""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL
from feast.repo_config import FeastConfigBaseModel
from feast.utils import _get_requested_feature_views_to_features_dict
from typing_extensions import override

from feature_platform.adapters.feast.repository import OFFLINE_STORE
from feature_platform.core.layout import latest_source
from feature_platform.core.objects import IfAbsent
from feature_platform.core.parquet import read_whole
from feature_platform.core.training.labels import asked
from feature_platform.errors import ConflictError, InvalidDataError, NotFoundError
from feature_platform.settings import s3_endpoint_url
from feature_platform.use_cases.look_up import lookup_in
from feature_platform.wiring import feature_sets_at, label_engine, s3_at

_ROW: Final = "__row"


class ArrowOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]  # Feast ships no types
    """The ``offline_store`` section of ``feature_store.yaml``; it has no options."""

    type: str = OFFLINE_STORE


class ArrowRetrievalJob(RetrievalJob):  # type: ignore[misc]
    """A lazy Arrow table; nothing is read before it is asked for."""

    def __init__(self, evaluate: Callable[[], pa.Table], *, full_feature_names: bool = False, metadata: Any = None) -> None:
        self._evaluate = evaluate
        self._full_feature_names = full_feature_names
        self._metadata = metadata

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[Any]:
        return []

    @property
    def metadata(self) -> Any:
        return self._metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        del timeout
        return self._evaluate()

    @override
    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Keep the rows as one Parquet file, for a saved dataset.

        Raises:
            SavedDatasetLocationAlreadyExists: The file exists, and ``allow_overwrite`` is false.
        """
        uri, sink = storage.file_options.uri, io.BytesIO()
        pq.write_table(self.to_arrow(timeout=timeout), sink, compression="zstd", write_page_checksum=True)
        try:
            if uri.startswith("s3://"):
                store = s3_at(s3_endpoint_url() or storage.file_options.s3_endpoint_override or None)
                store.put(uri, sink.getvalue(), write_id=uuid4().hex, sha256=None, condition=None if allow_overwrite else IfAbsent())
            else:
                with Path(uri).open("wb" if allow_overwrite else "xb") as file:
                    file.write(sink.getvalue())
        except (ConflictError, FileExistsError) as error:
            raise SavedDatasetLocationAlreadyExists(location=uri) from error

    def _to_df_internal(self, timeout: int | None = None) -> Any:
        return self._to_arrow_internal(timeout).to_pandas()


class ArrowOfflineStore(OfflineStore):  # type: ignore[misc]
    """Reads Parquet file sources, on S3 by one GET each, so that a reader holds one whole version or none."""

    @staticmethod
    @override
    def pull_latest_from_table_or_query(
        config: Any,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> ArrowRetrievalJob:
        """The newest row per key whose event time lies within both dates, inclusive."""
        columns = _columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)

        def latest() -> pa.Table:
            table = _within(_read(data_source, config.repo_path, columns=columns), timestamp_field, start_date, end_date)
            return _newest_per_key(table, join_key_columns, [timestamp_field, *filter(None, [created_timestamp_column])])

        return ArrowRetrievalJob(latest)

    @staticmethod
    @override
    def pull_all_from_table_or_query(
        config: Any,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> ArrowRetrievalJob:
        """Every row whose event time lies within both dates, inclusive."""
        columns = _columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        return ArrowRetrievalJob(
            lambda: _within(_read(data_source, config.repo_path, columns=columns), timestamp_field, start_date, end_date)
        )

    @staticmethod
    @override
    def get_historical_features(
        config: Any,
        feature_views: list[Any],
        feature_refs: list[str],
        entity_df: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        **_: Any,
    ) -> ArrowRetrievalJob:
        """Entity rows, in their order and none dropped, each with the newest features not later than it and not older than the ttl.

        Raises:
            InvalidDataError: ``entity_df`` is not a data frame with an ``event_timestamp`` column.
        """
        del registry, project
        if not hasattr(entity_df, "columns") or DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL not in entity_df.columns:
            raise InvalidDataError(
                f"entity_df is {type(entity_df).__name__}; expected a pandas data frame with the join keys and an "
                f"{DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL!r} column."
            )
        requested, _on_demand = _get_requested_feature_views_to_features_dict(feature_refs, feature_views, [])

        def join() -> pa.Table:
            rows = _entity_rows(entity_df)
            for view, features in requested.items():
                prefix = f"{view.projection.name_to_use()}__" if full_feature_names else ""
                published = latest_source(view.batch_source.path)
                if published:
                    rows = _join_versions(
                        rows, view, features, base=published.feature_base, feature_set=published.feature_set, prefix=prefix
                    )
                else:
                    rows = _join_view(rows, view, features, config.repo_path, prefix=prefix)
            return rows

        keys = [name for name in entity_df.columns if name != DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL]
        moments = pc.min_max(_entity_rows(entity_df).column(DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL)).as_py()
        told = RetrievalMetadata(feature_refs, keys, min_event_timestamp=moments["min"], max_event_timestamp=moments["max"])
        return ArrowRetrievalJob(join, full_feature_names=full_feature_names, metadata=told)

    def validate_data_source(self, config: Any, data_source: Any) -> None:
        """Does nothing: a feature set may be declared before its first version is published."""

    def get_table_column_names_and_types_from_data_source(self, config: Any, data_source: Any) -> list[tuple[str, str]]:
        """Names and Arrow types of a source's columns."""
        schema = _read(data_source, config.repo_path, columns=None).schema
        return list(zip(schema.names, map(str, schema.types), strict=True))


def _columns(keys: list[str], features: list[str], timestamp: str, created: str | None) -> list[str]:
    return list(dict.fromkeys([*keys, *features, timestamp, *filter(None, [created])]))


def _read(source: Any, repo_path: Path | None, *, columns: list[str] | None) -> pa.Table:
    """One whole source; on S3 by a single GET, so that a replacement meanwhile cannot mix two versions."""
    if not source.path.startswith("s3://"):
        path = Path(source.path)
        return read_whole(path if path.is_absolute() or repo_path is None else Path(repo_path) / path, columns=columns)
    stored = s3_at(s3_endpoint_url() or source.s3_endpoint_override or None).get(source.path)
    if stored is None:
        raise NotFoundError(f"{source.path} does not exist: {source.name} has no published version yet. Materialize the feature set first.")
    return read_whole(stored.body, columns=columns)


def _within(table: pa.Table, timestamp: str, start: datetime | None, end: datetime | None) -> pa.Table:
    column = table.column(timestamp)
    for bound, compare in ((start, pc.greater_equal), (end, pc.less_equal)):
        if bound is not None:
            moment = bound if bound.tzinfo is not None else bound.replace(tzinfo=UTC)
            mask = compare(column, pa.scalar(moment, pa.timestamp("us", "UTC")))
            table, column = table.filter(mask), column.filter(mask)
    return table


def _newest_per_key(table: pa.Table, keys: list[str], clocks: list[str]) -> pa.Table:
    if not keys or table.num_rows == 0:
        return table
    # The row's place breaks ties, and use_threads=False keeps "last" the last: with threads the winner would change from run to run.
    ordered = table.append_column(_ROW, pa.array(range(table.num_rows), pa.int64()))
    ordered = ordered.sort_by([(clock, "ascending") for clock in clocks] + [(_ROW, "ascending")])
    chosen = ordered.select([*keys, _ROW]).group_by(keys, use_threads=False).aggregate([(_ROW, "last")]).column(f"{_ROW}_last")
    return table if len(chosen) == table.num_rows else table.take(chosen.take(pc.sort_indices(chosen)))


def _entity_rows(entity_df: Any) -> pa.Table:
    rows = pa.Table.from_pandas(entity_df, preserve_index=False)
    position = rows.column_names.index(DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL)
    moments = rows.column(position).cast(pa.timestamp("us", getattr(rows.column(position).type, "tz", None)), safe=False)
    moments = moments.cast(pa.timestamp("us", "UTC")) if moments.type.tz else pc.assume_timezone(moments, "UTC")
    return rows.set_column(position, DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL, moments)


def _join_versions(rows: pa.Table, view: Any, features: list[str], *, base: str, feature_set: str, prefix: str) -> pa.Table:
    """Features from every committed version, by event time: of the newest as-of moment that is not after the row's timestamp."""
    endpoint = s3_endpoint_url() or view.batch_source.s3_endpoint_override or None
    feature_sets = feature_sets_at(base, endpoint_url=endpoint)
    ttl, history = view.ttl or timedelta(0), feature_sets.history(feature_set)
    lookup = lookup_in(feature_sets, feature_set, history, features=features, known_at="event", ttl=ttl, prefix=prefix)
    named = {name: key for key, name in view.projection.join_key_map.items()}
    labels = rows.rename_columns([named.get(name, name) for name in rows.column_names])
    question = asked(iter(labels.to_batches()), timestamp=DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL, keys=lookup.keys)
    with label_engine().look_up(question, [lookup], split=None) as (answers,):
        found = pa.Table.from_batches(answers, schema=lookup.schema)
    for name in lookup.names:
        rows = rows.append_column(name, found.column(name))
    return rows


def _join_view(rows: pa.Table, view: Any, features: list[str], repo_path: Path | None, *, prefix: str) -> pa.Table:
    import duckdb

    source, names = view.batch_source, view.projection.join_key_map
    keys = [column.name for column in view.entity_columns]
    created = source.created_timestamp_column or None
    values = _read(source, repo_path, columns=_columns(keys, features, source.timestamp_field, created))
    if created:  # of a key's rows of one moment, the join would pick any
        values = _newest_per_key(values, [*keys, source.timestamp_field], [created])
    moment, clock = _quoted(DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL), _quoted(source.timestamp_field)
    matches = " AND ".join(f"e.{_quoted(names.get(key, key))} = f.{_quoted(key)}" for key in keys)
    fresh = f"f.{clock} >= e.{moment} - to_microseconds({int(view.ttl.total_seconds() * 1e6)})" if view.ttl else "true"
    selected = ", ".join(f"CASE WHEN {fresh} THEN f.{_quoted(name)} END AS {_quoted(prefix + name)}" for name in features)
    numbered = rows.append_column(_ROW, pa.array(range(rows.num_rows), pa.int64()))
    # ASOF picks the newest row not after the label; the ttl is judged on the picked row, so that an older fresh one cannot take its place.
    # Extensions are not installed: that would be a download in the middle of a read.
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("entity_rows", numbered)
        connection.register("feature_rows", values)
        joined = connection.sql(
            f"SELECT e.* EXCLUDE ({_ROW}), {selected} FROM entity_rows e ASOF LEFT JOIN feature_rows f "
            f"ON {matches} AND e.{moment} >= f.{clock} ORDER BY e.{_ROW}"
        )
        return joined.to_arrow_table()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
