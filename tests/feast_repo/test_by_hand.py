"""Feast's own commands in ``feast_repo/``, as a person types them with the environment exported."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.local.services import LocalServices
from tests.support.feast_command import run_feast, serve_feast
from tests.support.services import S3Bucket
from tests.support.shipped_features import BIG, FEATURE_SET, publish_users, shipped_contract, today, user_rows

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.slow,
]

FEATURES = ["user_features:f_total_events_7d", "user_features:f_last_country"]


def ask(url: str, ids: list[int]) -> dict[str, list[object]]:
    """Values by feature from a feature server."""
    body = json.dumps({"features": FEATURES, "entities": {"user_id": ids}}).encode()
    with urlopen(Request(f"{url}/get-online-features", data=body, headers={"Content-Type": "application/json"}), timeout=30) as answer:
        document = json.load(answer)
    return {name: result["values"] for name, result in zip(document["metadata"]["feature_names"], document["results"], strict=True)}


def write_status(url: str, row: dict[str, list[object]]) -> int:
    """What a feature server answers to a row that is pushed into its view."""
    body = json.dumps({"feature_view_name": FEATURE_SET, "df": row}).encode()
    try:
        with urlopen(
            Request(f"{url}/write-to-online-store", data=body, headers={"Content-Type": "application/json"}), timeout=30
        ) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def test_apply_plan_materialize_and_serve(local_env: dict[str, str], local_services: LocalServices, s3: S3Bucket, tmp_path: Path) -> None:
    """The server has a Redis user who can only read, as the README shows it."""
    now = datetime.now(UTC)
    first = publish_users(s3.store, f"{s3.uri}features", user_rows(range(1, 51), as_of=today()), as_of=today())

    assert "user_features" in run_feast("plan", env=local_env)
    assert "Deploying infrastructure for user_features" in run_feast("apply", env=local_env)
    assert "user_features" in run_feast("feature-views", "list", env=local_env)

    run_feast("materialize", f"{now - timedelta(days=7):%Y-%m-%dT%H:%M:%S}", f"{now:%Y-%m-%dT%H:%M:%S}", env=local_env)
    online = RedisOnlineStore(local_env["FEATURE_PLATFORM_REDIS"])
    marker = online.marker(project="feature_store_local", view=FEATURE_SET)
    assert marker is not None
    assert (marker.state, marker.target.version, marker.target.schema_hash) == ("online", first, shipped_contract().schema_hash)

    reader = local_services.redis_program.connection_string(port=local_services.redis.port, read_only=True)
    with serve_feast({**local_env, "FEATURE_PLATFORM_REDIS": reader}, tmp_path / "serve.log") as url:
        assert ask(url, [1, 3, 404]) == {
            "user_id": [1, 3, 404],
            "f_total_events_7d": [BIG, 9, None],
            "f_last_country": ["Österreich 1", "Österreich 3", None],
        }
        (row,) = user_rows(range(4, 5), as_of=today(), shift=7).slice(0, 1).to_pylist()
        pushed = {name: [value.isoformat() if isinstance(value, datetime) else value] for name, value in row.items()}
        assert write_status(url, {**pushed, "user_id": [3]}) >= 500
        assert ask(url, [3])["f_total_events_7d"] == [9]
        second = publish_users(s3.store, f"{s3.uri}features", user_rows(range(3, 61), as_of=today(), shift=1), as_of=today())
        run_feast("materialize-incremental", f"{now:%Y-%m-%dT%H:%M:%S}", env=local_env)
        assert ask(url, [1, 4]) == {"user_id": [1, 4], "f_total_events_7d": [None, 13], "f_last_country": [None, None]}
    marker = online.marker(project="feature_store_local", view=FEATURE_SET)
    assert marker is not None
    assert marker.target.version == second
