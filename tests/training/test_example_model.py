"""The example in ``examples/purchase_model`` on real servers: trained, recorded, asked, and refused when its contract changes under it."""

import json
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

from feature_platform.core.versions.feature_table import FeatureTable
from feature_platform.errors import FeaturePlatformError, StorageError
from feature_platform.local.services import SHIPPED_CONTRACTS
from feature_platform.training import training_set
from feature_platform.use_cases.serve import serve
from feature_platform.wiring import Platform, open_platform
from tests.support.feature_set_samples import PROVENANCE
from tests.support.platforms import QUIET
from tests.support.serve_command import serving
from tests.support.shipped_features import FEATURE_SET, today, user_rows

LACKING = [name for name in ("mlflow", "sklearn", "skops") if find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(LACKING), reason=f"NOT TESTED: {', '.join(LACKING)} cannot be imported; install the extra `mlflow`"),
    # MLflow hints at integer columns of the dataset's schema; it, Feast and their libraries raise warnings of their own at import.
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.slow,
]

USER = 7
USERS = range(1, 61)
ADDED = {"name": "f_views_1d", "type": "int64", "aggregation": {"function": "count", "window": "1d", "where": {"event_type": "view"}}}


@dataclass
class Asked:
    """What came of one request for a prediction, and of the check at that time."""

    online: str
    prediction: Any
    error: FeaturePlatformError | None
    check: dg.AssetCheckEvaluation


@dataclass
class Story:
    """Trained on three versions and asked; a column was added; one redefined, and trained again, twice; one removed."""

    platform: Platform
    versions: Sequence[str]
    first: dg.ExecuteInProcessResult
    row: dict[str, Any]
    trained: Asked
    added: Asked
    redefined: Asked
    gated: dg.ExecuteInProcessResult
    mixed: dg.ExecuteInProcessResult
    removed: Asked
    hosts: set[str]


class Deployed:
    """Contracts that change, versions by them, and the example's code location over all of it."""

    def __init__(self, contracts: Path, instance: dg.DagsterInstance) -> None:
        from examples.purchase_model import definitions

        self.contracts, self._instance, self._example = contracts, instance, definitions

    def publish(self, *, days_ago: int) -> str:
        """One day's rows by the deployed contract: committed, latest and online."""
        platform, as_of = open_platform(), today() - timedelta(days=days_ago)
        shape, rows = platform.catalog.contract(FEATURE_SET).arrow_schema, user_rows(USERS, as_of=as_of, shift=days_ago)
        columns = [rows.column(f.name) if f.name in rows.schema.names else pa.nulls(len(USERS), f.type) for f in shape]
        done = platform.feature_sets.commit(
            FeatureTable.from_arrow(pa.table(columns, schema=shape)),
            contract=platform.catalog.contract(FEATURE_SET),
            template=platform.catalog.templates[FEATURE_SET],
            as_of=as_of,
            provenance=PROVENANCE,
            idempotency_key=str(days_ago),
            actor="test",
        )
        platform.feature_sets.promote(FEATURE_SET, done.version, actor="test")
        serve(platform, FEATURE_SET)
        return done.version

    def change(self, columns: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], *, days_ago: int) -> str:
        """Deploy a contract of other columns, and publish a version by it."""
        path = self.contracts / f"{FEATURE_SET}.schema.json"
        document = json.loads(path.read_text())
        path.write_text(json.dumps({**document, "version": f"before-{days_ago}", "columns": columns(document["columns"])}))
        return self.publish(days_ago=days_ago)

    def train(self) -> dg.ExecuteInProcessResult:
        """Materialize everything; a failure is part of the result."""
        job = self._example.defs.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(instance=self._instance, run_config=QUIET, raise_on_error=False)

    def ask(self, online: str, url: str) -> Asked:
        """Ask for a prediction, and run the check alone."""
        from examples.purchase_model.predict import Predictor

        prediction, error = None, None
        try:
            prediction = Predictor(open_platform(), url).predict(USER)
        except FeaturePlatformError as refused:
            error = refused
        check = self._example.learned_contract_is_online
        ran = dg.materialize(
            [*self._example.defs.assets, check],
            selection=dg.AssetSelection.checks(check),
            instance=self._instance,
            run_config=QUIET,
            raise_on_error=False,
        )
        return Asked(online, prediction, error, ran.get_asset_check_evaluations()[0])


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    """The hosts that this process connects to, while MLflow keeps everything in a directory of its own."""
    directory, found, connect = tmp_path_factory.mktemp("mlflow"), set[str](), socket.socket.connect

    def noted(self: socket.socket, address: Any) -> None:
        found.add(address[0] if isinstance(address, tuple) else "a file")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", noted)
        patch.chdir(directory)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{directory}/mlflow.db")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("DO_NOT_TRACK", "true")
        yield found


