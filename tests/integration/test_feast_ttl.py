"""Rows past their ttl are served as null with Feast's own status, on every path a reader can take."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from feature_platform.adapters.feast.clock import reading_as_of
from tests.support.feast_reading import Readers, open_readers
from tests.support.online import contract_of, table_of
from tests.support.services import ValkeyDatabase

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

HOURLY = contract_of({"user_id": "int64", "f_count": "int64", "f_name": "string"}, name="hourly", ttl="1h")
FEATURES = ["hourly:f_count", "hourly:f_name"]
MOMENT = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
FRESH, LATE, MISSING = 1, 2, 3


@pytest.fixture
def readers(valkey: ValkeyDatabase) -> Readers:
    opened = open_readers(valkey, HOURLY)
    stamps = [MOMENT - timedelta(hours=1), MOMENT - timedelta(hours=1, microseconds=1)]
    opened.write(HOURLY, table_of(HOURLY, {"user_id": [FRESH, LATE], "event_timestamp": stamps, "f_count": [7, 8], "f_name": ["a", "b"]}))
    return opened


def columns(response: Any) -> dict[str, tuple[list[str], list[int]]]:
    """Feature → its statuses and its event timestamps in seconds."""
    from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

    names = response.proto.metadata.feature_names.val
    return {
        name: ([FieldStatus.Name(status) for status in vector.statuses], [stamp.seconds for stamp in vector.event_timestamps])
        for name, vector in zip(names, response.proto.results, strict=True)
    }


@pytest.mark.parametrize("path", ["planned", "feasts_own"])
def test_a_row_exactly_as_old_as_its_ttl_is_served_and_an_older_one_is_not(readers: Readers, path: str) -> None:
    options = {"include_feature_view_version_metadata": path == "feasts_own"}
    with reading_as_of(MOMENT):
        response = readers.ours.get_online_features(features=FEATURES, entity_rows={"user_id": [FRESH, LATE, MISSING]}, **options)
    assert response.to_dict() == {"user_id": [FRESH, LATE, MISSING], "f_count": [7, None, None], "f_name": ["a", None, None]}
    statuses, seconds = columns(response)["f_count"]
    assert statuses == ["PRESENT", "OUTSIDE_MAX_AGE", "PRESENT"], "Feast's Redis store says PRESENT of entities that it lacks"
    assert seconds == [int(MOMENT.timestamp()) - 3600, int(MOMENT.timestamp()) - 3601, 0]


def test_feasts_own_store_serves_the_row_that_is_too_old(readers: Readers) -> None:
    assert readers.stock.get_online_features(features=FEATURES, entity_rows={"user_id": [LATE]}).to_dict()["f_count"] == [8]


def test_time_passes_for_a_reader_without_a_clock_of_its_own(readers: Readers) -> None:
    response = readers.ours.get_online_features(features=FEATURES, entity_rows={"user_id": [FRESH]})
    assert response.to_dict() == {"user_id": [FRESH], "f_count": [None], "f_name": [None]}


def test_asynchronous_and_direct_reads_honour_the_ttl_too(readers: Readers) -> None:
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    store = readers.ours
    keys = [EntityKey(join_keys=["user_id"], entity_values=[Value(int64_val=user)]) for user in (FRESH, LATE)]
    view, online_store = store.get_feature_view("hourly"), store.provider.online_store

    async def read() -> tuple[Any, Any]:
        response = await store.get_online_features_async(features=FEATURES, entity_rows={"user_id": [FRESH, LATE]})
        rows = await online_store.online_read_async(store.config, view, keys, ["f_count"])
        await online_store._client_async.aclose()
        return response, rows

    with reading_as_of(MOMENT):
        response, rows = asyncio.run(read())
        direct = online_store.online_read(store.config, view, keys, ["f_count"])
    assert response.to_dict()["f_count"] == [7, None]
    for found in (rows, direct):
        assert [values["f_count"].WhichOneof("val") for _, values in found] == ["int64_val", None]


def test_a_view_without_a_ttl_serves_forever(readers: Readers) -> None:
    view = readers.ours.get_feature_view("hourly")
    view.ttl = None
    readers.ours.apply(view)
    assert readers.ours.get_online_features(features=FEATURES, entity_rows={"user_id": [LATE]}).to_dict()["f_count"] == [8]


def test_feasts_metrics_count_what_was_served_and_what_was_too_old(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    from feast import metrics

    monkeypatch.setattr(metrics._config, "online_features", True)

    def counted(status: str) -> float:
        return float(metrics.online_features_status_total.labels(feature_view="hourly", status=status)._value.get())

    before = {status: counted(status) for status in ("present", "not_found")}
    with reading_as_of(MOMENT):
        readers.ours.get_online_features(features=FEATURES, entity_rows={"user_id": [FRESH, LATE]})
    assert {status: counted(status) - before[status] for status in before} == {"present": 2, "not_found": 2}
