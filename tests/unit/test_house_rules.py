"""Rules of this code base that a machine can check."""

import ast
import doctest
import importlib
import io
import pkgutil
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import feature_platform.core

ROOT = Path(__file__).resolve().parents[2]
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
REFUSED_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager"}


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in listed.splitlines() if (ROOT / line).is_file()]


SOURCES = tracked("*.py")


def test_there_are_sources():
    assert len(SOURCES) > 100


def named(paths: Iterable[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_a_file_stays_under_four_hundred_lines():
    assert named(path for path in SOURCES if len(path.read_text(encoding="utf-8").splitlines()) >= 400) == []


def lines_of_code(path: Path) -> int:
    """Lines that hold code: not those that are blank, or hold a comment or a docstring alone."""
    text = path.read_text(encoding="utf-8")
    documented = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node) is not None
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(code - documented)


def test_the_platform_stays_under_twenty_two_thousand_lines_of_code():
    assert 10_000 < sum(lines_of_code(path) for path in SOURCES if path.is_relative_to(ROOT / "feature_platform")) < 22_000


def test_no_module_reads_parquet_in_a_way_that_aborts_processes_which_end_soon():
    of_the_platform = [path for path in SOURCES if path.is_relative_to(ROOT / "feature_platform")]
    assert [path.name for path in of_the_platform if "read_table(" in path.read_text(encoding="utf-8")] == []


def test_no_module_is_named_for_nothing():
    assert [path for path in SOURCES if path.stem in REFUSED_NAMES] == []


def test_a_module_says_what_it_is_for():
    modules = [path for path in SOURCES if path.name != "__init__.py" or path.stat().st_size]
    assert named(path for path in modules if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize("name", [m.name for m in pkgutil.walk_packages(feature_platform.core.__path__, "feature_platform.core.")])
def test_examples_in_docstrings_are_true(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, raise_on_error=False).failed == 0


RECORDS = tracked("docs/adr/*.md")


def test_decision_records_are_numbered_without_gaps():
    assert sorted(path.name[:4] for path in RECORDS) == [f"{number:04}" for number in range(1, len(RECORDS) + 1)]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_decision_record_has_its_number_and_a_status(path):
    title, _, status = path.read_text(encoding="utf-8").splitlines()[:3]
    assert title.startswith(f"# {int(path.name[:4])}. ")
    assert re.fullmatch(r"Status: (proposed|accepted|superseded by \[.+\]\(.+\))", status)


def test_what_is_imported_is_declared():
    """A library that only others bring can vanish with their next release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    shipped = {_package(one) for one in (*project["project"]["dependencies"], *extras["local"], *extras["spark"])}
    shown = shipped | {_package(one) for one in extras["mlflow"]}
    tested = shown | {_package(one) for one in project["dependency-groups"]["dev"]}
    declared = {"examples": shown, "tests": tested, "deploy": tested}
    bringing = packages_distributions()
    undeclared = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in SOURCES
        for name in _imported(path)
        if not {_package(one) for one in bringing.get(name, ())} & declared.get(path.relative_to(ROOT).parts[0], shipped)
    }
    assert undeclared == set()


def _package(requirement: str) -> str:
    """The name in a requirement, as an index spells it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]).lower()


def _imported(path: Path) -> Iterator[str]:
    """Top-level modules that a file imports from other packages."""
    ours = {*sys.stdlib_module_names, "feature_platform", "tests", "deploy"}
    # What people copy is imported by its own kind and its tests, never by the platform.
    ours |= {"examples"} if path.relative_to(ROOT).parts[0] in {"examples", "tests"} else set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        yield from {name.partition(".")[0] for name in names} - ours


def test_links_between_documents_lead_somewhere():
    dead = {
        f"{path.relative_to(ROOT)}: {target}" for path in tracked("*.md") for target in _linked(path) if not (path.parent / target).exists()
    }
    assert dead == set()


def _linked(path: Path) -> list[str]:
    """Files that a document links to."""
    targets = [part.split(")", 1)[0].split("#", 1)[0] for part in path.read_text(encoding="utf-8").split("](")[1:]]
    return [target for target in targets if target and "://" not in target]
