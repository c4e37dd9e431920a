"""Two hundred feature sets over twenty sources: loaded as one code location, applied by one write, each day of events read once."""

from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from feature_platform.adapters.object_store.s3 import S3ObjectStore
from feature_platform.definitions import build_definitions
from feature_platform.settings import load_settings
from feature_platform.wiring import open_platform
from tests.support.counting_store import CountingObjectStore
from tests.support.many_sets import many_sets
from tests.support.platforms import MainJob, event, json_lines, memory_platform, put_raw
from tests.support.shipped_features import enter

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

SOURCES, PER_SOURCE = 20, 10
DAYS = ("2026-01-10", "2026-01-11", "2026-01-12")


def test_all_of_them_load_as_one_code_location(tmp_path: Path) -> None:
    definitions = build_definitions(memory_platform(tmp_path, contracts=many_sets(tmp_path, sources=SOURCES, sets_per_source=PER_SOURCE)))
    dg.Definitions.validate_loadable(definitions)
    repository = definitions.get_repository_def()
    kinds = Counter(key.path[-1].rsplit("_", 1)[-1] for key in repository.assets_defs_by_key)
    assert (kinds["tiles"], kinds["latest"], kinds["online"]) == (200, 200, 200)
    assert len(repository.job_names) == 2 + SOURCES + 1  # everything, their health, each source; and Dagster's own


def test_an_apply_of_all_is_one_write_of_the_registry(local_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contracts = many_sets(tmp_path, sources=SOURCES, sets_per_source=PER_SOURCE)
    enter(monkeypatch, {**local_env, "FEATURE_PLATFORM_CONTRACTS_DIR": str(contracts)})
    platform, written, put = open_platform(load_settings()), [], S3ObjectStore.put
    everything = list(platform.catalog.contracts.values())
    platform.registry.apply(everything[:1])  # makes the registry itself
    monkeypatch.setattr(S3ObjectStore, "put", lambda store, uri, *given, **named: written.append(uri) or put(store, uri, *given, **named))
    platform.registry.apply(everything)
    assert len(written) == 1
    assert all(platform.registry.findings(contract) == [] for contract in everything)


def test_a_day_is_read_once_for_all_the_sets_on_its_source(tmp_path: Path) -> None:
    """Windows of two to seven days, the same aggregations: one tile a day serves all of them."""
    few, many = (opened(tmp_path / str(sets), sets=sets) for sets in (1, 6))
    assert few == many
    assert {uri.split("/")[-2] for uri in many} == {f"dt={DAYS[-1]}"}


def opened(home: Path, *, sets: int) -> Counter[str]:
    """How often the last day's run of so many sets opens each file of validated events."""
    store = CountingObjectStore()
    platform = memory_platform(home, contracts=many_sets(home, sources=1, sets_per_source=sets), store=store)
    for day in DAYS:
        events = [event(user, f"{day}T12:{minute:02}:00Z") for user in (1, 2, 3) for minute in range(60)]
        put_raw(platform, day, {"a.jsonl": json_lines(events)}, source="events_00")
    names = [f"set_00_{number:02}" for number in range(sets)]
    with dg.DagsterInstance.ephemeral() as instance:
        job = MainJob(
            platform, instance=instance, only=["raw_events_00", "validated_events_00", *(f"{name}_tiles" for name in names), *names]
        )
        for day in DAYS:
            store.calls.clear()
            assert job.run(day).success
    return Counter(uri for method, uri in store.calls if method == "open" and "/validated/" in uri)
