"""Training sets as people make them: the command line over real S3, Python with files and frames, a Dagster asset."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from typer.testing import CliRunner

from feature_platform.cli.app import app
from feature_platform.errors import InvalidDataError, NotFoundError
from feature_platform.training import from_manifest, read_version, split_by_key, training_set, training_set_asset
from tests.support.feature_set_samples import DAY, FEATURE_SET
from tests.support.services import S3Bucket
from tests.support.shipped_features import enter, publish_users, user_rows
from tests.support.training_sets import Published

SEVEN = DAY + timedelta(hours=7)


def frame(*users: int) -> pd.DataFrame:
    return pd.DataFrame({"user_id": users, "event_timestamp": [SEVEN] * len(users), "label": [0.5] * len(users)})


def cli(*arguments: str, code: int = 0) -> Any:
    """What a command answers in JSON, or says on stderr where it fails."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout) if code == 0 else result.stderr


def test_the_commands_make_find_prove_and_remove_a_training_set(
    local_env: dict[str, str], s3: S3Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter(monkeypatch, local_env)
    as_of = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    version = publish_users(s3.store, f"{s3.uri}features", user_rows(range(1, 9), as_of=as_of), as_of=as_of)
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    (tmp_path / "labels.csv").write_text(f"user_id,event_timestamp,bought\n3,{moment},1\n404,{moment},0\n")
    asked = [
        "training-set",
        "--labels",
        str(tmp_path / "labels.csv"),
        "--features",
        "user_features:f_total_events_7d, user_features:f_last_country",
    ]
    made = cli(*asked, "--out", f"{s3.uri}training/first", "--split", "train=0.5,test=0.5")
    assert (made["rows"], made["statuses"]) == (2, {"user_features": {"found": 1, "unknown_entity": 1}})
    assert made["uri"] == f"{s3.uri}training/first/{made['training_set']}/training_set.parquet"
    assert cli(*asked, "--split", "train=0.5,test=0.5") == made
    name = made["training_set"]
    assert [row["training_set"] for row in cli("training-set", "list")] == [name]
    shown = cli("training-set", "show", name)
    assert [used["version"] for used in shown["feature_sets"][0]["versions"]] == [version]
    assert cli("training-set", "verify", name) == made
    read = pd.read_csv(tmp_path / "labels.csv").columns
    assert list(from_manifest(name).to_pandas().columns)[: len(read)] == list(read)
    assert CliRunner().invoke(app, ["training-set", "delete", name]).exit_code == 0
    assert cli("training-set", "list") == []
    assert f"no training set '{name}'" in cli("training-set", "verify", name, code=2)
    misnamed = [*asked[:-1], "user_features:f_total_events_7d,user_features:nosuch"]
    assert "has no feature 'nosuch'" in cli(*misnamed, code=2)
    wrong = {"--split": "train=most", "--out": str(tmp_path), "--timestamp": "when"}
    for option, value in wrong.items():
        assert f"{option} " in cli(*asked, option, value, code=2)
    assert "--split 'train=2' cannot be read: Shares" in cli(*asked, "--split", "train=2", code=2)


def test_a_frame_a_parquet_file_and_a_csv_file_give_the_same_answers(published: Published, tmp_path: Path) -> None:
    published.publish("a")
    labels = frame(2, 1, 99)
    labels.to_parquet(tmp_path / "labels.parquet")
    labels.to_csv(tmp_path / "labels.csv", index=False)
    given = [labels, tmp_path / "labels.parquet", str(tmp_path / "labels.csv")]
    made = [training_set(item, [FEATURE_SET], platform=published.platform) for item in given]
    assert {item.manifest.content_hash for item in made} == {made[0].manifest.content_hash}
    assert [item.to_arrow().column("f_count").to_pylist() for item in made] == [[3 * ord("a"), None, None]] * 3
    with pytest.raises(InvalidDataError, match="expected a Parquet or CSV file"):
        training_set(7, [FEATURE_SET], platform=published.platform)
    (tmp_path / "bad.csv").write_text("user_id,event_timestamp\n1,2\n1\n")
    with pytest.raises(InvalidDataError, match=r"Labels .*bad\.csv cannot be read"):
        training_set(tmp_path / "bad.csv", [FEATURE_SET], platform=published.platform)


def test_a_version_is_read_by_name_as_latest_or_as_it_was_known(published: Published) -> None:
    first, second = published.publish("a"), published.publish("b", day=1)
    platform = published.platform
    table, metadata = read_version(FEATURE_SET, first, platform=platform)
    assert (table.num_rows, metadata.version, metadata.row_count) == (5, first, 5)
    assert read_version(FEATURE_SET, platform=platform)[1].version == second
    assert read_version(FEATURE_SET, at=SEVEN, platform=platform)[1].version == first
    with pytest.raises(NotFoundError, match=f"the first one is {first}, from 2026-01-15T06:00:00"):
        read_version(FEATURE_SET, at=DAY, platform=platform)
    uri = published.store.layout(FEATURE_SET).version_file(first, "metadata.json")
    published.platform.objects.put(uri, b"{}", write_id="intruder", sha256=None, condition=None)
    with pytest.raises(InvalidDataError, match=r"metadata\.json of user_features .* expected [0-9a-f]{64}, as the log says"):
        read_version(FEATURE_SET, first, platform=platform)


def test_an_asset_makes_a_training_set_of_another_assets_labels(published: Published) -> None:
    published.publish("a")

    @dg.asset
    def bought() -> pd.DataFrame:
        return frame(2, 1)

    split = split_by_key({"train": 0.5, "test": 0.5})
    made = training_set_asset("bought_training_set", "bought", [FEATURE_SET], split=split, platform=published.platform)
    result = dg.materialize([bought, made])
    (event,) = result.asset_materializations_for_node("bought_training_set")
    assert event.metadata["dagster/row_count"].value == 2
    assert published.platform.training_sets.names() == [event.metadata["training_set"].value]
    assert made.asset_deps[dg.AssetKey("bought_training_set")] == {dg.AssetKey("bought"), dg.AssetKey("user_features_latest")}
