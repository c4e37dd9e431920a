"""What state findings mean, and how often people hear of an incident."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from feature_platform.core.operations.health import STATES, Health, Problem, State, lateness, problems_of
from feature_platform.core.operations.incidents import Incident, Notice, observe, told, unseen
from feature_platform.core.versions.findings import Code, Finding

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
DEAD = Problem("users", "not_online", "online", "failing", "online: nothing is online", "Load it.", "http://dagster/runs/1")
PENDING = Problem("users", "online_differs", "online", "degraded", "online is v_1, latest is v_2", "Load it.")


def after(**passed: float) -> datetime:
    return NOON + timedelta(**passed)


@pytest.mark.parametrize(
    ("code", "part", "state"),
    [
        ("not_online", "online", "failing"),
        ("mismatched", "online", "failing"),
        ("not_applied", "registry", "failing"),
        ("unreachable", "online", "failing"),
        ("unreachable", "registry", "degraded"),
        ("online_differs", "online", "degraded"),
        ("stale_latest", "latest", "degraded"),
        ("not_committed", "versions", "late"),
        ("never_built", "versions", "late"),
        ("held_back", "versions", "late"),
        ("online_full", "online", "degraded"),
        ("warned", "freshness", "healthy"),
    ],
)
def test_a_finding_means_a_state(code: Code, part: str, state: State) -> None:
    (problem,) = problems_of("users", [Finding(code, part, "this", "that", "Do so.")])
    assert (problem.state, problem.remedy, problem.key) == (state, "Do so.", f"users/{code}/{part}")


def test_the_worst_problem_decides() -> None:
    assert set(STATES) == set(get_args(State))
    assert Health("users", (), None, None).state == "healthy"
    assert Health("users", (PENDING, DEAD), None, None).state == "failing"


def test_the_as_of_moment_decides_what_is_late_and_not_when_something_was_built() -> None:
    midnight = NOON.replace(hour=0)
    assert lateness("users", midnight - timedelta(days=1), now=midnight + timedelta(hours=6)) == []
    (problem,) = lateness("users", midnight - timedelta(days=1), now=midnight + timedelta(hours=6, seconds=1))
    assert (problem.state, problem.code) == ("late", "late")
    assert problem.told == ("latest is as of 2026-03-09 00:00 UTC; the version as of the next day was due by 2026-03-10 06:00 UTC")
    assert lateness("users", midnight - timedelta(days=1), now=NOON, late_after=timedelta(hours=13)) == []
    assert lateness("users", None, now=NOON) == []


def test_an_incident_is_told_once_and_its_end_once() -> None:
    incidents: dict[str, Incident] = {}
    heard = []
    for seconds in range(0, 300, 30):
        problems = [(DEAD, "v_1")] if seconds <= 180 else []
        incidents, notices = observe(incidents, problems, blind=set(), now=after(seconds=seconds))
        heard += [(seconds, notice.kind) for notice in notices]
        incidents |= {notice.incident.problem.key: told(notice) for notice in notices if notice.kind == "alert"}
    assert heard == [(60, "alert"), (210, "recovery")]
    assert incidents == {}


def test_what_passes_between_two_looks_and_what_every_run_passes_through_is_not_told() -> None:
    seen, none = observe({}, [(DEAD, None), (PENDING, None)], blind=set(), now=NOON)
    assert none == []
    assert observe(seen, [(PENDING, None)], blind=set(), now=after(seconds=30)) == ({PENDING.key: Incident(PENDING, NOON)}, [])
    _, notices = observe(seen, [(PENDING, None)], blind=set(), now=after(minutes=15))
    assert [notice.kind for notice in notices] == ["alert"]


def test_an_alert_that_nobody_took_comes_again_and_a_blind_look_ends_nothing() -> None:
    seen, _ = observe({}, [(DEAD, None)], blind=set(), now=NOON)
    for minute in (1, 2):
        seen, notices = observe(seen, [(DEAD, None)], blind=set(), now=after(minutes=minute))
        assert [notice.kind for notice in notices] == ["alert"]
    known = {DEAD.key: told(notices[0])}
    assert observe(known, [], blind={"users"}, now=after(minutes=3)) == (known, [])
    assert [notice.kind for notice in observe(known, [], blind={"others"}, now=after(minutes=3))[1]] == ["recovery"]


def test_a_notice_says_what_is_wrong_since_when_what_readers_get_and_what_to_do() -> None:
    alert = Notice("alert", Incident(DEAD, NOON, None), after(minutes=1))
    assert alert.text == (
        "[failing] users: online: nothing is online, since 2026-03-10 12:00 UTC. Readers get nothing. Load it. http://dagster/runs/1"
    )
    served = Notice("alert", Incident(PENDING, NOON, "v_1"), after(minutes=1))
    assert "Readers get v_1. Load it." in served.text
    warned = replace(PENDING, state="healthy", told="freshness: v_1: it came late")
    assert Notice("alert", Incident(warned, NOON, "v_1"), after(minutes=1)).text.startswith("[warning] users: freshness: v_1: ")
    over = Notice("recovery", told(alert), after(minutes=5))
    assert over.text == "[recovered] users: it was online: nothing is online. It lasted from 2026-03-10 12:00 UTC to 12:05 UTC."
    assert over.document()["incident_key"] == alert.document()["incident_key"] == DEAD.key


def test_incidents_are_read_back_as_they_were_written() -> None:
    for incident in (Incident(DEAD, NOON, "v_1"), Incident(PENDING, NOON, None, after(minutes=1))):
        assert Incident.parse(incident.document()) == incident


@pytest.mark.parametrize(
    ("code", "part", "place"),
    [
        ("unreachable", "online", "users/online"),
        ("unreachable", "registry", "users/registry"),
        ("unreachable", "versions", "users"),
        ("unreachable", "raw data", "users"),
        ("orchestrator_unreachable", "webserver", "users"),
        ("location_broken", "feature_platform.definitions", "users"),
        ("not_online", "online", None),
    ],
)
def test_what_could_not_be_looked_at_is_known(code: str, part: str, place: str | None) -> None:
    assert unseen(Problem("users", code, part, "degraded", "", "")) == place


def test_a_redis_that_is_away_ends_no_incident_about_it_and_others_end() -> None:
    late = Problem("users", "late", "latest", "late", "old", "Build it.")
    known = {problem.key: Incident(problem, NOON, None, NOON) for problem in (DEAD, late)}
    away = Problem("users", "unreachable", "online", "failing", "no answer", "Look again.")
    kept, notices = observe(known, [(away, None)], blind={"users/online"}, now=after(seconds=30))
    assert set(kept) == {DEAD.key, away.key}
    assert [(notice.kind, notice.incident.problem.code) for notice in notices] == [("recovery", "late")]
