"""``metadata.json``: the facts always win, a template that contradicts them is refused, and damage is named."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from feature_platform.core.versions.feature_table import EncodedFeatures, FileDigest
from feature_platform.core.versions.metadata import Provenance, SourceObject, render_metadata
from feature_platform.core.versions.version_metadata import parse_metadata
from feature_platform.errors import ContractError, InvalidDataError
from tests.support.feature_set_samples import TEMPLATE, sample_contract

URI = "s3://b/features/user_features/v_20260115T000000/"
ENCODED = EncodedFeatures(
    parquet=Path("p"),
    csv=Path("c"),
    digests={},
    row_count=2,
    content_hash="c" * 64,
    statistics={"f_count": {"nulls": 1, "min": 0, "max": 7}},
)
PROVENANCE = Provenance(
    sources=[SourceObject("s3://raw/x", "etag", 12, "2026-01-14")],
    partitions=["2026-01-14"],
    missing_partitions=["2026-01-13"],
    code_version="1.2.3",
    run_id="run",
    extra={"source_hash": "s" * 64, "row_count": 99},
)


def render(template=TEMPLATE, **changes):
    given = {
        "contract": sample_contract(),
        "version": "v_20260115T000000",
        "write_id": "w",
        "feature_uri": URI,
        "as_of": datetime(2026, 1, 15, tzinfo=UTC),
        "generated_at": datetime(2026, 1, 15, 2, tzinfo=timezone(timedelta(hours=1))),
        "encoded": ENCODED,
        "digests": {"features.csv": FileDigest("d" * 64, 9)},
        "provenance": PROVENANCE,
        "supersedes": None,
    }
    return render_metadata(template, **{**given, **changes})


def test_every_fact_is_there():
    assert json.loads(render()) == {
        "format": 1,
        "feature_set": "user_features",
        "version": "v_20260115T000000",
        "contract_version": "v1",
        "generated_at": "2026-01-15T01:00:00Z",
        "as_of": "2026-01-15T00:00:00Z",
        "partition": "2026-01-14",
        "schema_hash": sample_contract().schema_hash,
        "content_hash": "c" * 64,
        "row_count": 2,
        "feature_uri": URI,
        "write_id": "w",
        "supersedes": None,
        "pipeline": "feature_platform",
        "code_version": "1.2.3",
        "run_id": "run",
        "source": [{"uri": "s3://raw/x", "etag": "etag", "bytes": 12, "partition": "2026-01-14"}],
        "source_hash": "s" * 64,
        "input_versions": [],
        "window": {"partitions": ["2026-01-14"], "missing": ["2026-01-13"], "before_first_day": []},
        "files": {"features.csv": {"sha256": "d" * 64, "bytes": 9}},
        "csv": "string cells that begin with = + - @ tab or carriage return carry a leading apostrophe; remove it to read the value",
        "statistics": {"f_count": {"nulls": 1, "min": 0, "max": 7}},
        "owner": "ml-platform",
    }


def test_a_template_adds_and_arranges():
    document = json.loads(render(TEMPLATE.replace('"owner"', '"team": "x", "owner"')))
    assert document["team"] == "x"
    assert list(document)[:2] == ["feature_set", "version"]


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ('"version": "v_1"', "version: rendered as 'v_1', expected 'v_20260115T000000'"),
        ('"schema_hash": "0"', "schema_hash: rendered as '0', expected"),
        ('"feature_uri": null', "feature_uri: rendered as None, expected"),
    ],
)
def test_a_template_that_contradicts_the_facts_is_refused(wrong, fault):
    name = wrong.partition(":")[0]
    template = TEMPLATE.replace(f"{name}: {{{{ {name[1:-1]} | tojson }}}}", wrong)
    with pytest.raises(ContractError) as caught:
        render(template)
    assert "metadata.json.j2 of user_features" in str(caught.value)
    assert fault in str(caught.value)


def test_every_missing_key_is_named_at_once():
    with pytest.raises(ContractError) as caught:
        render('{"feature_set": {{ feature_set | tojson }}, "owner": "x"}')
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [
        "version", "generated_at", "source", "pipeline", "schema_hash", "feature_uri",
    ]  # fmt: skip


def test_what_was_rendered_is_parsed():
    assert parse_metadata(render(), uri="s3://x").row_count == 2


@pytest.mark.parametrize("body", [b"", b"{", b"1", b"null", b"\xff"])
def test_what_is_no_metadata_is_refused_by_name(body):
    with pytest.raises(InvalidDataError, match=r"s3://x (is damaged|lacks feature_set)"):
        parse_metadata(body, uri="s3://x")


@pytest.mark.parametrize(("field", "value"), [("format", "2"), ("as_of", 3), ("files", [])])
def test_fields_of_another_form_are_refused_too(field, value):
    with pytest.raises(InvalidDataError, match="s3://x is damaged"):
        parse_metadata(json.dumps({**json.loads(render()), field: value}).encode(), uri="s3://x")


def test_missing_fields_are_named():
    document = json.loads(render())
    del document["files"], document["as_of"]
    with pytest.raises(InvalidDataError, match=r"s3://x lacks as_of, files; expected the metadata of a version"):
        parse_metadata(json.dumps(document).encode(), uri="s3://x")
