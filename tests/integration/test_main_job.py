"""The whole job on real servers: eight days of a product's events, a correction, and what a service then reads."""

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from feature_platform.core.layout import FILES, as_of, version_id
from feature_platform.local import demo_events
from feature_platform.settings import load_settings
from feature_platform.use_cases.serve import compare
from feature_platform.wiring import Platform, open_platform
from tests.support.feature_oracle import features_of
from tests.support.platforms import MainJob, Run, put_raw

pytestmark = pytest.mark.slow

FEATURE_SET = "user_features"
YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
DAYS = [YESTERDAY - timedelta(days=back) for back in reversed(range(8))]
FIRST, LAST = DAYS[0], DAYS[-1]
PEOPLE = [demo_events.REGULAR, demo_events.UNICODE, demo_events.VANISHING, demo_events.LATE]


@dataclass(frozen=True)
class Story:
    """The runs, oldest first, and what was served to some people after each."""

    job: MainJob
    runs: list[Run]
    served: list[dict[int, dict[str, Any]]]

    @property
    def platform(self) -> Platform:
        return self.job.platform


@pytest.fixture(scope="module")
def story(module_env: dict[str, str], module_instance: dg.DagsterInstance) -> Story:
    """One run of the first day, one over the other seven, and one of the last day again after late events arrived."""
    environment = {**module_env, "FEATURE_PLATFORM_START_DATE": FIRST.isoformat()}
    platform = open_platform(load_settings(environment))
    for day in DAYS:
        put_raw(platform, day.isoformat(), demo_events.day_files(day, first_day=FIRST))
    story = Story(MainJob(platform, instance=module_instance), [], [])
    for first, last in ((FIRST, FIRST), (DAYS[1], LAST), (LAST, LAST)):
        if story.runs and first == LAST:
            put_raw(platform, LAST.isoformat(), demo_events.late_file(LAST))
        run = story.job.run(first.isoformat(), until=None if first == last else last.isoformat())
        assert run.success, run.failure
        story.runs.append(run)
        # Judged at the run's own moment: by now the first day's values are as old as their ttl allows, to the day.
        rows = platform.registry.read(contract(platform), [{"user_id": user} for user in PEOPLE], as_of=moment(last))
        story.served.append({row["user_id"]: row for row in rows})
    return story


def contract(platform: Platform) -> Any:
    return platform.catalog.contract(FEATURE_SET)


def moment(day: date) -> datetime:
    return as_of(day.isoformat())


def naive(platform: Platform, day: date, *, with_late: bool) -> list[dict[str, Any]]:
    """The features of a day, counted one by one from the good events."""
    events = [asdict(event) for each in DAYS for event in demo_events.events_of(each, first_day=FIRST)]
    events += [asdict(event) for event in demo_events.late_events(LAST)] if with_late else []
    source = platform.catalog.source_of(contract(platform))
    return features_of(contract(platform), source, as_of=moment(day), events=events)