@pytest.fixture(scope="module")
def story(
    module_env: dict[str, str], hosts: set[str], module_instance: dg.DagsterInstance, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    directory = tmp_path_factory.mktemp("story")
    shutil.copytree(SHIPPED_CONTRACTS, directory / "contracts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEATURE_PLATFORM_CONTRACTS_DIR", str(directory / "contracts"))
        deployed = Deployed(directory / "contracts", module_instance)
        versions = [deployed.publish(days_ago=days) for days in (6, 5, 4)]
        first = deployed.train()
        assert first.success, [event.message for event in first.all_events if event.is_failure]
        labels = pd.DataFrame({"user_id": [USER], "event_timestamp": [pd.Timestamp.now("UTC")]})
        row = training_set(labels, [FEATURE_SET]).to_arrow().to_pylist()[0]
        with serving({}, directory / "log") as server:
            trained = deployed.ask(versions[-1], server.url)
            added = deployed.ask(deployed.change(lambda columns: [*columns, ADDED], days_ago=3), server.url)
            redefined = deployed.ask(deployed.change(with_weekly_purchases, days_ago=2), server.url)
        gated = deployed.train()
        deployed.publish(days_ago=1)
        mixed = deployed.train()
        online = deployed.change(without_country, days_ago=0)
        with serving({}, directory / "log") as server:
            removed = deployed.ask(online, server.url)
        yield Story(open_platform(), versions, first, row, trained, added, redefined, gated, mixed, removed, hosts)


def with_weekly_purchases(columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**c, "aggregation": {**c["aggregation"], "window": "7d"}} if c["name"] == "f_purchases_1d" else c for c in columns]


def without_country(columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [c for c in columns if c["name"] != "f_last_country"]


def in_production() -> Any:
    """The version of the model that predictions are asked of."""
    import mlflow

    return mlflow.MlflowClient().get_model_version_by_alias("purchase_model", "production")


def test_what_was_learned_from_is_recorded_beside_the_model(story: Story) -> None:
    """Model → manifest → versions: each names the next, and the manifest is the one that makes the rows again."""
    import mlflow

    from examples.purchase_model.needed_features import NeededFeatures, needed_in

    version = in_production()
    run = mlflow.get_run(version.run_id)
    manifest = story.platform.training_sets.manifest(version.tags["training_set"])
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/training_manifest.json") == manifest.to_json().decode()
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, json.loads(data.dataset.source)) == (manifest.training_set, {"uri": manifest.data.uri})
    assert manifest.data.sha256.startswith(data.dataset.digest)
    assert {tag.key: tag.value for tag in data.tags}["sha256"] == version.tags["sha256"] == manifest.data.sha256
    schema_hash = story.platform.feature_sets.readable(FEATURE_SET, story.versions[1]).schema_hash
    features = ("f_total_events_7d", "f_avg_session_sec_7d", "f_purchases_1d", "f_last_country")
    assert needed_in(version.tags) == [
        NeededFeatures(
            feature_set=FEATURE_SET,
            features=features,
            first_version=story.versions[0],
            last_version=story.versions[1],
            schema_hash=schema_hash,
            sql_hash=None,
        )
    ]
    assert manifest.data.rows == 2 * len(USERS)
    assert 0 <= run.data.metrics["test_auc"] <= 1


