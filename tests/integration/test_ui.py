"""Dagster's UI and the catalogue in a real browser, as `make dev` and `feature-platform serve` open them: what a person sees and does.

Needs a Chromium on PATH; it is not installed by the Python environment, and without one these tests are skipped with that reason.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

from feature_platform.cli.environment import local_environment
from feature_platform.core.layout import as_of, version_id
from feature_platform.core.versions.charts import WIDTH
from feature_platform.local.loopback_ports import HOST, choose_ports
from feature_platform.local.services import LocalServices
from feature_platform.settings import PREFIX, load_settings
from feature_platform.wiring import Platform, open_platform
from tests.support import serve_command
from tests.support.platforms import event, json_lines, put_raw
from tests.support.processes import wait_until

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((path for path in map(shutil.which, BROWSERS) if path), None)
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)
PATIENCE_MS = 60_000
DESK: ViewportSize = {"width": 1200, "height": 800}
DAYS = [datetime.now(UTC).date() - timedelta(days=back) for back in (3, 2, 1)]
SCREENSHOTS = os.environ.get("SCREENSHOTS")
"""A directory that the documents' screenshots are written to; `make screenshots` names it."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None, reason=f"no browser: install Chromium (Debian: apt-get install chromium); looked for {', '.join(BROWSERS)}"
    ),
]


@dataclass(frozen=True)
class Ui:
    """A running UI and the platform beneath it."""

    url: str
    platform: Platform
    environment: dict[str, str]


def events_of(day: date, number: int) -> Iterator[dict[str, object]]:
    """Events of more users each day, different enough that pictures show something."""
    for user in range(1, 120 + 20 * number):
        for visit in range(1 + user * user % 5):
            moment = f"{day.isoformat()}T{(user * 7 + visit) % 24:02}:{user % 60:02}:00Z"
            facts = {"session_sec": float(user % 90 + 5 * number), "event_type": "purchase" if user % 4 == visit else "view"}
            yield event(user, moment, number=visit, **facts)


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """`feature-platform dev` on a home of its own, with raw events of three days."""
    home = tmp_path_factory.mktemp("ui") / "home"
    port = choose_ports(["ui"], preferred={})["ui"]
    try:
        with pytest.MonkeyPatch.context() as patch:
            environment = local_environment(home, start=DAYS[0], contracts=None)
            for name, value in environment.items():
                patch.setenv(name, value)
            platform = open_platform(load_settings())
            for number, day in enumerate(DAYS):
                put_raw(platform, day.isoformat(), {"part-0.jsonl": json_lines(list(events_of(day, number)))})
            with serving(home, port=port) as url:
                yield Ui(url, platform, environment)
    finally:
        LocalServices(home).down()


class serving:  # noqa: N801  reads as the context manager it is
    """The UI's processes while the block runs; ended together, as Ctrl-C at a terminal does."""

    def __init__(self, home: Path, *, port: int) -> None:
        self._home, self._port = home, port

    def __enter__(self) -> str:
        command = [str(Path(sys.executable).with_name("feature-platform")), "dev", "--home", str(self._home), "--port", str(self._port)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        self._log = self._home / "dev.log"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, cwd=self._home
            )
        url = f"http://{HOST}:{self._port}"
        try:
            wait_until(lambda: self._answers(url), within_s=120, what=f"the UI at {url}, see {self._log}")
        except BaseException:
            self.__exit__()
            raise
        return url

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGINT)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=30)

    def _answers(self, url: str) -> bool:
        assert self._process.poll() is None, self._log.read_text()[-3000:]
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/server_info", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """One tab of a browser that asks no server but ours."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=list(QUIET))
        tab = browser.new_page(viewport=DESK)
        tab.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        yield tab
        browser.close()


def screenshot(page: Page, name: str) -> None:
    """Keep what is seen, where somebody asked for it."""
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


def newest_version(day: date) -> str:
    return version_id(as_of(day.isoformat()))


def marker(platform: Platform) -> Any:
    return platform.online.marker(project="feature_store_local", view="user_features")


def test_every_asset_is_listed_in_its_group(ui: Ui, page: Page) -> None:
    page.goto(f"{ui.url}/assets")
    for asset in ("raw_events", "validated_events", "user_features", "user_features_latest", "user_features_online", "platform_health"):
        expect(page.locator(f"a[href='/assets/{asset}']").first).to_be_visible()
    expect(page.get_by_text("sources", exact=True).first).to_be_visible()