def published(platform: Platform, version: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = platform.feature_sets.load(FEATURE_SET, version).to_pylist()
    return rows


def test_every_day_has_a_version_and_the_corrected_day_two(story: Story) -> None:
    expected = [version_id(moment(day)) for day in DAYS] + [version_id(moment(LAST) + timedelta(seconds=1))]
    history = story.platform.feature_sets.history(FEATURE_SET)
    assert [version.version for version in history.live] == expected
    assert story.job.latest() == expected[-1]
    keys = story.platform.objects.scan(story.platform.feature_sets.layout(FEATURE_SET).latest)
    assert sorted(info.uri.rsplit("/", 1)[-1] for info in keys) == sorted(FILES)


def test_files_hold_what_the_events_add_up_to_value_for_value(story: Story) -> None:
    for day in (FIRST, DAYS[4], LAST):
        assert published(story.platform, version_id(moment(day))) == naive(story.platform, day, with_late=False)
    assert published(story.platform, str(story.job.latest())) == naive(story.platform, LAST, with_late=True)


def test_the_feast_sdk_serves_every_value_of_the_published_file(story: Story) -> None:
    rows = published(story.platform, str(story.job.latest()))
    names = [column.name for column in contract(story.platform).feature_columns]
    answer = story.platform.registry.store.get_online_features(
        features=[f"{FEATURE_SET}:{name}" for name in names], entity_rows=[{"user_id": row["user_id"]} for row in rows]
    ).to_dict()
    assert answer["user_id"] == [row["user_id"] for row in rows]
    for name in names:
        assert answer[name] == [row[name] for row in rows]
    assert len(rows) > 190


def test_the_feature_service_serves_the_same(story: Story) -> None:
    store = story.platform.registry.store
    answer = store.get_online_features(
        features=store.get_feature_service(FEATURE_SET), entity_rows=[{"user_id": demo_events.REGULAR}]
    ).to_dict()
    row = next(row for row in published(story.platform, str(story.job.latest())) if row["user_id"] == demo_events.REGULAR)
    assert answer["f_total_events_7d"] == [row["f_total_events_7d"]]


def test_whoever_disappears_from_the_events_is_no_longer_served(story: Story) -> None:
    after_first, after_second, _ = story.served
    assert after_first[demo_events.VANISHING]["f_total_events_7d"] > 0
    assert after_second[demo_events.VANISHING] == {"user_id": demo_events.VANISHING, **dict.fromkeys(list(after_second[1001])[1:])}


def test_late_events_are_served_once_their_day_is_rebuilt(story: Story) -> None:
    _, before, after = story.served
    assert before[demo_events.LATE]["f_total_events_7d"] is None
    assert after[demo_events.LATE] == {
        "user_id": demo_events.LATE,
        "f_total_events_7d": 3,
        "f_avg_session_sec_7d": 120.0,
        "f_last_event_age_sec": 7200,
        "f_purchases_1d": 3,
        "f_last_country": "PL",
    }
    assert before[demo_events.REGULAR] == after[demo_events.REGULAR]


def test_text_in_any_script_arrives_as_it_was_written(story: Story) -> None:
    assert [served[demo_events.UNICODE]["f_last_country"] for served in story.served] == ["Zażółć gęślą jaźń 日本"] * 3


def test_the_online_store_names_the_version_it_serves(story: Story) -> None:
    marker = story.platform.online.marker(project="feature_store_local", view=FEATURE_SET)
    history = story.platform.feature_sets.history(FEATURE_SET)
    assert marker is not None
    assert history.head is not None
    assert (marker.state, marker.target.version, marker.target.sequence) == ("online", history.head.version, history.head.sequence)
    assert marker.target.schema_hash == contract(story.platform).schema_hash


def test_parity_is_exact_and_a_check_of_every_run(story: Story) -> None:
    report = compare(story.platform, "user_features")
    assert report.exact
    assert [run.checks()["parity"] for run in story.runs] == [True, True, True]


def test_the_online_asset_says_what_it_served(story: Story) -> None:
    facts = story.runs[-1].metadata("user_features_online")
    rows = len(published(story.platform, str(story.job.latest())))
    assert (facts["version"], facts["dagster/row_count"]) == (story.job.latest(), rows)
    assert facts["schema_hash"] == contract(story.platform).schema_hash
    summary = story.runs[-1].summary("user_features_online")
    assert (summary["outcome"], summary["version"], summary["rows"]) == ("succeeded", story.job.latest(), str(rows))
    assert story.runs[1].metadata("user_features_online")["entities_removed"] > 0


def test_a_version_names_every_raw_object_it_was_computed_from(story: Story) -> None:
    facts = story.platform.feature_sets.metadata(FEATURE_SET, str(story.job.latest()))
    stored = {
        info.uri: info.etag
        for day in DAYS[1:]
        for info in story.platform.objects.scan(f"{story.platform.settings.raw_uri}/events/dt={day.isoformat()}/")
    }
    assert {source.uri: source.etag for source in facts.sources} == stored
    assert len(stored) == 29
    assert (facts.partitions, facts.missing_partitions) == (tuple(day.isoformat() for day in DAYS[1:]), ())
    assert facts.run_id == story.runs[-1].result.run_id
