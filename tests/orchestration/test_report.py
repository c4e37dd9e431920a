"""The catalogue as a page: what it says of sets that are well, that wait and that are broken; pictures in Dagster's metadata too."""

import base64
import re
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import dagster as dg
import pytest

from feature_platform.adapters.feast.memory import MemoryFeatureRegistry
from feature_platform.adapters.online_store.memory import MemoryOnlineStore
from feature_platform.adapters.report import page
from feature_platform.use_cases.catalogue import catalogue
from feature_platform.wiring import Platform
from tests.support.platforms import MainJob, memory_platform, put_events

TODAY = datetime.now(UTC).date()
DAYS = [(TODAY - timedelta(days=back)).isoformat() for back in (3, 2, 1)]
NOW = datetime.combine(TODAY, datetime.min.time(), UTC) + timedelta(hours=1)


class Reader(HTMLParser):
    """What is on a page: balanced tags, text, and what it would fetch."""

    VOID = frozenset({"meta", "link", "br", "img", "path", "polyline"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.fetched: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.fetched += [value for name, value in attrs if name in {"src", "href"} and value and not value.startswith("#")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def platform(tmp_path: Path, instance: dg.DagsterInstance) -> Platform:
    """Three days published, the newest online."""
    online = MemoryOnlineStore()
    registry = MemoryFeatureRegistry(online, project="feature_store_local")
    made = memory_platform(tmp_path, start=date.fromisoformat(DAYS[0]), online=online, registry=registry)
    for number, day in enumerate(DAYS, start=3):
        put_events(made, day, users=range(number))
    run = MainJob(made, instance=instance).run(DAYS[0], until=DAYS[-1])
    assert run.success, run.failure
    return made


def read(platform: Platform, version: str | None = None) -> Reader:
    return Reader(page(catalogue(platform, now=NOW, version=version), environment="local", now=NOW))


def test_the_page_shows_state_lineage_columns_pictures_and_versions_and_fetches_nothing(platform: Platform) -> None:
    shown = read(platform)
    versions = [each.version for each in platform.feature_sets.history("user_features").live]
    assert shown.open == []
    assert shown.fetched == []
    assert not {"script", "link", "img"} & shown.tags
    assert "user_features healthy" in shown.text
    assert f"latest: {versions[-1]} online: {versions[-1]}" in shown.text
    assert f"(grey: {versions[-2]})" in shown.text
    assert "(3 committed)" in shown.text
    assert "Rows: 3 in" in shown.text
    assert "f_total_events_7d: from " in shown.text


def test_an_older_version_is_shown_beside_the_one_before_it(platform: Platform) -> None:
    first, second, _ = (each.version for each in platform.feature_sets.history("user_features").live)
    assert f"Version shown {second} As of" in read(platform, second).text
    assert f"(grey: {first})" in read(platform, second).text
    assert "grey" not in read(platform, first).text


def test_what_is_wrong_is_said_with_its_remedy(platform: Platform, tmp_path: Path) -> None:
    layout = platform.feature_sets.layout("user_features")
    versions = [each.version for each in platform.feature_sets.history("user_features").live]
    platform.objects.delete(layout.latest_file("metadata.json"))
    assert "doctor --heal" in read(platform).text
    platform.objects.delete(layout.version_file(versions[-1], "metadata.json"))
    text = read(platform).text
    assert "user_features degraded" in text
    assert "cannot be looked at" in text
    empty = memory_platform(tmp_path / "other", start=date.fromisoformat(DAYS[0]))
    assert "Nothing is published yet" in read(empty).text


def test_dagster_shows_each_features_distribution_beside_that_of_the_version_before(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    materialization = instance.get_latest_materialization_event(dg.AssetKey("user_features"))
    assert materialization is not None
    assert materialization.asset_materialization is not None
    (markdown,) = re.findall(
        r"\*\*f_total_events_7d\*\*\n\n!\[[a-z0-9_]+\]\(([^)]*)\)",
        str(materialization.asset_materialization.metadata["distributions"].value),
    )
    kind, _, body = markdown.partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert b"before it was" in base64.b64decode(body)
