"""What may happen to a feature set, decided from its history."""

from datetime import UTC, datetime, timedelta

import pytest

from feature_platform.core.publishing import decisions
from feature_platform.core.versions.log import Record, fold, parse_record
from feature_platform.errors import ConflictError, NotFoundError, StorageError

DAY = datetime(2026, 1, 15, tzinfo=UTC)


def history(*operations):
    """A history from (op, version, day offset, content) tuples."""
    records = [
        Record(
            seq=number,
            op=op,
            version=version,
            as_of=DAY + timedelta(days=day),
            write_id=f"w{number}",
            actor="test",
            at=DAY,
            idempotency_key=f"key{number}",
            schema_hash="s",
            content_hash=content,
        )
        for number, (op, version, day, content) in enumerate(operations, start=1)
    ]
    return fold(records)


FIRST = ("commit", "v_20260115T000000", 0, "a")
CORRECTION = ("commit", "v_20260115T000001", 0, "b")
NEXT_DAY = ("commit", "v_20260116T000000", 1, "c")


def test_the_same_rows_of_a_moment_are_the_version_that_exists():
    found = decisions.existing_version(history(FIRST), moment=DAY, idempotency_key="other", schema_hash="s", content_hash="a")
    assert found.version == "v_20260115T000000"


def test_rows_that_return_to_an_older_correction_are_a_new_version():
    assert (
        decisions.existing_version(history(FIRST, CORRECTION), moment=DAY, idempotency_key="k", schema_hash="s", content_hash="a") is None
    )
    assert decisions.next_version_id(history(FIRST, CORRECTION), moment=DAY) == "v_20260115T000002"


def test_a_broken_correction_is_not_replaced_by_an_older_one_with_the_same_rows():
    state = history(FIRST, ("commit", "v_20260115T000001", 0, "a"))
    asked = {"moment": DAY, "idempotency_key": "key1", "schema_hash": "s", "content_hash": "a"}
    assert decisions.existing_version(state, **asked, broken={"v_20260115T000001"}).version == "v_20260115T000000"  # this very run's
    assert decisions.existing_version(state, **asked | {"idempotency_key": "k"}, broken={"v_20260115T000001"}) is None


def test_the_same_rows_under_another_contract_are_a_new_version():
    assert decisions.existing_version(history(FIRST), moment=DAY, idempotency_key="k", schema_hash="t", content_hash="a") is None


def test_a_backfill_does_not_move_latest_back():
    state = history(FIRST, NEXT_DAY, ("promote", "v_20260116T000000", 1, ""))
    assert "a backfill does not move it back" in decisions.refusal_to_promote(state, "v_20260115T000000")


def test_an_older_correction_does_not_replace_a_newer_one():
    state = history(FIRST, CORRECTION, ("promote", "v_20260115T000001", 0, ""))
    assert decisions.refusal_to_promote(state, "v_20260115T000000") is not None


def test_after_a_rollback_a_rebuild_of_the_same_moment_stays_back_and_a_newer_moment_goes_ahead():
    rolled_back = (FIRST, NEXT_DAY, ("promote", NEXT_DAY[1], 1, ""), ("rollback", FIRST[1], 0, ""))
    state = history(*rolled_back, ("commit", "v_20260116T000001", 1, "d"), ("commit", "v_20260117T000000", 2, "e"))
    assert "only a rollback by name" in decisions.refusal_to_promote(state, "v_20260116T000001")
    assert decisions.refusal_to_promote(state, "v_20260117T000000") is None
    assert [v.version for v in decisions.newest_promotable(state)] == ["v_20260117T000000"]


def test_rolling_back_between_corrections_of_one_moment_is_not_undone_either():
    state = history(FIRST, CORRECTION, ("promote", CORRECTION[1], 0, ""), ("rollback", FIRST[1], 0, ""))
    assert decisions.refusal_to_promote(state, CORRECTION[1]) is not None


def test_rolling_forward_by_name_lets_corrections_flow_again():
    state = history(
        FIRST,
        NEXT_DAY,
        ("promote", NEXT_DAY[1], 1, ""),
        ("rollback", FIRST[1], 0, ""),
        ("rollback", NEXT_DAY[1], 1, ""),
        ("commit", "v_20260116T000001", 1, "d"),
    )
    assert decisions.refusal_to_promote(state, "v_20260116T000001") is None


def test_an_expired_version_cannot_become_latest_and_its_id_is_spent():
    state = history(FIRST, ("expire", FIRST[1], 0, ""))
    with pytest.raises(NotFoundError, match="has expired"):
        decisions.committed(state, FIRST[1])
    assert decisions.next_version_id(state, moment=DAY) == "v_20260115T000001"


def test_what_latest_names_cannot_expire():
    with pytest.raises(ConflictError, match="is latest; it cannot expire"):
        decisions.check_expirable(history(FIRST, ("promote", FIRST[1], 0, "")), FIRST[1])


def test_an_unknown_version_is_named_with_those_there_are():
    with pytest.raises(NotFoundError, match=r"'v_20270101T000000' was never committed; the newest are: v_20260115T000000"):
        decisions.committed(history(FIRST), "v_20270101T000000")


def test_a_gap_in_the_log_is_an_error_that_names_the_missing_record():
    records = history(FIRST, CORRECTION).records
    with pytest.raises(StorageError, match="skips from record 0 to 2; expected 1"):
        fold(records[1:])


def test_a_record_survives_being_stored():
    record = history(FIRST).records[0]
    assert parse_record(record.to_json(), uri="s3://b/1.json") == record


def test_a_damaged_record_is_refused():
    with pytest.raises(StorageError, match=r"Log record s3://b/1.json is damaged"):
        parse_record(b'{"seq": 1', uri="s3://b/1.json")
