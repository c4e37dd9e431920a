"""Verification finds damage: single flipped bits and truncations of every published file, and files that agree with the log but not with
each other."""

import json
import random
import struct
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_platform.adapters.feature_set_store.protocol_runner import ProtocolRunner, digest
from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.layout import CSV, FILES, METADATA, PARQUET, SCHEMA
from feature_platform.core.publishing import publication
from feature_platform.core.publishing.publication import Author, Build, Prepare, PreparedFile
from feature_platform.core.versions.findings import REPORT
from feature_platform.errors import NotFoundError
from feature_platform.use_cases.verify import verify_latest, verify_version
from tests.faults.figures import record_figure
from tests.support.feature_set_samples import DAY, FEATURE_SET, open_store, publish, sample_contract

FIRST, SECOND = "v_20260115T000000", "v_20260116T000000"
DAMAGES = 200


@pytest.fixture
def store():
    return open_store(MemoryObjectStore(), "s3://bucket/")


def damaged(body, rng):
    """The body with one bit flipped, or cut short."""
    if rng.random() < 0.5:
        return body[: rng.randrange(len(body))]
    place, bit = rng.randrange(len(body)), rng.randrange(8)
    return body[:place] + bytes([body[place] ^ 1 << bit]) + body[place + 1 :]


def replace(store, uri, body):
    """Put bytes in place of an object's, under its own description, as decay would."""
    info = store.objects.head(uri)
    store.objects.put(uri, body, write_id=info.write_id, sha256=info.sha256, condition=None)


def codes(findings):
    return sorted((finding.file, finding.code) for finding in findings)


@pytest.mark.parametrize("state", ["version", "latest after a promotion", "latest after a rollback"])
def test_every_flipped_bit_and_every_truncation_is_found(store, state):
    publish(store, "a")
    publish(store, "b", day=1)
    if state.endswith("rollback"):
        store.rollback(FEATURE_SET, FIRST, actor="ann", reason="test")
    layout, rng, found = store.layout(FEATURE_SET), random.Random(20260115), 0
    for number in range(DAMAGES):
        name = FILES[number % 4]
        uri = layout.version_file(FIRST, name) if state == "version" else layout.latest_file(name)
        whole = store.objects.get(uri).body
        replace(store, uri, damaged(whole, rng))
        findings = verify_version(store, FEATURE_SET, FIRST) if state == "version" else verify_latest(store, FEATURE_SET)
        found += name in {finding.file for finding in findings}
        replace(store, uri, whole)
    assert found == DAMAGES
    assert codes(verify_version(store, FEATURE_SET, FIRST)) == codes(verify_latest(store, FEATURE_SET)) == []
    record_figure(f"damaged files found, {state}", tried=DAMAGES, violations=DAMAGES - found)


def test_a_whole_version_is_proved(store):
    publish(store, "a", count=7)
    assert verify_version(store, FEATURE_SET, FIRST, contract=sample_contract()) == []


def test_a_missing_file_and_a_strange_one_are_named_with_what_to_do(store):
    publish(store)
    layout = store.layout(FEATURE_SET)
    store.objects.delete(layout.version_file(FIRST, CSV))
    store.objects.put(layout.version_file(FIRST, "notes.txt"), b"x", write_id="w", sha256=None, condition=None)
    findings = verify_version(store, FEATURE_SET, FIRST)
    assert codes(findings) == [("features.csv", "missing_file"), ("notes.txt", "extra_file")]
    assert [str(finding).rpartition(". ")[2] for finding in findings] == [
        "Remove the object; the platform did not write it.",
        "Restore the object from its previous S3 version, or roll back to a proved version and rebuild this one.",
    ]


def test_another_contract_than_the_given_one_is_found(store):
    publish(store)
    findings = verify_version(store, FEATURE_SET, FIRST, contract=sample_contract(version="v2"))
    assert codes(findings) == [("schema.json", "schema_differs")]


def test_a_projection_that_a_crash_left_behind_is_stale_until_it_is_healed(store):
    publish(store, "a")
    layout = store.layout(FEATURE_SET)
    old = {name: store.objects.get(layout.latest_file(name)) for name in FILES}
    publish(store, "b", day=1)
    for name in (SCHEMA, METADATA):
        info = old[name].info
        store.objects.put(layout.latest_file(name), old[name].body, write_id=info.write_id, sha256=info.sha256, condition=None)
    assert codes(verify_latest(store, FEATURE_SET)) == [
        ("metadata.json", "stale_projection"), ("schema.json", "stale_projection"),
    ]  # fmt: skip
    store.heal(FEATURE_SET)
    assert verify_latest(store, FEATURE_SET) == []


def test_nothing_to_verify_is_an_error_not_a_proof(store):
    with pytest.raises(NotFoundError, match="has no latest yet; materialize"):
        verify_latest(store, FEATURE_SET)
    with pytest.raises(NotFoundError, match="was never committed"):
        verify_version(store, FEATURE_SET, FIRST)


# Files whose digests the log confirms, and which are wrong all the same: what a faulty publisher would leave.


def commit_as_they_are(store, files, *, content_hash, schema_hash):
    """Commit given bytes of four files under the second day's id."""

    def prepare(request):
        assert request.version == SECOND
        return {name: PreparedFile(body, digest(body)) for name, body in files.items()}

    when = datetime(2026, 1, 16, tzinfo=UTC)
    ids = iter(range(100))
    author = Author(actor="test", reason="", at=DAY, new_id=lambda: f"wrong-{next(ids)}")
    build = Build(when, "wrong", "wrong", schema_hash, content_hash)
    ProtocolRunner(store.objects).run(publication.commit(store.layout(FEATURE_SET), build, author=author), handlers={Prepare: prepare})