def test_the_schedule_and_the_sensor_are_listed(ui: Ui, page: Page) -> None:
    page.goto(f"{ui.url}/automation")
    expect(page.get_by_text("daily_features_at_midnight")).to_be_visible()
    expect(page.get_by_text("At 12:00 AM UTC").first).to_be_visible()
    expect(page.get_by_text("raw_data_changed")).to_be_visible()


@pytest.fixture(scope="module")
def materialized(ui: Ui, page: Page) -> Ui:
    """The newest day's version, by a run that was started in the browser and that the browser shows as a success."""
    page.goto(f"{ui.url}/locations/feature_platform.definitions/jobs/daily_features")
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_role("button", name="Latest", exact=True).click()
    page.get_by_role("button", name="Launch 1 run").click()
    expect(page.get_by_text(re.compile("Launched run"))).to_be_visible()
    page.goto(f"{ui.url}/runs")
    expect(page.get_by_text(f"partition: {DAYS[-1].isoformat()}")).to_be_visible()
    expect(page.get_by_text("Success", exact=True)).to_be_visible(timeout=480_000)
    return ui


@pytest.mark.timeout(900)
def test_a_partition_materialized_from_the_browser_is_served(materialized: Ui, page: Page) -> None:
    ui = materialized
    head = ui.platform.feature_sets.history("user_features").head
    assert head is not None
    assert head.version == newest_version(DAYS[-1])
    assert (marker(ui.platform).state, marker(ui.platform).target.version) == ("online", head.version)

    page.goto(f"{ui.url}/assets/user_features?view=overview")
    expect(page.get_by_text("Mean session length in the last 7 days, seconds")).to_be_visible()
    expect(page.get_by_text(head.version).first).to_be_visible()

    page.goto(f"{ui.url}/assets/user_features?view=partitions&partition={DAYS[-1].isoformat()}")
    page.locator("tr", has_text="distributions").get_by_text("Show Markdown").last.click()
    picture = page.locator("img[alt='f_total_events_7d']")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") == WIDTH
    screenshot(page, "distributions")


@pytest.fixture(scope="module")
def backfilled(materialized: Ui, page: Page) -> Platform:
    """Every day's version, by a backfill that was started in the browser and that the browser shows as done; no other is listed."""
    page.goto(f"{materialized.url}/locations/feature_platform.definitions/jobs/daily_features")
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_role("button", name="All", exact=True).click()
    screenshot(page, "backfill")
    page.get_by_role("button", name="Launch backfill").click()
    page.goto(f"{materialized.url}/runs?view=BACKFILLS")
    expect(page.get_by_text(f"{len(DAYS)} partitions")).to_be_visible()
    expect(page.get_by_text(re.compile(r"^(Success|Completed)$"))).to_be_visible(timeout=480_000)
    return materialized.platform


@pytest.mark.timeout(900)
def test_a_backfill_of_some_days_from_the_browser_makes_each_and_serves_the_newest(backfilled: Platform) -> None:
    history = backfilled.feature_sets.history("user_features")
    assert {version.as_of for version in history.live} == {as_of(day.isoformat()) for day in DAYS}
    assert (marker(backfilled).state, marker(backfilled).target.version) == ("online", newest_version(DAYS[-1]))


@pytest.mark.timeout(900)
def test_the_catalogue_reads_on_a_phone_and_on_a_desk(ui: Ui, backfilled: Platform, page: Page, tmp_path: Path) -> None:
    with serve_command.serving(ui.environment, tmp_path / "log") as server:
        for name, width in (("catalogue-phone", 390), ("catalogue", DESK["width"])):
            page.set_viewport_size({**DESK, "width": width})
            page.goto(f"{server.url}/catalog")
            expect(page.get_by_role("heading", name="user_features")).to_be_visible()
            too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert too_wide <= 0, f"at {width} pixels one scrolls {too_wide} sideways"
            screenshot(page, name)
    pictures = page.get_by_role("img").all()
    assert len(pictures) == page.locator("svg").count() > 2
    for picture in pictures:
        expect(picture).to_have_accessible_name(re.compile(r"\w+: .*\d"))
