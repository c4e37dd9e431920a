"""Training sets over published versions: what was known then, and nothing else; every row once, in its order; the same bytes for ever."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from feature_platform.core.publishing.retention import Policy
from feature_platform.core.training.split import split_by_key, split_by_time
from feature_platform.errors import InvalidDataError, NotFoundError, StorageError, UnknownNameError
from feature_platform.use_cases import training
from tests.support.feature_set_samples import DAY, FEATURE_SET
from tests.support.training_sets import Published, labels

HOUR = timedelta(hours=1)


def test_each_label_gets_what_serving_could_have_answered_then(published: Published) -> None:
    first, second = published.publish("a"), published.publish("b", day=1)
    asked = [(1, DAY), (1, DAY + 6 * HOUR), (1, DAY + 29 * HOUR), (1, DAY + 30 * HOUR), (99, DAY + 30 * HOUR)]
    table, made = published.make(labels(*asked))
    assert table.column("user_features__version").to_pylist() == [None, first, first, second, second]
    assert table.column("user_features__status").to_pylist() == ["nothing_known", "found", "found", "found", "unknown_entity"]
    assert table.column("f_count").to_pylist() == [None, None, None, None, None]
    assert made.feature_sets[0].statuses == {"nothing_known": 1, "found": 3, "unknown_entity": 1}


def test_by_event_time_a_version_is_known_from_the_moment_it_is_true_as_of(published: Published) -> None:
    first, second = published.publish("a"), published.publish("b", day=1, hours=200)
    table, _ = published.make(labels((2, DAY - HOUR), (2, DAY), (2, DAY + 24 * HOUR)), known_at="event")
    assert table.column("user_features__version").to_pylist() == [None, first, second]
    assert table.column("f_count").to_pylist() == [None, 3 * ord("a"), 3 * ord("b")]


def test_a_correction_counts_from_its_publication_or_by_event_time_from_its_moment(published: Published) -> None:
    first, second = published.publish("a"), published.publish("b", hours=50)
    asked = labels((2, DAY + 49 * HOUR), (2, DAY + 50 * HOUR))
    assert published.make(asked)[0].column("user_features__version").to_pylist() == [first, second]
    assert published.make(asked, known_at="event")[0].column("user_features__version").to_pylist() == [second, second]


def test_after_a_rollback_the_earlier_version_is_known_and_the_one_that_was_left_never_again(published: Published) -> None:
    first, second = published.publish("a"), published.publish("b", day=1)
    published.rollback(first, at=DAY + 40 * HOUR)
    asked = labels((2, DAY + 39 * HOUR), (2, DAY + 40 * HOUR))
    assert published.make(asked)[0].column("user_features__version").to_pylist() == [second, first]
    assert published.make(asked, known_at="event")[0].column("user_features__version").to_pylist() == [first, first]


def test_a_version_that_was_only_committed_was_not_known_to_serving(published: Published) -> None:
    first = published.publish("a")
    second = published.publish("b", day=1, promoted=False)
    asked = labels((2, DAY + 90 * HOUR))
    assert published.make(asked)[0].column("user_features__version").to_pylist() == [first]
    assert published.make(asked, known_at="event")[0].column("user_features__version").to_pylist() == [second]


def test_the_ttl_is_kept_to_the_microsecond(published: Published) -> None:
    published.publish("a")
    last = DAY + 7 * 24 * HOUR
    table, made = published.make(labels((2, last), (2, last + timedelta(microseconds=1))), ttl=None)
    assert table.column("user_features__status").to_pylist() == ["found", "past_ttl"]
    assert table.column("f_count").to_pylist() == [3 * ord("a"), None]
    assert made.feature_sets[0].ttl == timedelta(days=7)


def test_rows_out_are_the_rows_in_with_all_their_columns_in_their_order(published: Published) -> None:
    """Copies of a row, several batches, columns of types that no contract has."""
    published.publish("a")
    given = labels(*[(number % 4, DAY + 7 * HOUR) for number in range(300)], amount=pa.array(range(300), pa.uint16()), text=["é"] * 300)
    given = pa.Table.from_batches(given.to_batches(max_chunksize=7))
    table, made = published.make(given)
    assert table.select(given.column_names).equals(given)
    assert made.data.rows == made.labels.rows == 300
    assert table.column("f_mean").to_pylist() == [None if n % 4 == 0 else (n % 4 + 1) / ord("a") for n in range(300)]


def test_the_same_labels_and_versions_are_one_training_set(published: Published) -> None:
    published.publish("a")
    asked = labels((2, DAY + 7 * HOUR))
    made = published.make(asked)[1]
    published.publish("b", day=1)
    assert published.make(asked)[1] == made
    assert published.platform.training_sets.names() == [made.training_set]
    assert published.make(asked, "user_features:f_mean")[1].training_set != made.training_set


def test_the_same_bytes_come_back_after_later_publishes_and_retention(published: Published) -> None:
    used, other = published.publish("a"), published.publish("b", day=1)
    made = published.make(labels((2, DAY + 7 * HOUR), (1, DAY + 7 * HOUR)))[1]
    for day in range(2, 5):
        published.publish("c", day=day)
    published.clock[0] = DAY + timedelta(days=90)
    swept = published.store.collect(FEATURE_SET, policy=Policy(keep_newest=1, keep_days=1, grace_s=0.0), actor="test", protected=lambda: ())
    assert {candidate.version for candidate in swept.deleted} >= {other}
    assert used not in {candidate.version for candidate in swept.deleted}
    assert training.verify(published.platform, made.training_set) == made


def test_labels_that_meet_a_version_that_retention_removed_are_counted(published: Published) -> None:
    first = published.publish("a")
    published.publish("b", day=1)
    published.clock[0] = DAY + timedelta(days=90)
    published.store.collect(FEATURE_SET, policy=Policy(keep_newest=1, keep_days=1, grace_s=0.0), actor="test", protected=lambda: ())
    table, made = published.make(labels((2, DAY + 7 * HOUR), (2, DAY + 31 * HOUR)))
    assert table.column("user_features__status").to_pylist() == ["expired", "found"]
    assert (made.feature_sets[0].versions[0].version, made.feature_sets[0].versions[0].is_gone) == (first, True)
    assert training.verify(published.platform, made.training_set) == made


@pytest.mark.parametrize("file", ["labels", "data", "version"])
def test_an_altered_input_is_named(published: Published, file: str) -> None:
    version = published.publish("a")
    made = published.make(labels((2, DAY + 7 * HOUR)))[1]
    features = published.store.layout(FEATURE_SET).version_file(version, "features.parquet")
    uris = {"labels": made.labels.uri, "data": made.data.uri, "version": features}
    body = published.platform.objects.get(uris[file])
    assert body is not None
    published.platform.objects.put(uris[file], body.body[:-9] + b"x" * 9, write_id="intruder", sha256=None, condition=None)
    with pytest.raises(InvalidDataError, match=r"has SHA-256 [0-9a-f]{64}; expected [0-9a-f]{64}") as caught:
        training.verify(published.platform, made.training_set)
    assert (version if file == "version" else uris[file]) in str(caught.value)


def test_deleting_a_training_set_frees_its_versions(published: Published) -> None:
    version = published.publish("a")
    made = published.make(labels((2, DAY + 7 * HOUR)))[1]
    assert published.store.pins(FEATURE_SET) == {version: (f"training-{made.training_set}",)}
    training.delete(published.platform, made.training_set)
    assert published.store.pins(FEATURE_SET) == {}
    with pytest.raises(UnknownNameError, match="there are: none"):
        training.verify(published.platform, made.training_set)


@pytest.mark.parametrize("failed", range(1, 5))
def test_a_deletion_that_was_cut_short_is_finished_by_the_next_and_never_taken_for_a_training_set(
    published: Published, failed: int
) -> None:
    """Each of the four deletions is the first that does not happen: of rows, labels, pin and manifest."""
    version, asked = published.publish("a"), labels((2, DAY + 7 * HOUR))
    table, made = published.make(asked)
    with pytest.MonkeyPatch.context() as patch:
        cut_short(patch, type(published.platform.objects), after=failed)
        with pytest.raises(StorageError, match="cut short"):
            training.delete(published.platform, made.training_set)
    assert published.make(asked)[0].equals(table)
    assert published.store.pins(FEATURE_SET) == {version: (f"training-{made.training_set}",)}
    with pytest.MonkeyPatch.context() as patch:
        cut_short(patch, type(published.platform.objects), after=failed)
        with pytest.raises(StorageError, match="cut short"):
            training.delete(published.platform, made.training_set)
    training.delete(published.platform, made.training_set)
    assert published.store.pins(FEATURE_SET) == {}
    assert published.platform.training_sets.names() == []


def cut_short(patch: pytest.MonkeyPatch, store: Any, *, after: int) -> None:
    """Fail the deletion of that number, and all later ones."""
    delete, calls = store.delete, iter(range(1, 100))

    def failing(self: Any, uri: str, **asked: Any) -> Any:
        if next(calls) >= after:
            raise StorageError("cut short")
        return delete(self, uri, **asked)

    patch.setattr(store, "delete", failing)


def test_training_sets_of_one_directory_keep_apart(published: Published) -> None:
    """Also where their labels are the same file: each is deleted by itself."""
    published.publish("a")
    asked = labels((2, DAY + 7 * HOUR))
    first = published.make(asked, out="s3://memory/out")[1]
    others = [
        published.make(labels((1, DAY + 7 * HOUR)), out="s3://memory/out/")[1],
        published.make(asked, f"{FEATURE_SET}:f_mean", out="s3://memory/out")[1],
    ]
    assert first.data.uri == f"s3://memory/out/{first.training_set}/training_set.parquet"
    training.delete(published.platform, first.training_set)
    for other in others:
        assert training.verify(published.platform, other.training_set) == other


def test_rows_are_divided_by_key_or_by_time_and_always_alike(published: Published) -> None:
    published.publish("a")
    given = labels(*[(number % 500, DAY + 7 * HOUR + timedelta(seconds=number)) for number in range(1000)])
    by_key = published.make(given, split=split_by_key({"train": 0.8, "test": 0.2}, seed=7))[0]
    parts: dict[int, set[str]] = {}
    for user, part in zip(by_key.column("user_id").to_pylist(), by_key.column("split").to_pylist(), strict=True):
        parts.setdefault(user, set()).add(part)
    assert all(len(found) == 1 for found in parts.values())
    assert 360 <= sum(found == {"train"} for found in parts.values()) <= 440
    until = {"train": DAY + 7 * HOUR + timedelta(seconds=600), "test": None}
    by_time = published.make(given, split=split_by_time(until))[0]
    assert by_time.column("split").to_pylist() == ["train"] * 600 + ["test"] * 400
    with pytest.raises(InvalidDataError, match="add up to 1"):
        split_by_key({"train": 0.8})
    with pytest.raises(InvalidDataError, match="growing"):
        split_by_time({"train": datetime(2026, 1, 1), "test": None})  # noqa: DTZ001  without a zone on purpose


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (labels().drop_columns(["user_id"]), "column 'user_id' is missing; found event_timestamp"),
        (labels((1, DAY)).drop_columns(["event_timestamp"]), "column 'event_timestamp' is missing; found user_id"),
        (labels(), "there is no row; expected at least one"),
        (pa.table({"user_id": [1], "event_timestamp": pa.array([0], pa.timestamp("us"))}), "expected a timestamp with a time zone"),
        (pa.table({"user_id": pa.array([None], pa.int64()), "event_timestamp": pa.array([DAY])}), "column 'user_id' is null in 1 row(s)"),
        (pa.table({"user_id": ["1"], "event_timestamp": pa.array([DAY])}), "key 'user_id' is string; expected int64"),
        (pa.table({"user_id": pa.array([2**63], pa.uint64()), "event_timestamp": pa.array([DAY])}), "key 'user_id' does not fit int64"),
        (labels((1, datetime(2027, 1, 1, tzinfo=UTC))), "goes to 2027-01-01T00:00:00+00:00, in the future"),
        (labels((1, DAY), f_count=[1]), "column 'f_count' is there already; rename it, or ask for full feature names"),
    ],
)
def test_labels_that_cannot_be_used_say_why(published: Published, given: pa.Table, fault: str) -> None:
    published.publish("a")
    with pytest.raises(InvalidDataError) as caught:
        published.make(given)
    assert fault in str(caught.value)
    assert published.platform.training_sets.names() == []


def test_features_that_do_not_exist_say_which_there_are(published: Published) -> None:
    with pytest.raises(NotFoundError, match="Nothing of user_features was published yet"):
        published.make(labels((1, DAY)))
    published.publish("a")
    with pytest.raises(InvalidDataError, match="has no feature 'f_none'; it has f_count, f_mean, f_name"):
        published.make(labels((1, DAY)), "user_features:f_none")
    with pytest.raises(UnknownNameError, match="no_such_set"):
        published.make(labels((1, DAY)), "no_such_set")
    with pytest.raises(InvalidDataError, match="is named twice"):
        published.make(labels((1, DAY)), "user_features:f_count", "user_features:f_count")
    with pytest.raises(InvalidDataError, match="'user_features' alone stands for all of its features"):
        published.make(labels((1, DAY)), "user_features", "user_features:f_count")