def published_files(content, *, count=5):
    """The second day's files, taken from another place, and what its commit record said."""
    other = open_store(MemoryObjectStore(), "s3://bucket/")
    publish(other, content, day=1, count=count)
    layout = other.layout(FEATURE_SET)
    record = other.history(FEATURE_SET).versions[SECOND]
    return {name: other.objects.get(layout.version_file(SECOND, name)).body for name in FILES}, record


def with_metadata(files, /, **changes):
    """The files with a metadata that names their digests, then changed."""
    document = json.loads(files[METADATA])
    document["files"] = {name: {"sha256": digest(files[name]).sha256, "bytes": len(files[name])} for name in (PARQUET, CSV, SCHEMA)}
    return {**files, METADATA: json.dumps({**document, **changes}).encode()}


def parquet_with(body, **changes):
    """The Parquet file with another description of itself."""
    table = pq.read_table(pa.BufferReader(body))
    described = {**pq.read_metadata(pa.BufferReader(body)).metadata, **{key.encode(): value.encode() for key, value in changes.items()}}
    described.pop(b"ARROW:schema", None)
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(described), sink, write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def test_a_csv_of_other_rows_is_found(store):
    files, record = published_files("a")
    other, _ = published_files("b")
    commit_as_they_are(store, with_metadata({**files, CSV: other[CSV]}), content_hash=record.content_hash, schema_hash=record.schema_hash)
    assert codes(verify_version(store, FEATURE_SET, SECOND)) == [("features.csv", "csv_differs")]


def test_a_csv_that_does_not_read_is_found(store):
    files, record = published_files("a")
    changed = with_metadata({**files, CSV: files[CSV].replace(b"user_id", b"user")})
    commit_as_they_are(store, changed, content_hash=record.content_hash, schema_hash=record.schema_hash)
    assert codes(verify_version(store, FEATURE_SET, SECOND)) == [("features.csv", "csv_differs")]


def test_parquet_rows_that_are_not_the_recorded_content_are_found(store):
    files, record = published_files("a")
    commit_as_they_are(store, files, content_hash="0" * 64, schema_hash=record.schema_hash)
    findings = verify_version(store, FEATURE_SET, SECOND)
    assert codes(findings) == [
        ("features.parquet", "content_hash_differs"), ("features.parquet", "identity_differs"), ("metadata.json", "metadata_differs"),
    ]  # fmt: skip
    assert {finding.remedy for finding in findings} == {REPORT}


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "v_20260115T000000"},
        {"feature_set": "other"},
        {"schema_hash": "0" * 64},
        {"content_hash": "0" * 64},
        {"as_of": "2026-01-15T00:00:00+00:00"},
        {"as_of": "yesterday"},
        {"write_id": "somebody"},
    ],
    ids=lambda changes: "-".join([*changes, *changes.values()])[:30],
)
def test_a_parquet_file_that_says_it_is_something_else_is_found(store, changes):
    files, record = published_files("a")
    changed = with_metadata({**files, PARQUET: parquet_with(files[PARQUET], **changes)})
    commit_as_they_are(store, changed, content_hash=record.content_hash, schema_hash=record.schema_hash)
    assert codes(verify_version(store, FEATURE_SET, SECOND)) == [("features.parquet", "identity_differs")]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"row_count": 6}, ("features.parquet", "row_count_differs")),
        ({"version": "v_20260115T000000"}, ("metadata.json", "metadata_differs")),
        ({"partition": "2026-01-14"}, ("metadata.json", "metadata_differs")),
        ({"as_of": "2026-01-15T00:00:00Z"}, ("metadata.json", "metadata_differs")),
        ({"feature_uri": "s3://elsewhere/"}, ("metadata.json", "metadata_differs")),
        ({"files": {}}, ("metadata.json", "metadata_differs")),
        ({"files": {"features.csv": 1}}, ("metadata.json", "unreadable")),
        ({"format": 99}, ("metadata.json", "unreadable")),
    ],
    ids=lambda value: str(value)[:30],
)
def test_metadata_that_contradicts_the_log_is_found(store, changes, found):
    files, record = published_files("a")
    commit_as_they_are(store, with_metadata(files, **changes), content_hash=record.content_hash, schema_hash=record.schema_hash)
    assert set(codes(verify_version(store, FEATURE_SET, SECOND))) == {found}


@pytest.mark.parametrize("change", [lambda body: body.replace(b",", b", ", 1), lambda body: body[:-1], lambda body: b"[]"])
def test_a_schema_that_is_not_the_signed_contract_is_found(store, change):
    files, record = published_files("a")
    changed = with_metadata({**files, SCHEMA: change(files[SCHEMA])})
    commit_as_they_are(store, changed, content_hash=record.content_hash, schema_hash=record.schema_hash)
    assert ("schema.json", "schema_differs") in codes(verify_version(store, FEATURE_SET, SECOND))


def test_a_parquet_file_with_a_broken_page_is_found_although_its_digest_is_recorded(store):
    files, record = published_files("a", count=5_000)
    body = files[PARQUET]
    footer = struct.unpack("<I", body[-8:-4])[0]
    middle = (len(body) - 8 - footer) // 2
    broken = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
    commit_as_they_are(store, with_metadata({**files, PARQUET: broken}), content_hash=record.content_hash, schema_hash=record.schema_hash)
    assert codes(verify_version(store, FEATURE_SET, SECOND)) == [("features.parquet", "unreadable")]
