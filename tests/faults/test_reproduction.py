"""A version is computed again from its recorded sources, and what stands in the way is named."""

import json
from datetime import UTC, datetime

import pytest

from feature_platform.adapters.compute.duckdb.engine import DuckDBEngine
from feature_platform.adapters.contract_files import load_catalog
from feature_platform.adapters.events.raw_files import RawFiles
from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.core.compute.tiles import Window
from feature_platform.core.contract.catalog import Catalog
from feature_platform.core.contract.feature_set import load_contract
from feature_platform.core.contract.source import load_source_contract
from feature_platform.core.layout import raw_partition
from feature_platform.core.versions.metadata import Provenance, SourceObject
from feature_platform.errors import ContractError, NotFoundError
from feature_platform.local.services import SHIPPED_CONTRACTS
from feature_platform.use_cases.reproduce import reproduce
from feature_platform.wiring import Platform
from tests.support.feature_set_samples import open_store
from tests.support.platforms import memory_platform

RAW, WORK = "s3://bucket/raw", "s3://bucket/work"
VERSION = "v_20260115T000000"


@pytest.fixture
def again(store, catalog, tmp_path):
    """Reproduces a version of the store under the catalog's contracts, or changed ones."""

    def rebuilt(*, contract=None, source=None, version=VERSION):
        given = Catalog(catalog.contracts, {"events": source or catalog.sources["events"]}, catalog.templates)
        settings = memory_platform(tmp_path).settings
        platform = Platform(settings=settings, catalog=given, objects=store.objects, feature_sets=store)
        return reproduce(platform, contract or catalog.contract("user_features"), version)

    return rebuilt


def events(day, *, seconds=1.25):
    lines = [
        {"event_id": f"{day}-{n}", "user_id": n % 3, "event_time": f"{day}T0{n}:00:00Z", "event_type": "view", "session_sec": n * seconds}
        for n in range(6)
    ]
    return "\n".join(json.dumps(line) for line in lines).encode()


def deliver(objects, day, body, *, name="part-0.jsonl"):
    objects.put(f"{raw_partition(RAW, 'events', day)}{name}", body, write_id="upstream", sha256=None, condition=None)


@pytest.fixture
def catalog():
    return load_catalog(SHIPPED_CONTRACTS)


@pytest.fixture
def store(catalog):
    """One version built from two days of raw events."""
    objects = MemoryObjectStore()
    store = open_store(objects, "s3://bucket/")
    contract, source = catalog.contract("user_features"), catalog.sources["events"]
    engine, as_of = DuckDBEngine(objects, work_uri=WORK), datetime(2026, 1, 15, tzinfo=UTC)
    days = []
    for day in ("2026-01-13", "2026-01-14"):
        deliver(objects, day, events(day))
        days.append(engine.validate(source, RawFiles(objects, RAW).discover(source, day)))
    sources = [SourceObject(item.uri, item.etag, item.size_bytes, day.partition) for day in days for item in day.raw.objects]
    store.commit(
        engine.build(contract, [Window(source, days)], as_of=as_of),
        contract=contract,
        template=catalog.templates["user_features"],
        as_of=as_of,
        provenance=Provenance(
            sources, [day.partition for day in days], code_version="1.2.3", run_id="run", extra={"source_hash": source.schema_hash}
        ),
        idempotency_key="run",
        actor="test",
    )
    return store


def test_recorded_sources_give_the_recorded_content_and_nothing_is_written(store, catalog, again):
    before = {info.uri: info.etag for info in store.objects.scan("s3://bucket/")}
    outcome = again()
    assert (outcome.is_reproduced, outcome.findings, outcome.row_count) == (True, (), 3)
    assert json.loads(json.dumps(outcome.document()))["is_reproduced"] is True
    assert {info.uri: info.etag for info in store.objects.scan("s3://bucket/")} == before


def test_what_upstream_delivered_later_does_not_matter(store, catalog, again):
    deliver(store.objects, "2026-01-14", events("2026-01-14", seconds=9.0), name="late.jsonl")
    deliver(store.objects, "2026-01-12", events("2026-01-12"))
    assert again().is_reproduced


def test_sources_that_changed_or_are_gone_are_named(store, catalog, again):
    changed, gone = (f"{raw_partition(RAW, 'events', day)}part-0.jsonl" for day in ("2026-01-13", "2026-01-14"))
    recorded = {item.uri: item.etag for item in store.metadata("user_features", VERSION).sources}
    deliver(store.objects, "2026-01-13", events("2026-01-13", seconds=9.0))
    store.objects.delete(gone)
    outcome = again()
    assert (outcome.is_reproduced, outcome.found) == (False, None)
    assert [(finding.code, finding.file, finding.expected) for finding in outcome.findings] == [
        ("source_changed", changed, f"ETag {recorded[changed]}"),
        ("source_gone", gone, f"an object with ETag {recorded[gone]}"),
    ]


def test_another_source_contract_that_gives_other_rows_is_named(store, catalog, again):
    document = dict(catalog.sources["events"].document)
    document["columns"] = [column if column["name"] != "session_sec" else {**column, "decimals": 1} for column in document["columns"]]
    other = load_source_contract(json.dumps(document), file="events.source.json")
    outcome = again(source=other)
    assert [finding.code for finding in outcome.findings] == ["not_reproduced", "source_contract_differs"]
    assert (outcome.found is not None, outcome.row_count) == (True, 3)


def test_another_contract_is_refused(store, catalog, again):
    changed = json.dumps({**catalog.contract("user_features").document, "version": "v2"}).encode()
    with pytest.raises(ContractError, match="was built by another contract than the given one"):
        again(contract=load_contract(changed, file="changed.json"))


def test_an_unknown_version_is_an_error(store, catalog, again):
    with pytest.raises(NotFoundError, match="was never committed"):
        again(version="v_20270101T000000")
