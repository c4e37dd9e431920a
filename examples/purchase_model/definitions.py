"""The code location: labels, training set, model, the check that gates it, and the feature service it is asked through.

The environment's variables say where the platform is, ``MLFLOW_TRACKING_URI`` where MLflow keeps things.
"""

from datetime import timedelta
from importlib.metadata import version as installed_version
from itertools import pairwise

import dagster as dg
import mlflow
import pandas as pd
from sklearn.metrics import roc_auc_score

from examples.purchase_model.model import ALIAS, FEATURE_SET, FEATURES, LABEL, MODEL, inputs, service_name, trained
from examples.purchase_model.needed_features import TAG, OtherContractError, needed_in, needed_of, require_same
from feature_platform.defs.failures import as_dagster_failures
from feature_platform.training import from_manifest, read_version, split_by_key, training_set_asset
from feature_platform.wiring import feast_environment, open_platform


@dg.asset(deps=[f"{FEATURE_SET}_latest"])
def purchase_labels() -> pd.DataFrame:
    """Of every user known at the end of a day, whether the next day's version counts a purchase. Yours come from where the answers lie."""
    with as_dagster_failures():
        platform = open_platform()
        moments = sorted({version.as_of for version in platform.feature_sets.history(FEATURE_SET).live})
        days = {moment: read_version(FEATURE_SET, at=moment, known_at="event", platform=platform)[0].to_pandas() for moment in moments}
    labels = []
    for moment, later in pairwise(moments):
        if later - moment == timedelta(days=1):
            users, bought = days[moment]["user_id"], days[later].set_index("user_id")["f_purchases_1d"]
            labels.append(pd.DataFrame({"user_id": users, "event_timestamp": moment, LABEL: users.map(bought).fillna(0) > 0}))
    return pd.concat(labels, ignore_index=True)


# By event time, because a first trial publishes all its days within minutes. Where every day was published in its time, leave `known_at`
# out: then the model learns from what serving could have answered.
purchase_training_set = training_set_asset(
    "purchase_training_set", "purchase_labels", FEATURES, known_at="event", split=split_by_key({"train": 0.8, "test": 0.2})
)


@dg.asset(kinds={"scikitlearn", "mlflow"})
def purchase_model(context: dg.AssetExecutionContext, purchase_training_set: str) -> dg.MaterializeResult[str]:
    """A version of the model in MLflow's registry, with the manifest of what it learned from and what it needs of each feature set."""
    with as_dagster_failures():
        platform = open_platform()
        # Made again from labels and versions, and compared with what is kept: the model learns from nothing else.
        training_set = from_manifest(purchase_training_set, platform=platform)
        manifest, rows = training_set.manifest, training_set.to_pandas()
        needed = [needed_of(platform, used) for used in manifest.feature_sets]
    model, test = trained(rows[rows["split"] == "train"]), rows[rows["split"] == "test"]
    chances = model.predict_proba(inputs(test))[:, 1]
    facts = {"training_set": manifest.training_set, "content_hash": manifest.content_hash, "sha256": manifest.data.sha256}
    mlflow.set_experiment(MODEL)
    with mlflow.start_run(run_name=f"dagster run {context.run.run_id}", tags=facts) as run:
        digest = manifest.data.sha256[:36]  # MLflow takes no longer one; the whole hash stands in a tag
        data = mlflow.data.from_pandas(rows, source=manifest.data.uri, name=manifest.training_set, digest=digest, targets=LABEL)
        mlflow.log_input(data, context="training", tags=facts)
        mlflow.log_text(manifest.to_json().decode(), "training_manifest.json")
        mlflow.log_metric("test_auc", roc_auc_score(test[LABEL], chances))
        logged = mlflow.sklearn.log_model(
            model,
            name=MODEL,
            signature=mlflow.models.infer_signature(inputs(test), chances),
            pip_requirements=[f"{package}=={installed_version(package)}" for package in ("scikit-learn", "skops", "pandas")],
            skops_trusted_types=["numpy.dtype"],  # what skops does not know as harmless by itself
        )
    tags = facts | {f"{TAG}{item.feature_set}": item.model_dump_json() for item in needed}
    version = str(mlflow.register_model(logged.model_uri, MODEL, tags=tags).version)
    return dg.MaterializeResult(value=version, metadata={"version": version, "mlflow_run": run.info.run_id, **facts})


@dg.asset_check(asset=purchase_model, blocking=True)
def learned_contract_is_online(purchase_model: str) -> dg.AssetCheckResult:
    """Features mean online what they mean to the model; its feature service waits for that."""
    faults: list[str] = []
    with as_dagster_failures():
        platform = open_platform()
        for needed in needed_in(mlflow.MlflowClient().get_model_version(MODEL, purchase_model).tags):
            marker = platform.online.marker(project=platform.project, view=needed.feature_set)
            if marker is None:
                faults.append(f"Nothing of {needed.feature_set} is online; materialize {needed.feature_set}_online.")
                continue
            try:
                require_same(platform, needed, {item.version: item.schema_hash for item in marker.leftovers})
            except OtherContractError as error:
                faults.append(str(error))
    return dg.AssetCheckResult(passed=not faults, description="\n".join(faults) or None, metadata={"version": purchase_model})


@dg.asset(kinds={"feast", "mlflow"})
def purchase_model_service(purchase_model: str) -> dg.MaterializeResult[None]:
    """The Feast feature service of this version, and MLflow's alias that sends predictions to it."""
    from feature_platform.adapters.feast.repository import open_store

    client, name = mlflow.MlflowClient(), service_name(purchase_model)
    with as_dagster_failures():
        store = open_store(feast_environment(open_platform().settings))
        from feast import FeatureService

        tags = client.get_model_version(MODEL, purchase_model).tags
        views = [store.get_feature_view(needed.feature_set)[list(needed.features)] for needed in needed_in(tags)]
        store.apply(FeatureService(name=name, features=views, tags={"training_set": tags["training_set"]}))
    client.set_registered_model_alias(MODEL, ALIAS, purchase_model)
    return dg.MaterializeResult(metadata={"feature_service": name, "alias": ALIAS})


defs = dg.Definitions(
    assets=[purchase_labels, purchase_training_set, purchase_model, purchase_model_service],
    asset_checks=[learned_contract_is_online],
    executor=dg.in_process_executor,  # one process imports MLflow and Feast once
)
