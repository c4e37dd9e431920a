"""Contracts as Feast sees them: names, keys, types, ttl, source and tags follow from the contract and nothing else."""

from datetime import timedelta

import pytest

from feature_platform.adapters.feast.objects import feast_objects
from feature_platform.errors import ContractError
from tests.support.online import contract_of
from tests.support.shipped_features import shipped_contract

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

BASE = "s3://bucket/features"


def test_the_shipped_contract_becomes_the_documented_objects() -> None:
    contract = shipped_contract()
    declared = feast_objects([contract], feature_base=BASE)
    (entity,), (source,), (view,), (service,) = declared.entities, declared.sources, declared.views, declared.services
    assert (entity.name, entity.join_key, str(entity.value_type)) == ("user", "user_id", "ValueType.INT64")
    assert (source.path, source.timestamp_field) == ("s3://bucket/features/user_features/latest/features.parquet", "event_timestamp")
    assert source.s3_endpoint_override == ""
    assert (view.name, view.ttl, view.entities) == ("user_features", timedelta(days=7), ["user"])
    assert [(field.name, str(field.dtype)) for field in view.features] == [
        ("f_total_events_7d", "Int64"),
        ("f_avg_session_sec_7d", "Float64"),
        ("f_last_event_age_sec", "Int64"),
        ("f_purchases_1d", "Int64"),
        ("f_last_country", "String"),
    ]
    assert view.tags == {"schema_hash": contract.schema_hash, "contract_version": "v1", "owner": "ml-platform"}
    assert service.name == "user_features"


def test_another_endpoint_is_written_into_the_source() -> None:
    declared = feast_objects([shipped_contract()], feature_base=BASE, s3_endpoint="http://127.0.0.1:9000")
    assert declared.sources[0].s3_endpoint_override == "http://127.0.0.1:9000"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("int32", "Int32"),
        ("float32", "Float32"),
        ("bool", "Bool"),
        ("bytes", "Bytes"),
        ("timestamp", "UnixTimestamp"),
        ("date", "UnixTimestamp"),
        ("list<int64>", "Array(Int64)"),
        ("list<string>", "Array(String)"),
        ("list<timestamp>", "Array(UnixTimestamp)"),
    ],
)
def test_every_contract_type_has_its_feast_type(kind: str, expected: str) -> None:
    (view,) = feast_objects([contract_of({"user_id": "int64", "f_value": kind})], feature_base=BASE).views
    assert str(view.features[0].dtype) == expected


def test_a_type_that_feast_cannot_hold_is_refused() -> None:
    with pytest.raises(ContractError, match=r"f_value.*list<date>"):
        feast_objects([contract_of({"user_id": "int64", "f_value": "list<date>"})], feature_base=BASE)


def test_feature_sets_share_an_entity_by_name() -> None:
    first = contract_of({"user_id": "int64", "f_a": "int64"}, name="first")
    second = contract_of({"user_id": "int64", "f_b": "int64"}, name="second")
    assert [entity.name for entity in feast_objects([first, second], feature_base=BASE).entities] == ["user"]


@pytest.mark.parametrize("columns", [{"account": "int64", "f_b": "int64"}, {"user_id": "string", "f_b": "int64"}])
def test_a_shared_entity_with_another_join_key_or_type_is_refused(columns: dict[str, str]) -> None:
    first = contract_of({"user_id": "int64", "f_a": "int64"}, name="first")
    second = contract_of(columns, keys=(next(iter(columns)),), name="second")
    with pytest.raises(ContractError, match="second: entity 'user'"):
        feast_objects([first, second], feature_base=BASE)


def test_a_composite_key_becomes_one_entity_per_column() -> None:
    contract = contract_of({"shop": "string", "item": "int32", "f_a": "int64"}, keys=("shop", "item"), name="pairs")
    declared = feast_objects([contract], feature_base=BASE)
    assert [(entity.name, entity.join_key) for entity in declared.entities] == [("user__shop", "shop"), ("user__item", "item")]
    assert declared.views[0].entities == ["user__shop", "user__item"]
