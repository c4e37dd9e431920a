"""An apply never deletes what its checkout lacks; a deletion on purpose does, and nobody brings the object back."""

import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from feature_platform.adapters.feast.objects import feast_objects
from feature_platform.core.contract.feature_set import Contract
from feature_platform.feast_plugins.registry_merge import KNOWN_FIELDS
from tests.support.faulty_store import FaultyObjectStore
from tests.support.feast_registries import apply, contract, open_registry, view_names

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


@pytest.fixture
def objects() -> FaultyObjectStore:
    return FaultyObjectStore()


def apply_checkout(store: Any, *contracts: Contract) -> None:
    """What `feast apply` does with a checkout: apply what it has, delete what the registry has beyond that."""
    from feast.repo_contents import RepoContents
    from feast.repo_operations import apply_total_with_repo_instance

    declared = feast_objects(contracts, feature_base="s3://bucket/features")
    from feast import Project

    repo = RepoContents(
        projects=[Project(name=store.project)],
        data_sources=list(declared.sources),
        entities=list(declared.entities),
        feature_views=list(declared.views),
        feature_services=list(declared.services),
        on_demand_feature_views=[],
        stream_feature_views=[],
        label_views=[],
        permissions=[],
    )
    apply_total_with_repo_instance(store, store.project, store.registry, repo, skip_source_validation=True)


def test_a_checkout_that_lacks_a_view_keeps_it_and_says_so(objects: FaultyObjectStore, caplog: pytest.LogCaptureFixture) -> None:
    apply_checkout(open_registry(objects), contract("users"), contract("orders"))
    with caplog.at_level(logging.WARNING):
        apply_checkout(open_registry(objects), contract("users", ttl="3d"))
    store = open_registry(objects)
    assert view_names(store) == {"users", "orders"}
    assert [item["version"] for item in store.list_feature_view_versions("orders")] == ["v0"]
    assert "feature_views/orders" in caplog.text
    assert store.get_feature_view("users").ttl.days == 3


def test_an_empty_checkout_keeps_everything(objects: FaultyObjectStore) -> None:
    apply_checkout(open_registry(objects), contract("users"), contract("orders"))
    apply_checkout(open_registry(objects))
    assert view_names(open_registry(objects)) == {"users", "orders"}


def test_deleting_a_view_on_purpose_deletes_it_with_its_history(objects: FaultyObjectStore) -> None:
    store = open_registry(objects)
    apply(store, contract("users"), contract("orders"))
    store.registry.delete_feature_view("orders", store.project)
    assert view_names(open_registry(objects)) == {"users"}
    assert open_registry(objects).list_feature_view_versions("orders") == []


def test_the_delete_command_deletes_the_one_object_it_is_given(objects: FaultyObjectStore) -> None:
    store = open_registry(objects)
    apply(store, contract("users"), contract("orders"))
    for item in (store.get_feature_service("orders"), store.get_feature_view("orders")):
        store.apply([item], objects_to_delete=[item], partial=False)
    assert {item.name for item in open_registry(objects).list_feature_services()} == {"users"}
    assert view_names(open_registry(objects)) == {"users"}


def test_deleting_the_project_empties_it(objects: FaultyObjectStore) -> None:
    store = open_registry(objects)
    apply(store, contract("users"), contract("orders"))
    store.registry.delete_project(store.project)
    assert view_names(open_registry(objects)) == set()


def test_a_deleted_view_is_not_brought_back_by_a_materialization_that_was_under_way(objects: FaultyObjectStore) -> None:
    loader, remover = open_registry(objects), open_registry(objects)
    apply(loader, contract("users"), contract("orders"))
    view = loader.get_feature_view("orders")
    view_names(remover)
    remover.registry.delete_feature_view("orders", remover.project)
    loader.registry.apply_materialization(view, loader.project, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    assert view_names(open_registry(objects)) == {"users"}


def test_every_field_of_feasts_registry_is_merged() -> None:
    from feast.protos.feast.core.Registry_pb2 import Registry

    assert {field.name for field in Registry.DESCRIPTOR.fields} == KNOWN_FIELDS
