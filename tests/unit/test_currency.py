"""Which versions rest on raw data that has changed, decided from a log, what versions record, and a listing."""

import json
from datetime import UTC, datetime

from feature_platform.core.layout import as_of, version_id
from feature_platform.core.versions import currency
from feature_platform.core.versions.currency import DayChange, Outdated, Pins
from feature_platform.core.versions.log import History, Record, fold
from feature_platform.core.versions.version_metadata import VersionMetadata, parse_metadata

D1, D2, D3, D4 = "2026-01-10", "2026-01-11", "2026-01-12", "2026-01-13"
A, B = frozenset({("s3://raw/a", "1")}), frozenset({("s3://raw/a", "2")})
NOTHING: Pins = frozenset()


def history(*operations: tuple[str, str]) -> History:
    """A history of (op, partition or version); a partition that is committed again makes its next version."""
    records: list[Record] = []
    for seq, (op, what) in enumerate(operations, start=1):
        moment = as_of(what)
        ids = [record.version for record in records if record.op == "commit" and record.as_of == moment]
        version = version_id(moment.replace(second=len(ids))) if op == "commit" else ids[-1]
        records.append(Record(seq, op, version, moment, f"w{seq}", "test", datetime(2026, 2, 1, tzinfo=UTC)))  # type: ignore[arg-type]
    return fold(records)


def described(*sources: dict[str, object]) -> VersionMetadata:
    """Metadata of a version that lacked its second day."""
    document = {
        "feature_set": "fs", "version": "v_20260112T000000", "generated_at": "2026-01-12T01:00:00Z", "as_of": "2026-01-12T00:00:00Z",
        "source": sources, "pipeline": "feature_platform", "schema_hash": "s", "content_hash": "c", "feature_uri": "s3://b/fs/",
        "files": {}, "row_count": 1, "window": {"partitions": [D1], "missing": [D2]},
    }  # fmt: skip
    return parse_metadata(json.dumps(document).encode(), uri="s3://b/fs/metadata.json")


def outdated(log: History, *, present: dict[str, Pins], **recorded: dict[str, Pins]) -> list[Outdated]:
    judged = [version for version in log.live if version.version in recorded]
    return currency.outdated_versions(log, judged, recorded=recorded, present=present)


def test_a_day_is_changed_vanished_or_arrived_and_days_that_nobody_listed_say_nothing() -> None:
    recorded = {D1: A, D2: A, D3: NOTHING, D4: A}
    assert currency.day_changes(recorded, {D1: B, D2: NOTHING, D3: A}) == (
        DayChange(D1, "changed"),
        DayChange(D2, "vanished"),
        DayChange(D3, "arrived"),
    )
    assert currency.day_changes(recorded, recorded) == ()


def test_a_further_object_beside_the_recorded_one_is_a_change() -> None:
    assert currency.day_changes({D1: A}, {D1: A | {("s3://raw/late", "1")}}) == (DayChange(D1, "changed"),)


def test_what_a_version_records_are_its_objects_by_day_and_the_days_it_lacked() -> None:
    assert currency.recorded_days(described({"uri": "s3://raw/a", "etag": "1", "bytes": 1, "partition": D1})) == {D1: A, D2: NOTHING}
    assert currency.recorded_days(described()) == {}  # built from no raw objects, so that nothing can be compared


def test_every_version_whose_window_holds_the_changed_day_is_found_oldest_first() -> None:
    log = history(("commit", D1), ("commit", D2), ("commit", D3), ("promote", D3))
    found = outdated(
        log,
        present={D1: B, D2: A, D3: A},
        v_20260111T000000={D1: A},
        v_20260112T000000={D1: A, D2: A},
        v_20260113T000000={D2: A, D3: A},
    )
    assert [(item.partition, item.version, item.why, item.is_buildable) for item in found] == [
        (D1, "v_20260111T000000", "2026-01-10 (changed)", True),
        (D2, "v_20260112T000000", "2026-01-10 (changed)", True),
    ]


def test_a_partition_whose_own_day_vanished_cannot_be_built() -> None:
    [found] = outdated(history(("commit", D1)), present={D1: NOTHING}, v_20260111T000000={D1: A})
    assert (found.why, found.is_buildable) == ("2026-01-10 (vanished)", False)


def test_a_correction_that_was_superseded_is_judged_only_while_something_shows_it() -> None:
    log = history(("commit", D1), ("promote", D1), ("commit", D1))
    assert [version.version for version in currency.judged_versions(log, since=D1)] == ["v_20260111T000000", "v_20260111T000001"]
    [found] = outdated(log, present={D1: B}, v_20260111T000000={D1: A}, v_20260111T000001={D1: B})
    assert (found.version, found.is_current) == ("v_20260111T000000", False)


def test_latest_the_newest_and_what_is_online_are_judged_whatever_their_age() -> None:
    log = history(("commit", D1), ("commit", D2), ("promote", D2), ("commit", D3), ("commit", D4))
    judged = [version.version for version in currency.judged_versions(log, since="2026-03-01", also=["v_20260111T000000", "v_gone"])]
    assert judged == ["v_20260111T000000", "v_20260112T000000", "v_20260114T000000"]


def test_a_late_day_that_never_became_a_version_is_found_and_older_history_and_removed_versions_are_not() -> None:
    log = history(("commit", D2), ("commit", D4), ("expire", D2))
    present = dict.fromkeys((D1, D2, D3, D4), A)
    assert [item.partition for item in currency.never_built(log, present=present, days=present)] == [D3]
    assert currency.never_built(log, present={**present, D3: NOTHING}, days=present) == []


def test_a_set_without_versions_lacks_its_newest_day_alone() -> None:
    present = {D1: A, D2: A, D3: NOTHING}
    assert [item.partition for item in currency.never_built(history(), present=present, days=present)] == [D2]
