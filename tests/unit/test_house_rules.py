"""Rules of this code base that a machine can check."""

import ast
import doctest
import importlib
import pkgutil
import subprocess
from pathlib import Path

import pytest

import feature_platform.core

ROOT = Path(__file__).resolve().parents[2]
REFUSED_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager"}


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in listed.splitlines() if (ROOT / line).is_file()]


SOURCES = tracked("*.py")


def test_there_are_sources():
    assert len(SOURCES) > 100


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_stays_under_four_hundred_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 400


def test_no_module_is_named_for_nothing():
    assert [path for path in SOURCES if path.stem in REFUSED_NAMES] == []


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if p.name != "__init__.py" or p.stat().st_size], ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_module_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", [m.name for m in pkgutil.walk_packages(feature_platform.core.__path__, "feature_platform.core.")])
def test_examples_in_docstrings_are_true(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, raise_on_error=False).failed == 0


def test_decision_records_are_numbered_once():
    numbers = [path.name[:4] for path in tracked("docs/adr/*.md")]
    assert sorted(numbers) == sorted(set(numbers))


@pytest.mark.parametrize("path", tracked("*.md"), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    targets = [part.split(")", 1)[0].split("#", 1)[0] for part in text.split("](")[1:]]
    local = [target for target in targets if target and "://" not in target]
    assert [target for target in local if not (path.parent / target).exists()] == []
