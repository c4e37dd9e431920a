"""The numbered log: records survive being stored, and add up to one state whatever they say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_platform.core.versions.feature_table import FileDigest
from feature_platform.core.versions.log import Record, fold, parse_record
from feature_platform.errors import StorageError

DAY = datetime(2026, 1, 15, tzinfo=UTC)


def record(seq, op, version, *, day=0, **changes):
    given_facts = {"as_of": DAY + timedelta(days=day), "write_id": f"w{seq}", "actor": "test", "at": DAY, **changes}
    return Record(seq=seq, op=op, version=version, **given_facts)


def test_an_empty_log_is_an_empty_history():
    empty = fold([])
    assert (empty.next_sequence, empty.head, empty.head_version, empty.live) == (1, None, None, ())


def test_a_stored_record_is_sorted_json_with_utc_times():
    body = record(1, "commit", "v_20260115T000000", files={"features.csv": FileDigest("ab", 3)}).to_json().decode()
    assert '"as_of": "2026-01-15T00:00:00+00:00"' in body
    assert body.index('"actor"') < body.index('"as_of"') < body.index('"version"')


@given(
    st.builds(
        Record,
        seq=st.integers(1, 10**6),
        op=st.sampled_from(["commit", "promote", "rollback", "expire"]),
        version=st.text(max_size=20),
        as_of=st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1)),  # noqa: DTZ001  given a zone
        at=st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1)),  # noqa: DTZ001  given a zone
        write_id=st.text(max_size=40),
        actor=st.text(max_size=40),
        reason=st.text(max_size=40),
        files=st.dictionaries(st.text(max_size=20), st.builds(FileDigest, st.text(max_size=64), st.integers(0)), max_size=4),
    )
)
def test_any_record_survives_being_stored(written):
    assert parse_record(written.to_json(), uri="s3://b/_log/1.json") == written


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{}", b'{"seq": 1}', b"\xff\xfe", record(1, "commit", "v").to_json().replace(b'"2026-01-15', b'"soon')],
    ids=["empty", "a list", "null", "no fields", "one field", "no text", "no time"],
)
def test_what_is_no_record_is_refused_by_name(body):
    with pytest.raises(StorageError, match=r"Log record s3://b/_log/1\.json is damaged .*restore the object"):
        parse_record(body, uri="s3://b/_log/1.json")


def test_a_record_with_a_field_of_a_later_release_is_refused_rather_than_half_understood():
    body = record(1, "commit", "v").to_json().replace(b'"op"', b'"lease": 1, "op"')
    with pytest.raises(StorageError, match="lease"):
        parse_record(body, uri="s3://b/_log/1.json")


def test_the_head_is_what_the_last_move_names_and_counts_every_move():
    history = fold([record(1, "commit", "a"), record(2, "promote", "a"), record(3, "commit", "b", day=1), record(4, "promote", "b", day=1)])
    assert (history.head.version, history.head.sequence, history.next_sequence) == ("b", 4, 5)
    assert fold([*history.records, record(5, "rollback", "a")]).head.sequence == 5


def test_live_versions_are_ordered_by_moment_and_then_by_commit():
    history = fold([record(1, "commit", "late", day=2), record(2, "commit", "first"), record(3, "commit", "correction")])
    assert [version.version for version in history.live] == ["first", "correction", "late"]
    assert history.newest_of(DAY).version == "correction"
    assert history.newest_of(DAY + timedelta(days=9)) is None


def test_an_expired_version_is_known_and_not_live():
    history = fold([record(1, "commit", "a"), record(2, "expire", "a"), record(3, "expire", "leftover")])
    assert (history.live, history.versions["a"].is_expired, history.expired) == ((), True, {"a", "leftover"})


def test_the_floor_is_held_after_a_rollback_and_released_by_going_beyond():
    records = [record(1, "commit", "a"), record(2, "commit", "b", day=1), record(3, "promote", "b", day=1), record(4, "rollback", "a")]
    held = fold(records)
    assert (held.floor.is_held, held.floor.as_of) == (True, DAY + timedelta(days=1))
    assert fold([*records, record(5, "rollback", "b", day=1)]).floor.is_held is False
    beyond = fold([*records, record(5, "commit", "c", day=2), record(6, "promote", "c", day=2)])
    assert (beyond.floor.is_held, beyond.floor.as_of) == (False, DAY + timedelta(days=2))


def test_two_rollbacks_in_a_row_keep_the_furthest_floor():
    records = [record(number + 1, "commit", name, day=number) for number, name in enumerate("abc")]
    records += [record(4, "promote", "c", day=2), record(5, "rollback", "b", day=1), record(6, "rollback", "a")]
    assert fold(records).floor.as_of == DAY + timedelta(days=2)


def test_a_move_to_what_was_never_committed_is_an_error():
    with pytest.raises(StorageError, match="Log record 1 moves latest to a, which was never committed"):
        fold([record(1, "promote", "a")])


def test_records_out_of_order_are_an_error():
    first = record(1, "commit", "a")
    with pytest.raises(StorageError, match="skips from record 1 to 3; expected 2"):
        fold([first, replace(first, seq=3)])
