"""Decisions of a load, from the marker alone."""

import json
from dataclasses import replace

import pytest

from feature_platform.core.online.layout import feature_key, timestamp_key
from feature_platform.core.online.load import finished, plan_load, reason_for_full
from feature_platform.core.online.marker import Basis, Marker, OnlineVersion, decode_marker, encode_marker, marker_key
from feature_platform.errors import ConflictError, InvalidDataError

KEYS = (("user_id", "int64"),)
A = OnlineVersion("v_20260115T000000", 1, "schema", "content a", 10, KEYS, (("f", "int64"), ("g", "int64")))
B = OnlineVersion("v_20260116T000000", 2, "schema", "content b", 12, KEYS, (("f", "int64"),))
C = OnlineVersion("v_20260117T000000", 3, "schema", "content c", 12, KEYS, (("f", "int64"),))
NOW, NOW_MS, WEEK_S = "2026-01-17T00:00:00+00:00", 1_768_608_000_000, 7 * 86_400
BASIS = Basis(("run",), NOW_MS - 3_600_000, NOW_MS + 86_400_000)
ONLINE = Marker("online", A, NOW, "1:t", basis=BASIS)


def _plan(marker: Marker | None, target: OnlineVersion):  # type: ignore[no-untyped-def]
    return plan_load(marker, target, view="v", token="9:t", since=NOW)


def test_a_silent_store_is_swept() -> None:
    """Nobody knows what is there after a flush, or before the first load."""
    plan = _plan(None, A)
    assert (plan.sweep, plan.stale, plan.marker.swept, plan.marker.state) == (True, (), False, "loading")


def test_a_successor_removes_what_the_version_before_had() -> None:
    """Entities of A that B lacks, and the feature g that B no longer names."""
    plan = _plan(Marker("online", A, NOW, "1:t"), B)
    assert plan.stale == (A,)
    assert plan.marker.previous == A
    assert plan.obsolete_fields == (feature_key("v", "g"),)
    assert plan.stale_fields == (timestamp_key("v"), feature_key("v", "f"), feature_key("v", "g"))
    assert not plan.sweep


def test_interrupted_loads_are_not_forgotten() -> None:
    """A was online, B's load died, C's load died: a third load removes what A, B and C left."""
    first = _plan(Marker("online", A, NOW, "1:t"), B).marker
    second = _plan(first, C).marker
    third = _plan(second, replace(A, sequence=4))
    assert second.interrupted == (B,)
    assert third.marker.previous == A
    assert third.marker.interrupted == (B, C)
    assert third.stale == (B, C)
    assert finished(third.marker, since=NOW, basis=BASIS).interrupted == ()


@pytest.mark.parametrize(
    ("marker", "target", "servers", "reason"),
    [
        (ONLINE, A, ("run",), None),
        (ONLINE, replace(A, version="v_20260115T000001", sequence=4, content_hash="other"), ("run",), None),
        (None, A, ("run",), "nothing says what is online"),
        (replace(ONLINE, state="loading"), A, ("run",), "the load before did not finish"),
        (replace(ONLINE, swept=False), A, ("run",), "what is online is in doubt"),
        (replace(ONLINE, basis=None), A, ("run",), "what is online is in doubt"),
        (ONLINE, B, ("run",), "the contract changed"),
        (ONLINE, replace(A, schema_hash="other"), ("run",), "the contract changed"),
        (ONLINE, A, ("other",), "a server was restarted or replaced"),
        (ONLINE, A, ("run", "another"), "a server was restarted or replaced"),
        (replace(ONLINE, basis=replace(BASIS, full_at_ms=NOW_MS - WEEK_S * 1000)), A, ("run",), "the last full load was 168 hours ago"),
        (replace(ONLINE, basis=replace(BASIS, expire_at_ms=NOW_MS + 3_599_999)), A, ("run",), "keys are about to expire"),
        (replace(ONLINE, basis=replace(BASIS, expire_at_ms=NOW_MS - 1)), A, ("run",), "keys are about to expire"),
        (replace(ONLINE, basis=replace(BASIS, expire_at_ms=None)), A, ("run",), None),
    ],
)
def test_rows_are_left_out_only_where_nothing_is_in_doubt(
    marker: Marker | None, target: OnlineVersion, servers: tuple[str, ...], reason: str | None
) -> None:
    """Every reason to write all rows again, and what needs none."""
    assert reason_for_full(marker, target, servers=servers, now_ms=NOW_MS, full_every_s=WEEK_S) == reason


def test_a_marker_of_an_earlier_release_is_read_and_proves_nothing() -> None:
    """It has no basis, so that the next load is a full one."""
    document = json.loads(encode_marker(ONLINE))
    del document["basis"]
    assert decode_marker(json.dumps(document).encode()) == replace(ONLINE, basis=None)
    assert decode_marker(encode_marker(ONLINE)) == ONLINE


def test_a_rerun_removes_nothing() -> None:
    """The version that is online has exactly its own entities."""
    assert _plan(Marker("online", A, NOW, "1:t"), A).stale == ()


def test_a_rollback_is_newer_than_what_it_replaces() -> None:
    """Its record has a higher number, whatever its version is called."""
    assert _plan(Marker("online", B, NOW, "1:t"), replace(A, sequence=3)).stale == (B,)


@pytest.mark.parametrize("marker", [Marker("online", C, NOW, "1:t"), Marker("loading", C, NOW, "1:t", previous=A)])
def test_a_stale_load_is_refused(marker: Marker) -> None:
    """Also where the newer load has not finished."""
    with pytest.raises(ConflictError, match="record 2, but the online store already knows record 3"):
        _plan(marker, B)


def test_two_logs_on_one_store_are_refused() -> None:
    """One record number cannot be two versions."""
    with pytest.raises(ConflictError, match="FEATURE_PLATFORM_FEATURE_BASE"):
        _plan(Marker("online", A, NOW, "1:t"), replace(B, sequence=1))


def test_markers_survive_the_trip_through_redis() -> None:
    """Every field, nested ones too; anything else is refused."""
    marker = Marker("loading", C, NOW, "7:t", previous=A, interrupted=(B,), swept=False)
    assert decode_marker(encode_marker(marker)) == marker
    for broken in (b"{}", b"null", b"\xff", encode_marker(marker).replace(b'"format":1', b'"format":2')):
        with pytest.raises(InvalidDataError, match="online marker"):
            decode_marker(broken)


def test_the_marker_lies_beside_the_hashes() -> None:
    """The literal key is what other readers look for."""
    assert marker_key("feature_store_dev", "user_features") == b"feature_platform:{feature_store_dev:user_features}:marker"
