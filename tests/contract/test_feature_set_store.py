"""What every feature set store must do; each variant inherits the suite: in memory, on moto and on a real S3 server."""

import hashlib
import io
from collections.abc import Iterator
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_platform.adapters.feature_set_store.feature_sets import ObjectFeatureSetStore
from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.layout import FILES
from feature_platform.core.publishing.retention import Policy
from feature_platform.errors import ContractError, InvalidDataError, NotFoundError
from feature_platform.ports.feature_set_store import FeatureSetStore
from tests.support.feature_set_samples import DAY, FEATURE_SET, PROVENANCE, TEMPLATE, open_store, publish, rows, sample_contract
from tests.support.moto_server import moto_server
from tests.support.services import S3Bucket, S3Endpoint

FIRST, CORRECTION, SECOND = "v_20260115T000000", "v_20260115T000001", "v_20260116T000000"
OLD = Policy(keep_newest=1, keep_days=0, grace_s=0.0, leftover_age=timedelta(0))


def shown(store: ObjectFeatureSetStore) -> dict[str, bytes]:
    """What ``latest/`` holds."""
    layout = store.layout(FEATURE_SET)
    return {info.uri.removeprefix(layout.latest): store.objects.get(info.uri).body for info in store.objects.scan(layout.latest)}


def files_of(store: ObjectFeatureSetStore, version: str) -> dict[str, bytes]:
    layout = store.layout(FEATURE_SET)
    prefix = layout.version(version)
    return {info.uri.removeprefix(prefix): store.objects.get(info.uri).body for info in store.objects.scan(prefix)}


def everything(store: ObjectFeatureSetStore) -> dict[str, str]:
    """Every object and its ETag."""
    return {info.uri: info.etag for info in store.objects.scan(store.layout(FEATURE_SET).root)}


