"""The runbook has a line for everything that people are told of."""

import re
from pathlib import Path
from typing import get_args

import pytest

from feature_platform import errors
from feature_platform.core.events.checks import DESCRIPTIONS
from feature_platform.core.operations.health import OTHER_CODES, STATES
from feature_platform.core.versions.checks import MISSING_DAYS, NAMES
from feature_platform.core.versions.findings import Code

CELLS = {
    name.strip(" `")
    for line in (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| `")
    for name in line.split("|")[1].split(",")
}
ALERTS = re.findall(r"- alert: (\w+)", (Path(__file__).parents[2] / "deploy" / "monitoring" / "rules.yaml").read_text(encoding="utf-8"))
KINDS = {each.kind for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.FeaturePlatformError)}


TOLD = {*get_args(Code), *OTHER_CODES, *STATES, *KINDS, *NAMES, *DESCRIPTIONS, *ALERTS, MISSING_DAYS, "parity"}


@pytest.mark.parametrize("name", sorted(TOLD))
def test_the_runbook_says_what_to_do(name: str) -> None:
    assert name in CELLS


def test_the_runbook_names_nothing_that_does_not_exist() -> None:
    assert len(ALERTS) > 5
    assert TOLD >= CELLS
