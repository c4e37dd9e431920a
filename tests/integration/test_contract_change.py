"""A contract that changes under published versions: rolled back and forward, old days rebuilt, in the registry and online as in latest."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from feature_platform.adapters.feast.repository import open_store
from feature_platform.cli.app import app
from feature_platform.core.layout import as_of, version_id
from feature_platform.definitions import defs
from feature_platform.local.services import SHIPPED_CONTRACTS
from feature_platform.settings import load_settings
from feature_platform.wiring import feast_environment, open_platform
from tests.support.platforms import MainJob, put_events

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

TODAY = datetime.now(UTC).date()
DAYS = [(TODAY - timedelta(days=back)).isoformat() for back in (3, 2, 1)]
OLDER, NEWER = version_id(as_of(DAYS[1])), version_id(as_of(DAYS[2]))
SERVING = ["user_features_latest", "user_features_online"]
ADDED = {"name": "f_views_1d", "type": "int64", "aggregation": {"function": "count", "window": "1d", "where": {"event_type": "view"}}}


def answered(*arguments: str, code: int = 0) -> Any:
    """What a command answers in JSON."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def columns() -> set[str]:
    """What a reader gets of one user, by name."""
    (row,) = answered("online", "get", "user_features", "--key", "user_id=1")
    assert row["f_total_events_7d"] is not None
    return set(row)


def is_proved() -> bool:
    """Whether files, latest, registry, online values and Feast's answers agree."""
    return answered("verify", "user_features")["findings"] == []


@pytest.fixture(scope="module")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("lifecycle") / "contracts"
    shutil.copytree(SHIPPED_CONTRACTS, directory)
    return directory


@pytest.fixture(scope="module")
def deployed(module_env: dict[str, str], contracts: Path, module_instance: dg.DagsterInstance) -> Iterator[MainJob]:
    """Two days by the shipped contract; then one feature is added and one removed, and the newest day is built by that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEATURE_PLATFORM_START_DATE", DAYS[0])
        patch.setenv("FEATURE_PLATFORM_CONTRACTS_DIR", str(contracts))
        before = MainJob(open_platform(load_settings()), instance=module_instance)
        for day in DAYS:
            put_events(before.platform, day)
        run = before.run(DAYS[0], until=DAYS[1])
        assert run.success, run.failure
        path = contracts / "user_features.schema.json"
        document = json.loads(path.read_text())
        kept = [column for column in document["columns"] if column["name"] != "f_last_country"]
        path.write_text(json.dumps({**document, "version": "v2", "columns": [*kept, ADDED]}))
        after = MainJob(open_platform(load_settings()), instance=module_instance)
        # A run of an old day after the deployment: it ends green, and the head is still served as it was built.
        run = after.run(DAYS[0])
        assert run.success, run.failure
        assert after.latest() == OLDER
        assert "f_last_country" in columns()
        run = after.run(DAYS[2])
        assert run.success, run.failure
        yield after


@pytest.fixture
def changed(deployed: MainJob) -> MainJob:
    """The version by the changed contract is latest and online, whatever an earlier test did."""
    if deployed.latest() != NEWER:
        deployed.platform.feature_sets.rollback("user_features", NEWER, actor="test", reason="as it was")
        assert deployed.run(DAYS[2], only=SERVING).success
    return deployed


def test_readers_get_the_new_columns_with_the_first_version_that_has_them(changed: MainJob) -> None:
    assert changed.latest() == NEWER
    assert {"f_views_1d"} <= columns()
    assert "f_last_country" not in columns()
    assert is_proved()


def test_a_rollback_to_before_the_change_is_served_with_the_columns_it_has_and_forward_again(changed: MainJob) -> None:
    answered("rollback", "user_features", OLDER, "--reason", "the new feature is wrong")
    run = changed.run(DAYS[2], only=SERVING)
    assert run.success, run.failure
    assert (changed.latest(), answered("online", "version", "user_features")["version"]) == (OLDER, OLDER)
    assert "f_last_country" in columns()
    assert "f_views_1d" not in columns()
    assert is_proved()
    (row,) = answered("status")
    old, new = (changed.platform.feature_sets.readable("user_features", version).schema_hash for version in (OLDER, NEWER))
    assert row["agreement"] == f"ok (latest is built by contract {old}, deployed is {new})"
    (drift,) = answered("doctor", code=1)
    assert drift["part"] == "contract"

    answered("rollback", "user_features", NEWER, "--reason", "it was right")
    assert changed.run(DAYS[2], only=SERVING).success
    assert "f_views_1d" in columns()
    assert is_proved()
    assert answered("doctor") == []


def test_materialize_by_hand_after_a_rollback_describes_what_it_loads(changed: MainJob) -> None:
    answered("rollback", "user_features", OLDER, "--reason", "once more")
    store = open_store(feast_environment(changed.platform.settings))
    store.materialize_incremental(as_of(DAYS[2]), feature_views=["user_features"])
    assert "f_last_country" in columns()
    assert is_proved()


def shown_at_load() -> Any:
    """What Dagster shows of the feature set's contract when the code location is loaded now."""
    (spec,) = (spec for spec in defs().resolve_all_asset_specs() if spec.key == dg.AssetKey("user_features"))
    return spec.metadata["change_against_latest"]


def test_a_change_against_what_is_published_is_said_before_and_when_it_is_deployed_and_refused_when_built(
    changed: MainJob, contracts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = f"user_features@{OLDER}"
    said = answered("contract", "diff", before, f"user_features@{NEWER}", code=1)
    assert [(change["where"], change["kind"]) for change in said["changes"]] == [
        ("version", "none"),
        ("column f_last_country", "breaking"),
        ("column f_views_1d", "additive"),
    ]
    path = contracts / "user_features.schema.json"
    published = path.read_text()
    document = json.loads(published)
    added = {**ADDED, "name": "f_views_2d"}
    path.write_text(json.dumps({**document, "columns": [*document["columns"], added]}))
    (row,) = (row for row in answered("contract", "check") if row["contract"] == "user_features")
    assert (row["change"], row["changes"]) == ("additive", ["column f_views_2d: added (int64)"])
    assert shown_at_load() == "additive: column f_views_2d: added (int64)"
    assert "The contract of user_features differs from what is published (additive: column f_views_2d" in caplog.text
    path.write_text(json.dumps({**document, "columns": document["columns"][:-1]}))
    refused = CliRunner().invoke(app, ["contract", "check"])
    assert (refused.exit_code, "give it another `version`" in refused.output) == (2, True), refused.output
    assert "No faults" not in refused.output
    run = MainJob(open_platform(load_settings()), instance=changed.instance).run(DAYS[2], only=["user_features"])
    assert not run.success
    assert "column f_views_1d: removed (was int64)" in run.failure
    assert "breaking: column f_views_1d: removed (was int64)" in shown_at_load()
    path.write_text(published)
    assert shown_at_load() == "none"
    source = contracts / "events.source.json"
    kept = source.read_text()
    source.write_text(json.dumps({**json.loads(kept), "max_rejected_ratio": 0.3}))
    assert shown_at_load() == (
        "none: source: contract of source 'events' is another one; what its rows are may have changed under every feature"
    )
    source.write_text(kept)