def test_a_prediction_is_the_model_applied_to_what_a_training_row_of_that_moment_holds(story: Story) -> None:
    import mlflow

    from examples.purchase_model.model import inputs

    model = mlflow.sklearn.load_model("models:/purchase_model@production")
    assert story.row["user_features__version"] == story.versions[-1]
    prediction = story.trained.prediction
    assert prediction.probability == model.predict_proba(inputs({name: [value] for name, value in story.row.items()}))[0, 1]
    assert (prediction.model_version, list(prediction.features_of[FEATURE_SET])) == ("1", [story.versions[-1]])
    assert story.trained.check.passed


def test_columns_that_the_model_does_not_know_may_come(story: Story) -> None:
    asked = story.added
    assert asked.error is None
    assert list(asked.prediction.features_of[FEATURE_SET]) == [asked.online]
    assert asked.prediction.features_of != story.trained.prediction.features_of
    assert asked.check.passed


def test_a_feature_that_means_something_else_is_refused_by_prediction_and_check(story: Story) -> None:
    asked = story.redefined
    assert type(asked.error).__name__ == "OtherContractError"
    expected = (
        f"{asked.online}: column f_purchases_1d: redefined from count() over 1d where {{'event_type': 'purchase'}} to count() over 7d"
    )
    assert expected in str(asked.error)
    assert "roll the feature set back" in str(asked.error)
    assert not asked.check.passed
    assert asked.check.description == str(asked.error)


def test_a_feature_that_is_gone_is_refused_by_name_although_the_server_answers_nothing(story: Story) -> None:
    assert type(story.removed.error).__name__ == "OtherContractError"
    assert f"{story.removed.online}: column f_last_country: removed (was string)" in str(story.removed.error)
    assert not story.removed.check.passed


def test_a_model_that_learned_another_contract_than_what_is_online_gets_no_feature_service(story: Story) -> None:
    """By then the labels' day before the redefinition has a successor, so the model learns from the contract before it."""
    assert not story.gated.success
    assert [event.step_key for event in story.gated.all_events if event.is_step_failure] == ["purchase_model_learned_contract_is_online"]
    assert [event for event in story.gated.all_events if event.step_key == "purchase_model_service" and event.is_step_success] == []
    assert in_production().version == 1


def test_nothing_is_learned_from_versions_that_mean_different_things(story: Story) -> None:
    assert not story.mixed.success
    (failed,) = [event for event in story.mixed.all_events if event.is_step_failure]
    assert failed.step_key == "purchase_model"
    assert "column f_purchases_1d: redefined" in str(failed.step_failure_data.user_failure_data.description)


def test_nothing_but_this_machine_was_asked(story: Story) -> None:
    assert story.hosts <= {"127.0.0.1", "localhost", "a file"}


@pytest.mark.parametrize(
    ("header", "online"),
    [
        ('user_features;state=online;version=v_1;sequence=42;schema="ab"', {"user_features": {"v_1": "ab"}}),
        ('a;state=online;version=v_1;sequence=2;schema="ab", b;state=unknown', {"a": {"v_1": "ab"}}),
        ('a;state=loading;versions="v_1 v_2"', {"a": {"v_1": None, "v_2": None}}),
        ('a;state=changed;versions="v_1 v_2"', {}),
        ("", {}),
    ],
)
def test_the_header_says_what_rows_may_be_of(header: str, online: dict[str, Any]) -> None:
    from examples.purchase_model.predict import _in_header

    assert _in_header(header) == online


def test_a_server_that_is_not_there_is_a_matter_of_the_world(story: Story) -> None:
    from examples.purchase_model.predict import Predictor

    with pytest.raises(StorageError, match=r"does not answer http://127\.0\.0\.1:1/"):
        Predictor(story.platform, "http://127.0.0.1:1").predict(USER)
