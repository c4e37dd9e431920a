"""A directory of contracts: every fault of every file together, and each feature set checked against its source."""

import json
import os
from pathlib import Path

import pytest

from feature_platform.adapters.contract_files import load_catalog
from feature_platform.errors import ContractError, NotFoundError

SHIPPED = Path(__file__).parents[2] / "feast_repo" / "contracts"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for path in SHIPPED.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_the_shipped_contracts_load() -> None:
    catalog = load_catalog(SHIPPED)
    assert list(catalog.contracts) == ["user_features"]
    assert catalog.source_of(catalog.contract("user_features")).source == "events"


def test_an_unknown_feature_set_lists_those_there_are() -> None:
    with pytest.raises(NotFoundError, match=r"^No contract for feature set 'shop'; there are: user_features\.$"):
        load_catalog(SHIPPED).contract("shop")


def test_faults_of_all_files_are_reported_together(directory: Path) -> None:
    (directory / "events.source.json").write_text('{"source": "orders"}')
    (directory / "shop.schema.json").write_text("[]")
    with pytest.raises(ContractError) as caught:
        load_catalog(directory)
    assert any(fault.startswith("shop.schema.json: expected an object, found list") for fault in caught.value.faults)
    assert any(fault.startswith("events.source.json: source: found 'orders', expected 'events'") for fault in caught.value.faults)


def test_a_missing_source_contract_is_named(directory: Path) -> None:
    (directory / "events.source.json").unlink()
    with pytest.raises(ContractError, match=r"source 'events' has no contract; expected events\.source\.json beside it"):
        load_catalog(directory)


def test_a_sql_transform_beside_a_contract_is_delivered_with_it(directory: Path) -> None:
    document = {"feature_set": "shop", "version": "v1", "primary_keys": ["k"], "columns": [{"name": "k", "type": "int64"}]}
    (directory / "shop.schema.json").write_text(json.dumps(document))
    (directory / "shop.sql").write_text("SELECT 1 AS k")
    assert load_catalog(directory).contract("shop").sql == "SELECT 1 AS k"


def test_a_missing_template_is_a_fault(directory: Path) -> None:
    (directory / "metadata.json.j2").unlink()
    with pytest.raises(ContractError, match=r"expected user_features\.metadata\.json\.j2 or metadata\.json\.j2, found neither"):
        load_catalog(directory)


@pytest.mark.parametrize("name", ["user_features.schema.json", "user_features.sql", "events.source.json", "metadata.json.j2"])
@pytest.mark.parametrize("kind", ["a directory", "a link to nothing", "no regular file", "1048577 bytes", "'utf-8' codec can't decode"])
def test_a_file_that_is_none_is_a_fault_that_names_it(directory: Path, name: str, kind: str) -> None:
    path = directory / name
    path.unlink(missing_ok=True)
    match kind:
        case "a directory":
            path.mkdir()
        case "a link to nothing":
            path.symlink_to(directory / "nothing")
        case "no regular file":
            os.mkfifo(path)
        case "1048577 bytes":
            path.write_bytes(b" " * 1_048_577)
        case _:
            path.write_bytes(b"SELECT '\xff'")
    with pytest.raises(ContractError) as caught:
        load_catalog(directory)
    assert [fault for fault in caught.value.faults if f"{name}: found {kind}" in fault and "expected a file of UTF-8 text" in fault]


def test_an_empty_directory_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"expected at least one <feature_set>\.schema\.json, found none"):
        load_catalog(tmp_path)
