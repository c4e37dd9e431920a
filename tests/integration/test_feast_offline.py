"""Training reads through Feast's offline interface: no row dropped, no feature from the future or past its ttl, no network but S3."""

import importlib.util
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

from feature_platform.adapters.feast.repository import apply_contracts, open_store
from feature_platform.errors import InvalidDataError, NotFoundError
from feature_platform.settings import load_settings
from feature_platform.training import training_set
from feature_platform.wiring import feast_environment, open_platform
from tests.support.services import S3Bucket
from tests.support.shipped_features import BIG, FEATURE_SET, enter, publish_users, shipped_contract, user_rows

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

AS_OF = datetime(2026, 1, 15, tzinfo=UTC)
FEATURES = [f"{FEATURE_SET}:f_total_events_7d", f"{FEATURE_SET}:f_last_country"]


@pytest.fixture
def store(local_env: dict[str, str], s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> Any:
    enter(monkeypatch, local_env)
    settings = load_settings()
    opened = open_store(feast_environment(settings))
    apply_contracts(opened, [shipped_contract()], environment=feast_environment(settings))
    return opened


def publish(s3: S3Bucket) -> None:
    publish_users(s3.store, f"{s3.uri}features", user_rows(range(1, 11), as_of=AS_OF), as_of=AS_OF)


def entities(*rows: tuple[int, datetime]) -> pd.DataFrame:
    return pd.DataFrame({"user_id": [user for user, _ in rows], "event_timestamp": [moment for _, moment in rows]})


def test_every_entity_row_is_answered_in_order(store: Any, s3: S3Bucket) -> None:
    publish(s3)
    asked = entities((3, AS_OF), (1, AS_OF), (1, AS_OF), (404, AS_OF), (3, AS_OF + timedelta(days=1)))
    table = store.get_historical_features(asked, features=FEATURES).to_arrow()
    assert table.column("user_id").to_pylist() == [3, 1, 1, 404, 3]
    assert table.column("f_total_events_7d").to_pylist() == [9, BIG, BIG, None, 9]
    assert table.column("f_last_country").to_pylist() == ["Österreich 3", "Österreich 1", "Österreich 1", None, "Österreich 3"]


def test_features_are_neither_from_the_future_nor_past_their_ttl(store: Any, s3: S3Bucket) -> None:
    publish(s3)
    moments = [AS_OF - timedelta(seconds=1), AS_OF, AS_OF + timedelta(days=7), AS_OF + timedelta(days=7, seconds=1)]
    table = store.get_historical_features(entities(*((3, moment) for moment in moments)), features=FEATURES).to_arrow()
    assert table.column("f_total_events_7d").to_pylist() == [None, 9, 9, None]


def test_full_names_and_naive_timestamps_are_understood(store: Any, s3: S3Bucket) -> None:
    publish(s3)
    asked = pd.DataFrame({"user_id": [3], "event_timestamp": [AS_OF.replace(tzinfo=None)]})
    table = store.get_historical_features(asked, features=FEATURES, full_feature_names=True).to_arrow()
    assert table.column("user_features__f_total_events_7d").to_pylist() == [9]


def test_every_committed_version_answers_as_a_training_set_does(store: Any, s3: S3Bucket, local_env: dict[str, str]) -> None:
    """By event time, over a version, a later one and a correction of it; rows of the frame stay as they are, with their other columns."""
    for as_of, shift in ((AS_OF - timedelta(days=1), 0), (AS_OF, 5), (AS_OF, 9)):
        publish_users(s3.store, f"{s3.uri}features", user_rows(range(1, 9), as_of=as_of, shift=shift), as_of=as_of)
    asked = entities(*((user, AS_OF - timedelta(hours=hours)) for user in (8, 1, 404) for hours in (30, 12, 0)))
    asked["label"] = range(len(asked))
    table = store.get_historical_features(asked, features=FEATURES).to_arrow()
    made = training_set(asked, FEATURES, known_at="event", platform=open_platform(load_settings(local_env))).to_arrow()
    assert table.column("label").to_pylist() == list(range(9))
    assert table.column("f_total_events_7d").to_pylist() == [None, 24, 33, None, BIG, BIG, None, None, None]
    names = [name.split(":")[1] for name in FEATURES]
    assert table.select(names).equals(made.select(names))


@pytest.mark.filterwarnings(
    "ignore:Saving dataset is an experimental feature:RuntimeWarning", "ignore:Retrieving datasets is:RuntimeWarning"
)
def test_a_saved_dataset_is_kept_once_and_read_back(store: Any, s3: S3Bucket) -> None:
    publish(s3)
    job = store.get_historical_features(entities((3, AS_OF), (1, AS_OF)), features=FEATURES)
    storage = SavedDatasetFileStorage(path=f"{s3.uri}saved.parquet")
    store.create_saved_dataset(from_=job, name="saved", storage=storage)
    assert sorted(store.get_saved_dataset("saved").to_df()["f_total_events_7d"]) == [9, BIG]
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(storage)
    job.persist(storage, allow_overwrite=True)


def test_a_query_for_entities_is_refused_by_name(store: Any) -> None:
    with pytest.raises(InvalidDataError, match="expected a pandas data frame"):
        store.get_historical_features("SELECT 1", features=FEATURES)


def test_training_before_anything_is_published_says_so(store: Any) -> None:
    with pytest.raises(NotFoundError, match="Nothing of user_features was published yet"):
        store.get_historical_features(entities((1, AS_OF)), features=FEATURES).to_arrow()


def test_pulling_rows_for_another_engine_keeps_types_and_takes_the_newest(store: Any, tmp_path: Path) -> None:
    from feast import FileSource

    stamps = pa.array([AS_OF, AS_OF + timedelta(hours=1), AS_OF], pa.timestamp("us", "UTC"))
    pq.write_table(
        pa.table({"k": pa.array([1, 1, 2]), "t": stamps, "v": pa.array([BIG, BIG + 1, None], pa.int64())}), tmp_path / "f.parquet"
    )
    source = FileSource(path=str(tmp_path / "f.parquet"), timestamp_field="t")
    pull = store.provider.offline_store.pull_latest_from_table_or_query
    newest = pull(store.config, source, ["k"], ["v"], "t", None, AS_OF, AS_OF + timedelta(hours=1)).to_arrow()
    assert newest.select(["k", "v"]).to_pylist() == [{"k": 1, "v": BIG + 1}, {"k": 2, "v": None}]
    assert newest.schema.field("v").type == pa.int64()
    earlier = pull(store.config, source, ["k"], ["v"], "t", None, AS_OF, AS_OF).to_arrow()
    assert earlier.column("v").to_pylist() == [BIG, None]


def test_of_rows_of_one_moment_the_one_that_was_created_last_is_joined(store: Any, tmp_path: Path) -> None:
    from feast import Entity, FeatureView, Field, FileSource
    from feast.types import Int64

    created = [AS_OF + timedelta(hours=hour) for hour in (1, 3, 2)]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"user_id": [1, 1, 1], "f_new": [11, 33, 22], "at": [AS_OF] * 3, "created": created}), path)
    source = FileSource(path=str(path), timestamp_field="at", created_timestamp_column="created")
    user = Entity(name="visitor", join_keys=["user_id"])
    store.apply(
        [user, FeatureView(name="corrected", entities=[user], schema=[Field(name="f_new", dtype=Int64)], source=source)], partial=True
    )
    table = store.get_historical_features(entities((1, AS_OF)), features=["corrected:f_new"]).to_arrow()
    assert table.column("f_new").to_pylist() == [33]


def test_feasts_dask_store_drops_entity_rows(local_env: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Why the default offline store is not used; should Feast mend it, this test says so."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
    from feast.types import Int64
    from feast.value_type import ValueType

    enter(monkeypatch, local_env)
    stamps = pa.array([AS_OF] * 2, pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"user_id": [1, 2], "t": stamps, "v": [10, 20]}), tmp_path / "f.parquet")
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
    source = FileSource(name="f", path=str(tmp_path / "f.parquet"), timestamp_field="t")
    view = FeatureView(
        name="v",
        entities=[user],
        schema=[Field(name="user_id", dtype=Int64), Field(name="v", dtype=Int64)],
        source=source,
        ttl=timedelta(1),
    )
    stock = FeatureStore(
        config=RepoConfig(
            project="p", provider="local", registry=str(tmp_path / "registry.db"), online_store=None, offline_store={"type": "dask"}
        )
    )
    stock.apply([user, view])
    asked = entities((1, AS_OF), (1, AS_OF), (2, AS_OF), (2, AS_OF))
    assert len(stock.get_historical_features(asked, features=["v:v"]).to_df()) == 2


def test_feasts_duckdb_store_needs_a_package_that_is_not_installed() -> None:
    assert importlib.util.find_spec("ibis") is None