class FeatureSetStoreContract:
    """Inherit it and provide ``store``: an empty feature set store that does not wait."""

    def test_is_a_feature_set_store(self, store: FeatureSetStore) -> None:
        layout = store.layout(FEATURE_SET)
        assert layout.version_file(FIRST, "features.csv") == f"{layout.root}{FIRST}/features.csv"

    def test_what_was_never_published_is_empty(self, store: FeatureSetStore) -> None:
        history = store.history(FEATURE_SET)
        assert (history.records, history.head, history.live, store.pins(FEATURE_SET)) == ((), None, (), {})
        assert store.survey(FEATURE_SET, policy=OLD, protected=()) == []
        with pytest.raises(NotFoundError, match=r"latest/metadata.json does not exist"):
            store.latest_metadata(FEATURE_SET)
        with pytest.raises(NotFoundError, match=r"'v_20260115T000000' was never committed; the newest are: none"):
            store.load(FEATURE_SET, FIRST)

    def test_a_commit_leaves_four_files_named_by_their_digests_and_does_not_move_latest(self, store: ObjectFeatureSetStore) -> None:
        done = publish(store, promoted=False)
        assert (done.version, done.is_new, done.uri) == (FIRST, True, store.layout(FEATURE_SET).version(FIRST))
        files = files_of(store, FIRST)
        assert tuple(sorted(files)) == tuple(sorted(FILES))
        recorded = store.history(FEATURE_SET).versions[FIRST].files
        assert {name: hashlib.sha256(body).hexdigest() for name, body in files.items()} == {n: d.sha256 for n, d in recorded.items()}
        assert store.history(FEATURE_SET).head is None
        assert shown(store) == {}

    def test_metadata_says_what_was_published(self, store: FeatureSetStore) -> None:
        done = publish(store)
        described = store.metadata(FEATURE_SET, FIRST)
        assert described == done.metadata
        facts = {
            name: described.document[name]
            for name in ("version", "as_of", "partition", "row_count", "run_id", "supersedes", "owner", "format")
        }
        assert facts == {
            "version": "v_20260115T000000",
            "as_of": "2026-01-15T00:00:00Z",
            "partition": "2026-01-14",
            "row_count": 5,
            "run_id": "run-1",
            "supersedes": None,
            "owner": "ml-platform",
            "format": 1,
        }
        assert [source.etag for source in described.sources] == ["0cc175b9c0f1b6a831c399e269772661"]

    def test_rows_read_back(self, store: FeatureSetStore) -> None:
        publish(store)
        assert store.load(FEATURE_SET, FIRST).equals(rows("a").to_arrow())
        with store.open_features(FEATURE_SET, FIRST) as file:
            assert pq.read_metadata(file).metadata[b"version"] == b"v_20260115T000000"

    def test_promoting_makes_latest_the_version_byte_for_byte(self, store: ObjectFeatureSetStore) -> None:
        publish(store, promoted=False)
        move = store.promote(FEATURE_SET, FIRST, actor="test")
        assert (move.head.version, move.previous, move.has_moved, move.writes) == (FIRST, None, True, 4)
        assert shown(store) == files_of(store, FIRST)

    def test_the_same_rows_again_write_nothing(self, store: ObjectFeatureSetStore) -> None:
        publish(store, key="run-1")
        before = everything(store)
        again = publish(store, key="run-2")
        assert (again.version, again.is_new) == (FIRST, False)
        assert everything(store) == before

    def test_one_run_commits_once_whatever_it_computed_the_second_time(self, store: FeatureSetStore) -> None:
        publish(store, "a", key="run-1")
        again = publish(store, "b", key="run-1")
        assert (again.version, again.is_new) == (FIRST, False)

    def test_other_rows_of_a_moment_are_its_next_correction(self, store: ObjectFeatureSetStore) -> None:
        publish(store, "a")
        done = publish(store, "b")
        assert (done.version, done.metadata.supersedes) == (CORRECTION, FIRST)
        assert shown(store) == files_of(store, CORRECTION)
        assert files_of(store, FIRST)["features.csv"].startswith(b"user_id,event_timestamp")

    @pytest.mark.parametrize("damage", ["deleted", "replaced"])
    def test_a_version_that_lost_a_file_is_rebuilt_as_its_next_correction(self, store: ObjectFeatureSetStore, damage: str) -> None:
        publish(store, key="run-1")
        uri = store.layout(FEATURE_SET).version_file(FIRST, "metadata.json")
        store.objects.delete(uri)
        if damage == "replaced":
            store.objects.put(uri, b"{}", write_id="somebody", sha256=None, condition=None)
        done = publish(store, key="run-2")
        assert (done.version, done.is_new) == (CORRECTION, True)
        assert shown(store) == files_of(store, CORRECTION)
        assert publish(store, key="run-3").version == CORRECTION

    def test_another_contract_is_a_new_version_of_the_same_rows(self, store: FeatureSetStore) -> None:
        publish(store, key="run-1")
        assert publish(store, key="run-2", contract=sample_contract(version="v2")).version == CORRECTION

    def test_a_backfill_is_committed_and_does_not_move_latest_back(self, store: ObjectFeatureSetStore) -> None:
        publish(store, "b", day=1)
        done = publish(store, "a", day=0, promoted=False)
        move = store.promote(FEATURE_SET, done.version, actor="test")
        assert (move.head.version, move.has_moved, move.writes) == (SECOND, False, 0)
        assert move.refusal is not None
        assert "a backfill does not move it back" in move.refusal
        assert store.latest_metadata(FEATURE_SET).version == SECOND

    def test_a_rollback_shows_the_old_pages_in_new_bytes_and_is_recorded(self, store: ObjectFeatureSetStore) -> None:
        publish(store, "a")
        publish(store, "b", day=1)
        move = store.rollback(FEATURE_SET, FIRST, actor="ann", reason="bad upstream day")
        assert (move.head.version, move.previous, move.has_moved) == (FIRST, SECOND, True)
        record = store.history(FEATURE_SET).records[-1]
        assert (record.op, record.actor, record.from_version, record.version, record.reason) == (
            "rollback", "ann", SECOND, FIRST, "bad upstream day",
        )  # fmt: skip
        files, version = shown(store), files_of(store, FIRST)
        assert files["features.parquet"] != version["features.parquet"]
        assert pq.read_table(io.BytesIO(files["features.parquet"]), page_checksum_verification=True).equals(rows("a").to_arrow())
        described = store.latest_metadata(FEATURE_SET)
        assert (described.version, described.document["projection"]) == (FIRST, {"sequence": 5, "operation": "rollback"})
        assert described.files["features.parquet"].sha256 == hashlib.sha256(files["features.parquet"]).hexdigest()
        assert (files["features.csv"], files["schema.json"]) == (version["features.csv"], version["schema.json"])

    def test_after_a_rollback_only_a_later_moment_moves_latest(self, store: FeatureSetStore) -> None:
        publish(store, "a")
        publish(store, "b", day=1)
        store.rollback(FEATURE_SET, FIRST, actor="ann", reason="bad day")
        rebuilt = publish(store, "c", day=1)
        assert rebuilt.version == "v_20260116T000001"
        assert store.latest_metadata(FEATURE_SET).version == FIRST
        publish(store, "d", day=2)
        assert store.latest_metadata(FEATURE_SET).version == "v_20260117T000000"

    def test_a_heal_repairs_what_somebody_else_wrote_and_a_second_one_finds_nothing(self, store: ObjectFeatureSetStore) -> None:
        publish(store)
        layout = store.layout(FEATURE_SET)
        store.objects.put(layout.latest_file("features.csv"), b"user_id\n", write_id="stranger", sha256=None, condition=None)
        store.objects.delete(layout.latest_file("metadata.json"))
        assert store.heal(FEATURE_SET)[1] == 2
        assert shown(store) == files_of(store, FIRST)
        assert store.heal(FEATURE_SET)[1] == 0

    def test_an_unknown_version_is_refused_by_name(self, store: FeatureSetStore) -> None:
        publish(store)
        for move in (store.promote, store.rollback):
            with pytest.raises(NotFoundError, match=r"'v_20270101T000000' was never committed; the newest are: v_20260115T000000"):
                move(FEATURE_SET, "v_20270101T000000", actor="test", reason="mistake")
        with pytest.raises(NotFoundError, match=r"v_20270101T000000/metadata.json does not exist"):
            store.metadata(FEATURE_SET, "v_20270101T000000")

    def test_pins_are_listed_kept_once_and_removed(self, store: FeatureSetStore) -> None:
        publish(store)
        assert store.pin(FEATURE_SET, FIRST, name="model-7", actor="ann", reason="training") is True
        assert store.pin(FEATURE_SET, FIRST, name="model-7", actor="bob") is False
        assert store.pins(FEATURE_SET) == {FIRST: ("model-7",)}
        with pytest.raises(NotFoundError, match=r"has no pin 'model-8'; it has: model-7"):
            store.unpin(FEATURE_SET, FIRST, name="model-8")
        store.unpin(FEATURE_SET, FIRST, name="model-7")
        assert store.pins(FEATURE_SET) == {}

    @pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "a b", "x" * 101, "trailing\n"])
    def test_an_unsafe_pin_name_is_refused(self, store: FeatureSetStore, name: str) -> None:
        with pytest.raises(InvalidDataError, match="is not allowed; expected letters, digits"):
            store.pin(FEATURE_SET, FIRST, name=name, actor="ann")

    def test_collecting_deletes_what_nobody_names_and_its_id_is_spent(self, store: ObjectFeatureSetStore) -> None:
        publish(store, "a")
        publish(store, "b")
        publish(store, "c", day=1)
        store.pin(FEATURE_SET, CORRECTION, name="model", actor="ann")
        before = everything(store)
        assert [candidate.version for candidate in store.survey(FEATURE_SET, policy=OLD, protected=())] == [FIRST]
        assert everything(store) == before
        sweep = store.collect(FEATURE_SET, policy=OLD, actor="gc", protected=tuple)
        assert ([candidate.version for candidate in sweep.deleted], sweep.spared) == ([FIRST], {})
        assert files_of(store, FIRST) == {}
        assert [version.version for version in store.history(FEATURE_SET).live] == [CORRECTION, SECOND]
        with pytest.raises(NotFoundError, match="has expired"):
            store.rollback(FEATURE_SET, FIRST, actor="ann", reason="too late")
        assert publish(store, "a").version == "v_20260115T000002"

    def test_what_is_protected_elsewhere_is_kept(self, store: FeatureSetStore) -> None:
        publish(store, "a")
        publish(store, "b", day=1)
        assert store.survey(FEATURE_SET, policy=OLD, protected=[FIRST]) == []
        sweep = store.collect(FEATURE_SET, policy=OLD, actor="gc", protected=lambda: [FIRST])
        assert sweep.deleted == ()

    def test_rows_of_another_shape_leave_nothing_behind(self, store: ObjectFeatureSetStore) -> None:
        table = rows("a").to_arrow()
        for wrong in (table.drop_columns(["f_mean"]), pa.concat_tables([table, table])):
            with pytest.raises(InvalidDataError):
                store.commit(
                    rows("a").from_arrow(wrong),
                    contract=sample_contract(),
                    template=TEMPLATE,
                    as_of=DAY,
                    provenance=PROVENANCE,
                    idempotency_key="run",
                    actor="test",
                )
        assert everything(store) == {}

    def test_a_template_that_contradicts_the_facts_leaves_nothing_behind(self, store: ObjectFeatureSetStore) -> None:
        with pytest.raises(ContractError, match=r"metadata.json.j2 of user_features"):
            store.commit(
                rows("a"),
                contract=sample_contract(),
                template=TEMPLATE.replace("{{ version | tojson }}", '"v_19990101T000000"'),
                as_of=DAY,
                provenance=PROVENANCE,
                idempotency_key="run",
                actor="test",
            )
        assert everything(store) == {}


class TestInMemory(FeatureSetStoreContract):
    @pytest.fixture
    def store(self) -> ObjectFeatureSetStore:
        return open_store(MemoryObjectStore(), "s3://bucket/")


@pytest.fixture(scope="module")
def moto() -> Iterator[S3Endpoint]:
    with moto_server() as url:
        yield S3Endpoint(url, access_key_id="test", secret_access_key="test-secret")


class TestOnMoto(FeatureSetStoreContract):
    @pytest.fixture
    def store(self, moto: S3Endpoint) -> ObjectFeatureSetStore:
        return open_store(moto.store, moto.new_bucket().uri)


class TestOnSeaweedFS(FeatureSetStoreContract):
    @pytest.fixture
    def store(self, s3: S3Bucket) -> ObjectFeatureSetStore:
        return open_store(s3.store, s3.uri)
