"""A Feast registry whose store fails, lies or is raced: it is never emptied, no view is lost, and reading never writes."""

import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from feature_platform.core.objects import Condition, Content, IfAbsent
from feature_platform.errors import ConfigurationError, ConflictError, NotFoundError, StorageError, UnknownOutcomeError
from tests.support.faulty_store import FaultyObjectStore, GetFault, LostAnswerError, LostAnswerThenConflictError
from tests.support.feast_registries import URI, MemoryRegistryStore, apply, contract, open_registry, view_names

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

FAULTS = [
    pytest.param(ConfigurationError("S3 answered 403."), ConfigurationError, id="forbidden"),
    pytest.param(StorageError("S3 answered 503."), StorageError, id="unavailable"),
    pytest.param(StorageError("S3 did not answer in time."), StorageError, id="timeout"),
]


@pytest.fixture
def objects() -> FaultyObjectStore:
    return FaultyObjectStore()


def stored(objects: FaultyObjectStore) -> bytes:
    found = objects.get(URI)
    assert found is not None
    return found.body


def test_reading_an_absent_registry_finds_nothing_and_writes_nothing(objects: FaultyObjectStore) -> None:
    assert view_names(open_registry(objects)) == set()
    assert objects.get(URI) is None


@pytest.mark.parametrize(("fault", "expected"), FAULTS)
def test_a_failed_first_read_is_an_error_and_leaves_the_registry_as_it_was(
    objects: FaultyObjectStore, fault: Exception, expected: type[Exception]
) -> None:
    apply(open_registry(objects), contract("users"))
    before = stored(objects)
    objects.get_faults.append(fault)
    with pytest.raises(expected):
        _ = open_registry(objects).registry
    assert stored(objects) == before


@pytest.mark.parametrize(("fault", "expected"), FAULTS)
def test_an_apply_whose_read_fails_changes_nothing(objects: FaultyObjectStore, fault: Exception, expected: type[Exception]) -> None:
    writer = open_registry(objects)
    apply(writer, contract("users"))
    before = stored(objects)
    objects.get_faults.extend([fault] * 9)
    with pytest.raises(expected):
        apply(writer, contract("orders"))
    objects.get_faults.clear()
    assert stored(objects) == before
    apply(open_registry(objects), contract("orders"))
    assert view_names(open_registry(objects)) == {"users", "orders"}


def test_zero_bytes_are_refused_by_readers_and_writers(objects: FaultyObjectStore) -> None:
    objects.put(URI, b"", write_id="someone", sha256=None, condition=IfAbsent())
    with pytest.raises(StorageError, match="zero bytes"):
        _ = open_registry(objects).registry
    assert stored(objects) == b""


def test_every_truncation_of_a_registry_is_refused(objects: FaultyObjectStore) -> None:
    writer = open_registry(objects)
    apply(writer, contract("users"), contract("orders"))
    whole = len(stored(objects))
    for length in range(0, whole, 7):
        objects.get_faults.append(lambda body, length=length: body[:length])
        with pytest.raises(StorageError):
            MemoryRegistryStore(writer.config.registry, None).get_registry_proto()
    assert view_names(open_registry(objects)) == {"users", "orders"}
    assert len(stored(objects)) == whole


def test_foreign_bytes_are_refused_and_left_alone(objects: FaultyObjectStore) -> None:
    objects.put(URI, b"<html>Service Unavailable</html>", write_id="proxy", sha256=None, condition=IfAbsent())
    with pytest.raises(StorageError, match="no registry"):
        _ = open_registry(objects).registry
    assert stored(objects).startswith(b"<html>")


def test_a_registry_that_vanished_is_an_error_and_is_not_written_anew(objects: FaultyObjectStore) -> None:
    writer = open_registry(objects)
    apply(writer, contract("users"))
    objects.delete(URI)
    with pytest.raises(NotFoundError, match="is gone"):
        apply(writer, contract("orders"))
    assert objects.get(URI) is None


@pytest.mark.parametrize(
    "fault",
    [*(param.values[0] for param in FAULTS), lambda body: b"", lambda body: body[:-9]],
    ids=["403", "503", "timeout", "empty", "truncated"],
)
def test_a_reader_goes_on_with_what_it_has_and_says_so(
    objects: FaultyObjectStore, fault: GetFault, caplog: pytest.LogCaptureFixture
) -> None:
    reader = open_registry(objects)
    apply(reader, contract("users"))
    objects.get_faults.append(fault)
    with caplog.at_level(logging.ERROR):
        assert view_names(reader) == {"users"}
    assert "going on with what was read before" in caplog.text


def test_a_reader_does_not_ask_a_failing_store_with_every_request(objects: FaultyObjectStore) -> None:
    reader = open_registry(objects)
    apply(reader, contract("users"))
    objects.get_faults.extend([StorageError("S3 answered 503.")] * 2)
    assert view_names(reader) == view_names(reader) == {"users"}
    assert len(objects.get_faults) == 1


