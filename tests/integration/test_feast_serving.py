"""Readers by the SDK and by HTTP while versions are loaded under them: no error, and no row of two versions."""

import json
import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from feature_platform.adapters.feast.repository import apply_contracts, open_store
from feature_platform.settings import load_settings
from feature_platform.wiring import feast_environment
from tests.support.feast_command import serve_feast
from tests.support.services import S3Bucket
from tests.support.shipped_features import FEATURE_SET, enter, publish_users, shipped_contract, today, user_rows

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.slow,
]

REFRESHES = 20 if os.environ.get("FAULTS") == "full" else 5
USERS = range(2, 3002)
FEATURES = [f"{FEATURE_SET}:{column.name}" for column in shipped_contract().feature_columns]
ASKED = [user for user in USERS[1:] if user % 4 and user % 5][:20]
PAUSE_S = 0.01
"""About 100 requests a second."""

Reader = Callable[[], dict[str, list[Any]]]


def shift_of(user: int, row: dict[str, Any]) -> int:
    """The version that a row is of, or an error where its features are of two."""
    count, country, purchases = row["f_total_events_7d"], row["f_last_country"], row["f_purchases_1d"]
    shift = int(count) - user * 3
    assert country == f"Österreich {user + shift}", row
    assert purchases == (user + shift) % 11, row
    return shift


class Poller(threading.Thread):
    """Asks again and again until it is told to stop; keeps what went wrong and which versions it saw."""

    def __init__(self, read: Reader) -> None:
        super().__init__()
        self._read = read
        self._stop_asking = threading.Event()
        self.rows, self.errors, self.versions = 0, [], Counter[int]()

    def run(self) -> None:
        while not self._stop_asking.wait(PAUSE_S):
            try:
                found = self._read()
                for place, user in enumerate(ASKED):
                    self.versions[shift_of(user, {name: values[place] for name, values in found.items()})] += 1
                    self.rows += 1
            except Exception as error:  # noqa: BLE001  whatever a reader meets is what this test is about
                self.errors.append(repr(error))

    def stop(self) -> None:
        self._stop_asking.set()
        self.join()


def by_http(url: str) -> dict[str, list[Any]]:
    body = json.dumps({"features": FEATURES, "entities": {"user_id": ASKED}}).encode()
    with urlopen(Request(f"{url}/get-online-features", data=body, headers={"Content-Type": "application/json"}), timeout=30) as answer:
        document = json.load(answer)
    return {name: result["values"] for name, result in zip(document["metadata"]["feature_names"], document["results"], strict=True)}


def test_readers_see_whole_versions_and_no_error_while_versions_are_loaded(
    local_env: dict[str, str], s3: S3Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter(monkeypatch, local_env)
    settings = load_settings()
    loading, reading = open_store(feast_environment(settings)), open_store(feast_environment(settings))
    apply_contracts(loading, [shipped_contract()], environment=feast_environment(settings))

    def refresh(shift: int) -> None:
        publish_users(s3.store, settings.feature_base, user_rows(USERS, as_of=today(), shift=shift), as_of=today())
        loading.materialize(today() - shipped_contract().ttl_duration, today(), feature_views=["user_features"])

    refresh(0)
    with serve_feast(local_env, tmp_path / "serve.log") as url:
        pollers = [
            Poller(lambda: reading.get_online_features(features=FEATURES, entity_rows={"user_id": ASKED}).to_dict()),
            Poller(lambda: by_http(url)),
        ]
        for poller in pollers:
            poller.start()
        for shift in range(1, REFRESHES + 1):
            refresh(shift)
        for poller in pollers:
            poller.stop()
    for poller in pollers:
        assert poller.errors == []
        assert len(poller.versions) > 1, "the poller saw versions change"
        assert max(poller.versions) == REFRESHES
