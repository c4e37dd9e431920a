"""Contracts judged without data: every template rendered, every SQL transform bound, all faults together."""

import json
import re
from pathlib import Path

import pytest

from feature_platform.adapters.contract_check import check_catalog
from feature_platform.errors import ContractError
from tests.support.shipped_features import SHIPPED_CONTRACTS

COLUMNS = [{"name": "user_id", "type": "int64"}, {"name": "f_n", "type": "int64"}]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for path in SHIPPED_CONTRACTS.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def deliver(directory: Path, name: str, sql: str) -> None:
    document = {"feature_set": name, "version": "v1", "primary_keys": ["user_id"], "columns": COLUMNS}
    (directory / f"{name}.schema.json").write_text(json.dumps(document))
    (directory / f"{name}.sql").write_text(sql)


def faults_of(directory: Path) -> list[str]:
    with pytest.raises(ContractError) as caught:
        check_catalog(directory)
    return [re.split(r"\n|, content_hash", fault)[0] for fault in caught.value.faults]


def test_what_is_right_is_read(directory: Path) -> None:
    deliver(directory, "right", "SELECT user_id, date_diff('hour', max(event_time), as_of) AS f_n FROM events GROUP BY user_id")
    assert sorted(check_catalog(directory).contracts) == ["right", "user_features"]


def test_every_fault_of_every_transform_is_reported_with_the_others(directory: Path) -> None:
    deliver(directory, "a", "SELEC 1")
    deliver(directory, "b", "SELECT user_id, nothing AS f_n FROM events")
    deliver(directory, "c", "SELECT user_id, event_type AS f_n, now() AS f_o FROM events")
    deliver(directory, "d", "SELECT user_id FROM elsewhere")
    deliver(directory, "e", "COPY (SELECT 1) TO '/tmp/x'")
    deliver(directory, "f", "SELECT user_id FROM events")
    (directory / "orders.source.json").write_text("[]")
    (directory / "metadata.json.j2").write_text('{"version": {{ versoin }}}')
    assert faults_of(directory) == [
        "orders.source.json: expected an object, found list",
        "metadata.json.j2 of a: 'versoin' is undefined; it may use: as_of, code_version",
        'a.sql: Parser Error: syntax error at or near "SELEC"',
        'b.sql: Binder Error: Referenced column "nothing" not found in FROM clause!',
        "c.sql: now() gives another result on every run, so no version could be reproduced; write as_of where you mean the as-of moment",
        "c.sql: column 'f_o' is not in the contract; expected only its columns",
        "c.sql: column 'f_n' has type VARCHAR; expected int64",
        "d.sql: Catalog Error: Table with name elsewhere does not exist!",
        "e.sql: SQL transform e.sql: expected one SELECT statement, found COPY. Write it as one query.",
        "f.sql: column 'f_n' is missing; expected user_id, f_n, event_timestamp",
    ]


def test_a_template_that_lacks_a_required_key_is_a_fault(directory: Path) -> None:
    (directory / "metadata.json.j2").write_text('{"feature_set": "user_features"}')
    assert faults_of(directory)[0] == "metadata.json.j2 of user_features: version: missing from the output; expected it to be rendered"


def test_a_hostile_transform_hides_no_fault_of_another(directory: Path) -> None:
    deliver(directory, "a", "SELECT user_id, " + "(" * 200_000 + "1" + ")" * 200_000 + " AS f_n FROM events")
    deliver(directory, "b", "SELECT user_id FROM events")
    first, second = faults_of(directory)
    assert first.startswith("a.sql: ")
    assert second == "b.sql: column 'f_n' is missing; expected user_id, f_n, event_timestamp"


def test_the_transform_that_the_documentation_shows_is_right(directory: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "contracts.md").read_text(encoding="utf-8")
    (directory / "checkout_features.sql").write_text(page.split("```sql\n")[1].split("```")[0])
    blocks = [block.split("```")[0] for block in page.split("```json\n")[1:]]
    (shown,) = [block for block in blocks if "checkout_features" in block]
    (directory / "checkout_features.schema.json").write_text(shown)
    assert "checkout_features" in check_catalog(directory).contracts
