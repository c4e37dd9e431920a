"""Whatever an author delivers is a contract that can be computed, or one of our errors that names file and place; and nothing runs away."""

import os
import random
import re
import resource
from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_platform.adapters.compute.duckdb.events import create_events
from feature_platform.adapters.compute.duckdb.session import EngineLimits, open_local_session
from feature_platform.adapters.contract_files import read_catalog
from feature_platform.adapters.feature_set_store.template_rendering import render_template
from feature_platform.core.compute.features_sql import compile_features
from feature_platform.core.contract.catalog import Catalog
from feature_platform.errors import ContractError
from tests.faults.figures import record_figure
from tests.faults.hostile_documents import FILES, hostile_template, write_hostile_directory

IS_FULL = os.environ.get("FAULTS") == "full"
DIRECTORIES = 8_000 if IS_FULL else 150
TEMPLATES = 2_000 if IS_FULL else 12
FACTS = {
    "version": "v_20260115T000000",
    "row_count": 2,
    "source": [{"uri": f"s3://raw/events/{n}", "etag": "0" * 32} for n in range(1000)],
    "statistics": {f"f_{n}": {"nulls": 1, "min": 0.5} for n in range(100)},
    "files": {"features.csv": {"bytes": 1}},
}
NAMES = [*FACTS, "feature_set", "generated_at", "pipeline", "schema_hash", "feature_uri", "owner"]


def seed() -> int:
    """A seed of its own for every run, printed so that a failure can be had again: ``FAULTS_SEED=… pytest …``."""
    chosen = int(os.environ.get("FAULTS_SEED", random.SystemRandom().randrange(2**32)))
    print(f"FAULTS_SEED={chosen}")
    return chosen


def compute_nothing(catalog: Catalog, directory: Path) -> None:
    """Hash and compile every contract and run it over no events."""
    for contract in catalog.contracts.values():
        assert len(contract.schema_hash) == 64
        assert len(contract.arrow_schema) == len(contract.all_columns)
        if contract.sql is not None:
            continue
        source = catalog.source_of(contract)
        limits = EngineLimits(memory_bytes=64 << 20, threads=1)
        with open_local_session(files=[], directory=directory, limits=limits) as connection:
            create_events(connection, [], source, positioned=True)
            query = compile_features(contract, sources=[source], as_of=datetime(2026, 1, 15, tzinfo=UTC))
            assert connection.execute(query).fetchall() == []


def outcome(template: str) -> str:
    """What a template renders to, or what our error says."""
    try:
        return str(render_template(template, {**dict.fromkeys(NAMES, ""), **FACTS}, file="metadata.json.j2 of f"))
    except ContractError as error:
        return str(error)


def test_a_damaged_directory_is_a_catalog_that_can_be_computed_or_faults_that_name_their_files(tmp_path: Path) -> None:
    first, computed = seed(), 0
    for number in range(DIRECTORIES):
        rng = random.Random(first + number)
        directory = tmp_path / str(number)
        directory.mkdir()
        write_hostile_directory(directory, rng)
        catalog, faults = read_catalog(directory)
        for fault in faults:
            fault.encode()
            assert fault.startswith(FILES) or "expected at least one" in fault, (first + number, fault)
        if not faults:
            compute_nothing(catalog, directory)
            computed += 1
    assert computed < DIRECTORIES
    assert computed or not IS_FULL  # of a few, all may be damaged
    record_figure("hostile contracts and source contracts", tried=DIRECTORIES, violations=0)


def test_a_hostile_template_renders_or_is_refused_within_two_seconds() -> None:
    first, refused = seed(), 0
    for number in range(TEMPLATES):
        template = hostile_template(random.Random(first + number))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        said = outcome(template)
        assert said.startswith(("{", "Template metadata.json.j2 of f ")), (first + number, said)
        refused += said.startswith("Template")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert taken_s < 2, (first + number, taken_s)  # on a processor, so that a busy machine changes nothing
    assert refused
    record_figure("hostile templates", tried=TEMPLATES, violations=0)


@pytest.mark.parametrize(
    "template",
    [
        "{{ '%1000000000s' % 1 }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ source | tojson(indent=1000000000) }}",
        "{% for a in [" + "1," * 15_000 + "] %}{% for b in [" + "1," * 15_000 + "] %}{% endfor %}{% endfor %}",
        '{"a": {{ source | join | tojson' + " | tojson" * 40 + " }}}",
        "{{ 1" + " < 2" * 10_000 + " }}",
    ],
)
def test_a_template_that_runs_away_is_ended(template: str) -> None:
    said = outcome(template)
    assert re.match(r"Template metadata\.json\.j2 of f (has 1 fault|did not end within 1 s|needed more than its 256 MiB)", said), said
