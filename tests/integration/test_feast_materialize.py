"""From a published version to values read through Feast: applied, materialized, compared, removed; on real servers."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from feature_platform.adapters.feast.reading import read_online
from feature_platform.adapters.feast.repository import apply_contracts, decommission, open_store
from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.core.online.layout import feature_key
from feature_platform.errors import ContractError, InvalidDataError, NotFoundError
from feature_platform.settings import Settings, load_settings
from feature_platform.wiring import feast_environment
from tests.support.online import contract_of
from tests.support.served_values import verify_sample
from tests.support.services import S3Bucket, ValkeyDatabase
from tests.support.shipped_features import BIG, FEATURE_SET, enter, publish_users, shipped_contract, today, user_rows

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.slow,
]


@dataclass(frozen=True)
class Serving:
    """One environment with the shipped contract applied."""

    settings: Settings
    store: Any
    s3: S3Bucket
    valkey: ValkeyDatabase

    def publish(self, table: pa.Table, **options: Any) -> str:
        return publish_users(self.s3.store, self.settings.feature_base, table, **options)

    def materialize(self, **options: Any) -> None:
        as_of = options.get("as_of", today())
        self.store.materialize(as_of - shipped_contract().ttl_duration, as_of, feature_views=[FEATURE_SET])

    def served(self, *ids: int) -> list[dict[str, Any]]:
        return read_online(self.store, shipped_contract(), [{"user_id": user} for user in ids])


@pytest.fixture
def serving(local_env: dict[str, str], s3: S3Bucket, valkey: ValkeyDatabase, monkeypatch: pytest.MonkeyPatch) -> Serving:
    enter(monkeypatch, local_env)
    settings = load_settings()
    store = open_store(feast_environment(settings))
    apply_contracts(store, [shipped_contract()], environment=feast_environment(settings))
    return Serving(settings, store, s3, valkey)


def test_online_values_equal_the_published_file(serving: Serving) -> None:
    table = user_rows(range(1, 1201), as_of=today())
    serving.publish(table, as_of=today())
    serving.materialize()
    report = verify_sample(serving.store, shipped_contract(), table.to_pylist(), limit=5000)
    assert (report.rows, report.values, report.expired) == (1200, 6000, 0)
    assert serving.served(1)[0]["f_total_events_7d"] == BIG


def test_a_correction_a_smaller_population_and_a_rollback_are_materialized_exactly(serving: Serving) -> None:
    first, second = user_rows(range(1, 101), as_of=today()), user_rows(range(51, 121), as_of=today(), shift=5)
    for table, options in ((first, {}), (second, {}), (first, {"rollback": True})):
        serving.publish(table, as_of=today(), **options)
        serving.materialize()
        verify_sample(serving.store, shipped_contract(), table.to_pylist())
        absent = ({*range(1, 121)} - {*table.column("user_id").to_pylist()}).pop()
        assert set(serving.served(absent)[0].values()) == {absent, None}
    assert first.num_rows == serving.valkey.client.dbsize() - len(serving.valkey.client.keys("feature_platform:*"))


def test_a_difference_between_file_and_store_is_named(serving: Serving) -> None:
    table = user_rows(range(1, 11), as_of=today())
    serving.publish(table, as_of=today())
    serving.materialize()
    key = next(key for key in serving.valkey.client.keys("*") if not key.startswith(b"feature_platform:"))
    serving.valkey.client.hset(key, feature_key(FEATURE_SET, "f_last_country"), b"\x12\x02??")
    with pytest.raises(InvalidDataError, match=r"1 of 50 sampled online values differ.*\n.*f_last_country expected .*found '\?\?' online"):
        verify_sample(serving.store, shipped_contract(), table.to_pylist())


def test_a_lost_entity_is_named_feature_by_feature(serving: Serving) -> None:
    table = user_rows(range(2, 3), as_of=today())
    serving.publish(table, as_of=today())
    serving.materialize()
    serving.valkey.client.flushall()
    with pytest.raises(InvalidDataError, match=r"user_id=2: f_purchases_1d expected 2, found None online"):
        verify_sample(serving.store, shipped_contract(), table.to_pylist())


def test_an_empty_sample_proves_nothing_and_is_refused(serving: Serving) -> None:
    with pytest.raises(InvalidDataError, match="no row to compare"):
        verify_sample(serving.store, shipped_contract(), [])


def test_an_old_version_is_verified_at_its_own_moment_and_served_as_expired_now(serving: Serving) -> None:
    moment = today() - timedelta(days=30)
    table = user_rows(range(1, 11), as_of=moment)
    serving.publish(table, as_of=moment)
    serving.materialize(as_of=moment)
    report = verify_sample(serving.store, shipped_contract(), table.to_pylist(), as_of=moment)
    assert (report.rows, report.expired) == (10, 10)
    response = serving.store.get_online_features(features=[f"{FEATURE_SET}:f_purchases_1d"], entity_rows=[{"user_id": 1}])
    assert response.to_dict()["f_purchases_1d"] == [None]


def test_materializing_before_anything_is_published_says_so(serving: Serving) -> None:
    with pytest.raises(NotFoundError, match="has no latest yet"):
        serving.materialize()


def test_a_version_beyond_the_interval_is_not_loaded(serving: Serving) -> None:
    serving.publish(user_rows(range(1, 3), as_of=today()), as_of=today())
    with pytest.raises(NotFoundError, match="choose a later end"):
        serving.materialize(as_of=today() - timedelta(days=1))
    assert set(serving.served(1)[0].values()) == {1, None}


def test_reading_a_feature_set_that_was_not_applied_says_so(serving: Serving) -> None:
    stranger = shipped_contract().model_copy(update={"feature_set": "strangers"})
    with pytest.raises(ContractError, match="apply its contract"):
        read_online(serving.store, stranger, [{"user_id": 1}])


def test_another_join_key_under_a_known_entity_is_refused(serving: Serving) -> None:
    stranger = contract_of({"account": "string", "f_value": "int64"}, keys=("account",), name="accounts")
    with pytest.raises(
        ContractError, match=r"entity 'user': found join key 'account' \(STRING\), expected 'user_id' \(INT64\) as user_features"
    ):
        apply_contracts(serving.store, [stranger], environment=feast_environment(serving.settings))
    assert [view.name for view in open_store(feast_environment(serving.settings)).list_feature_views()] == ["user_features"]


def test_decommissioning_removes_the_view_and_its_values_and_nothing_else(serving: Serving) -> None:
    serving.publish(user_rows(range(1, 11), as_of=today()), as_of=today())
    serving.materialize()
    entity = next(key for key in serving.valkey.client.keys("*") if not key.startswith(b"feature_platform:"))
    serving.valkey.client.hset(entity, b"_ts:other_view", b"")
    serving.valkey.client.set(b"someone_elses", b"1")
    assert decommission(serving.store, FEATURE_SET) == (
        "feature_service/user_features",
        "feature_view/user_features",
        "data_source/user_features_latest",
    )
    fresh = open_store(feast_environment(serving.settings))
    assert fresh.list_feature_views() == []
    remaining = [key for key in serving.valkey.client.keys("*") if not key.startswith(b"feature_platform:")]
    assert sorted(remaining) == sorted([entity, b"someone_elses"])
    assert serving.valkey.client.hkeys(entity) == [b"_ts:other_view"]
    assert RedisOnlineStore(serving.settings.redis).marker(project="feature_store_local", view=FEATURE_SET) is None
    assert decommission(fresh, FEATURE_SET) == ()


def test_tearing_down_removes_values_and_registry_objects_and_no_foreign_key(serving: Serving) -> None:
    serving.publish(user_rows(range(1, 11), as_of=today()), as_of=today())
    serving.materialize()
    serving.valkey.client.set(b"someone_elses", b"1")
    serving.store.teardown()
    assert [key for key in serving.valkey.client.keys("*") if not key.startswith(b"feature_platform:")] == [b"someone_elses"]
    assert open_store(feast_environment(serving.settings)).list_feature_views() == []