def test_a_lost_answer_is_recognised_as_our_own_write(objects: FaultyObjectStore) -> None:
    writer = open_registry(objects)
    for fault in (LostAnswerError(), LostAnswerThenConflictError()):
        objects.put_faults.append(fault)
        before = objects.writes
        apply(writer, contract(f"users_{before}"))
        assert objects.put_faults == type(objects.put_faults)()
    assert len(view_names(open_registry(objects))) == 2


def test_a_lost_request_is_sent_again(objects: FaultyObjectStore) -> None:
    objects.put_faults.append(UnknownOutcomeError("No answer."))
    apply(open_registry(objects), contract("users"))
    assert view_names(open_registry(objects)) == {"users"}


def test_a_writer_that_starts_from_stale_knowledge_loses_nothing(objects: FaultyObjectStore) -> None:
    stale, other = open_registry(objects), open_registry(objects)
    apply(stale, contract("users"))
    assert view_names(other) == {"users"}
    apply(stale, contract("orders"))
    apply(other, contract("items"))
    assert view_names(stale) == {"users", "orders", "items"}


def test_a_race_between_reading_and_writing_keeps_both_changes(objects: FaultyObjectStore) -> None:
    writer, rival = open_registry(objects), open_registry(objects)
    apply(writer, contract("users"))
    objects.put_faults.append(lambda: apply(rival, contract("orders")))
    apply(writer, contract("items"))
    assert view_names(open_registry(objects)) == {"users", "orders", "items"}
    assert {item.name for item in writer.registry.list_feature_services(writer.project)} == {"users", "orders", "items"}


class UnconditionalStore(FaultyObjectStore):
    """A store that ignores conditions, as S3 did once."""

    def put(self, uri: str, body: Content, *, write_id: str, sha256: str | None, condition: Condition) -> str:
        return super().put(uri, body, write_id=write_id, sha256=sha256, condition=None)


def test_without_the_condition_the_same_race_loses_a_view() -> None:
    objects = UnconditionalStore()
    writer, rival = open_registry(objects), open_registry(objects)
    apply(writer, contract("users"))
    objects.put_faults.append(lambda: apply(rival, contract("orders")))
    apply(writer, contract("items"))
    assert view_names(open_registry(objects)) == {"users", "items"}


def test_endless_conflicts_end_in_a_conflict_error(objects: FaultyObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_platform.feast_plugins.registry_store.DEADLINE_S", -1.0)
    writer = open_registry(objects)
    objects.put_faults.append(ConflictError("412"))
    with pytest.raises(ConflictError, match="Try again"):
        apply(writer, contract("users"))


def test_a_change_of_a_version_that_was_not_read_here_is_refused(objects: FaultyObjectStore) -> None:
    writer = open_registry(objects)
    apply(writer, contract("users"))
    changed = writer.registry.proto()
    changed.version_id = "someone else's"
    with pytest.raises(ConflictError, match="not read here"):
        writer.registry._registry_store.update_registry_proto(changed)


def test_both_materializations_of_one_view_are_recorded(objects: FaultyObjectStore) -> None:
    first, second = open_registry(objects), open_registry(objects)
    apply(first, contract("users"))
    view_names(second)
    for store, day in ((first, 1), (second, 2)):
        view = store.get_feature_view("users", allow_registry_cache=True)
        store.registry.apply_materialization(
            view, store.project, datetime(2026, 1, day, tzinfo=UTC), datetime(2026, 1, day + 1, tzinfo=UTC)
        )
    intervals = open_registry(objects).get_feature_view("users").materialization_intervals
    assert [start.day for start, _ in intervals] == [1, 2]


def test_two_changes_of_one_view_keep_both_definitions_in_its_history(objects: FaultyObjectStore) -> None:
    first, second = open_registry(objects), open_registry(objects)
    apply(first, contract("users"))
    view_names(second)
    apply(first, contract("users", features=("f_count", "f_first")))
    apply(second, contract("users", features=("f_count", "f_second")))
    reader = open_registry(objects)
    versions = reader.list_feature_view_versions("users")
    assert [item["version"] for item in versions] == ["v0", "v1", "v2"]
    served = reader.get_feature_view("users")
    assert ([field.name for field in served.features], served.current_version_number) == (["f_count", "f_second"], 2)


def write_count(objects: FaultyObjectStore, store: Any, *contracts: Any) -> int:
    before = objects.writes
    apply(store, *contracts)
    return objects.writes - before


def test_applying_the_same_contracts_again_writes_nothing(objects: FaultyObjectStore) -> None:
    apply(open_registry(objects), contract("users"), contract("orders"))
    assert write_count(objects, open_registry(objects), contract("users"), contract("orders")) == 0
    assert write_count(objects, open_registry(objects), contract("users", ttl="2d")) == 1
