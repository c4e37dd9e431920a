"""The publishing protocols as pure code: what they ask for after each answer, with the answers written out."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from feature_platform.adapters.feature_set_store.protocol_runner import ProtocolRunner, digest
from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.layout import FILES, METADATA, PARQUET, FeatureSetLayout
from feature_platform.core.publishing import log_access, publication
from feature_platform.core.publishing.publication import Author, Build, Prepare, PreparedFile
from feature_platform.errors import InvalidDataError, NotFoundError, StorageError

DAY = datetime(2026, 1, 15, tzinfo=UTC)
LAYOUT = FeatureSetLayout("s3://b/features", "fs")


class World:
    """The protocols over memory, with files that are a few bytes each."""

    def __init__(self):
        self.objects = MemoryObjectStore()
        self.runner = ProtocolRunner(self.objects)
        self.ids = 0

    def new_id(self):
        self.ids += 1
        return f"id{self.ids}"

    @property
    def author(self):
        return Author(actor="test", reason="", at=DAY, new_id=self.new_id)

    def bodies(self, version, content):
        marked = {name: f"{name} {content} {version}".encode() for name in FILES}
        return {
            **marked,
            PARQUET: b"PAR1" + marked[PARQUET] + bytes(4) + b"PAR1",
            METADATA: json.dumps({"files": {}, "v": version}).encode(),
        }

    def commit(self, content="a", *, day=0, key=None, write_id=None):
        build = Build(DAY + timedelta(days=day), write_id or self.new_id(), key or f"run-{day}-{content}", "schema", content)

        def prepare(request):
            return {name: PreparedFile(body, digest(body)) for name, body in self.bodies(request.version, content).items()}

        return self.runner.run(publication.commit(LAYOUT, build, author=self.author), handlers={Prepare: prepare})

    def promote(self, version):
        return self.runner.run(publication.promote(LAYOUT, version, author=self.author))

    def rollback(self, version):
        return self.runner.run(publication.rollback(LAYOUT, version, author=self.author))

    def heal(self):
        return self.runner.run(publication.project(LAYOUT, new_id=self.new_id))

    def put(self, uri, body=b"x", write_id="theirs"):
        self.objects.put(uri, body, write_id=write_id, sha256=None, condition=None)

    def stored(self):
        return [info.uri.removeprefix(LAYOUT.root) for info in self.objects.scan(LAYOUT.root)]


@pytest.fixture
def world():
    return World()


def test_files_are_written_data_first_metadata_last_then_the_record():
    written, world = [], World()
    original = world.objects.put

    def put(uri, body, **options):
        written.append((uri.removeprefix(LAYOUT.root), type(options["condition"]).__name__))
        return original(uri, body, **options)

    world.objects.put = put
    world.promote(world.commit().version.version)
    assert written == [
        ("v_20260115T000000/features.parquet", "IfAbsent"),
        ("v_20260115T000000/features.csv", "IfAbsent"),
        ("v_20260115T000000/schema.json", "IfAbsent"),
        ("v_20260115T000000/metadata.json", "IfAbsent"),
        ("_log/00000000000000000001.json", "IfAbsent"),
        ("_log/00000000000000000002.json", "IfAbsent"),
        ("latest/features.parquet", "IfAbsent"),
        ("latest/features.csv", "IfAbsent"),
        ("latest/schema.json", "IfAbsent"),
        ("latest/metadata.json", "IfAbsent"),
    ]
    written.clear()
    world.promote(world.commit("b").version.version)
    assert [condition for _, condition in written[-4:]] == ["IfMatch"] * 4


def test_an_id_whose_file_somebody_else_left_is_not_taken(world):
    world.put(LAYOUT.version_file("v_20260115T000000", PARQUET))
    world.put(LAYOUT.version_file("v_20260115T000001", METADATA))
    assert world.commit().version.version == "v_20260115T000002"


def test_files_of_this_very_attempt_are_its_own(world):
    world.commit(write_id="attempt")
    world.objects.delete(LAYOUT.log_record(1))
    again = World()
    again.objects, again.runner = world.objects, ProtocolRunner(world.objects)
    assert again.commit(write_id="attempt").version.version == "v_20260115T000000"


def test_a_promotion_that_is_refused_heals_all_the_same(world):
    newer, older = world.commit("b", day=1).version.version, world.commit("a").version.version
    world.promote(newer)
    world.objects.delete(LAYOUT.latest_file(METADATA))
    move = world.promote(older)
    assert (move.has_moved, move.head.version, move.writes) == (False, newer, 1)


def test_promoting_twice_appends_one_record(world):
    version = world.commit().version.version
    world.promote(version)
    move = world.promote(version)
    assert (move.has_moved, move.refusal, move.previous, len(world.runner.run(log_access.read_history(LAYOUT)).records)) == (
        False, None, version, 2,
    )  # fmt: skip


def test_a_rollback_gives_bytes_that_latest_never_had(world):
    first, second = world.commit("a").version.version, world.commit("b", day=1).version.version
    world.promote(first)
    etags = {world.objects.head(LAYOUT.latest_file(PARQUET)).etag}
    world.promote(second)
    for version in (first, second, first):
        etags.add(world.objects.head(LAYOUT.latest_file(PARQUET)).etag)
        world.rollback(version)
        etag = world.objects.head(LAYOUT.latest_file(PARQUET)).etag
        assert etag not in etags
    assert json.loads(world.objects.get(LAYOUT.latest_file(METADATA)).body)["projection"] == {"sequence": 7, "operation": "rollback"}


def test_a_head_whose_file_is_gone_is_an_error_that_says_what_to_do_and_a_rollback_repairs(world):
    first, second = world.commit("a").version.version, world.commit("b", day=1).version.version
    world.promote(first)
    world.promote(second)
    world.objects.delete(LAYOUT.version_file(second, PARQUET))
    world.objects.delete(LAYOUT.latest_file(PARQUET))
    with pytest.raises(StorageError, match=r"It belongs to v_20260116T000000, which is latest; roll back to a whole version"):
        world.heal()
    assert world.rollback(first).head.version == first


def test_a_damaged_version_is_not_projected(world):
    version = world.commit("a").version.version
    world.put(LAYOUT.version_file(version, PARQUET), b"PAR1 something else")
    with pytest.raises(InvalidDataError, match=r"features.parquet has SHA-256 .* the published file is damaged"):
        world.promote(version)
    assert "latest/features.parquet" not in world.stored()


def test_what_keeps_writing_latest_ends_in_an_error_and_not_in_a_loop(world, monkeypatch):
    monkeypatch.setattr(publication, "MAX_PASSES", 5)
    version = world.commit().version.version
    original = world.objects.head

    def head(uri):
        world.put(LAYOUT.latest_file(METADATA), world.new_id().encode())
        return original(uri)

    world.objects.head = head
    with pytest.raises(StorageError, match=r"latest/ did not settle after 5 passes; is something else writing there"):
        world.promote(version)


def test_nothing_is_projected_of_a_feature_set_without_latest(world):
    world.commit()
    assert world.heal()[1] == 0
    assert not [key for key in world.stored() if key.startswith("latest/")]


def test_what_is_not_a_record_under_the_log_is_not_read(world):
    world.commit()
    world.put(f"{LAYOUT.log}README.txt")
    assert len(world.runner.run(log_access.read_history(LAYOUT)).records) == 1


def test_a_gap_in_the_log_stops_everything(world):
    world.promote(world.commit().version.version)
    world.objects.delete(LAYOUT.log_record(1))
    with pytest.raises(StorageError, match="skips from record 0 to 2"):
        World.commit(_reopened(world), "b")


def _reopened(world):
    fresh = World()
    fresh.objects, fresh.runner, fresh.ids = world.objects, ProtocolRunner(world.objects), 1_000
    return fresh


def test_moves_to_versions_that_are_not_there_write_nothing(world):
    world.commit()
    before = world.stored()
    for move in (world.promote, world.rollback):
        with pytest.raises(NotFoundError, match="was never committed"):
            move("v_20270101T000000")
    assert world.stored() == before


def test_the_reason_and_the_person_stand_in_the_record(world):
    version = world.commit().version.version
    author = replace(world.author, actor="ann", reason="first release")
    world.runner.run(publication.promote(LAYOUT, version, author=author))
    [_, record] = world.runner.run(log_access.read_history(LAYOUT)).records
    assert (record.op, record.actor, record.reason, record.at, record.from_version) == ("promote", "ann", "first release", DAY, "")
