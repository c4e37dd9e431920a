"""Dagster's UI in a real browser, as `make dev` opens it: assets are there, one partition is materialized by hand, the schedule is listed.

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
from playwright.sync_api import Page, expect, sync_playwright

from feature_platform.cli.environment import local_environment
from feature_platform.core.layout import as_of, version_id
from feature_platform.core.versions.charts import WIDTH
from feature_platform.local.loopback_ports import HOST, choose_ports
from feature_platform.local.services import LocalServices
from feature_platform.settings import PREFIX, load_settings
from feature_platform.wiring import Platform, open_platform
from tests.support.platforms import put_events
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
DAYS = [datetime.now(UTC).date() - timedelta(days=back) for back in (2, 1)]

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


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """`feature-platform dev` on a home of its own, with raw events of two days."""
    home = tmp_path_factory.mktemp("ui") / "home"
    port = choose_ports(["ui"], preferred={})["ui"]
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in local_environment(home, start=DAYS[0], contracts=None).items():
                patch.setenv(name, value)
            platform = open_platform(load_settings())
            for day in DAYS:
                put_events(platform, day.isoformat())
            with serving(home, port=port) as url:
                yield Ui(url, platform)
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
        tab = browser.new_page(viewport={"width": 1400, "height": 1000})
        tab.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        yield tab
        browser.close()


def newest_version(day: date) -> str:
    return version_id(as_of(day.isoformat()))


def marker(platform: Platform) -> Any:
    return platform.online.marker(project="feature_store_local", view="user_features")


def test_every_asset_is_listed_in_its_group(ui: Ui, page: Page) -> None:
    page.goto(f"{ui.url}/assets")
    for asset in ("raw_events", "validated_events", "user_features", "user_features_latest", "user_features_online"):
        expect(page.locator(f"a[href='/assets/{asset}']").first).to_be_visible()
    expect(page.get_by_text("sources", exact=True).first).to_be_visible()


def test_the_schedule_and_the_sensor_are_listed(ui: Ui, page: Page) -> None:
    page.goto(f"{ui.url}/automation")
    expect(page.get_by_text("daily_features_at_midnight")).to_be_visible()
    expect(page.get_by_text("At 12:00 AM UTC").first).to_be_visible()
    expect(page.get_by_text("raw_data_changed")).to_be_visible()


def test_a_partition_materialized_from_the_browser_succeeds_and_is_served(ui: Ui, page: Page) -> None:
    page.goto(f"{ui.url}/locations/feature_platform.definitions/jobs/daily_features")
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_role("button", name="Latest", exact=True).click()
    page.get_by_role("button", name="Launch 1 run").click()
    expect(page.get_by_text(re.compile("Launched run"))).to_be_visible()
    page.goto(f"{ui.url}/runs")
    expect(page.get_by_text(f"partition: {DAYS[-1].isoformat()}")).to_be_visible()
    expect(page.get_by_text("Success", exact=True)).to_be_visible(timeout=180_000)
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
