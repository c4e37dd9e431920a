"""Answers that were logged are proven against the published files; a log or a file that was changed afterwards is named."""

import io
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from feature_platform.adapters.contract_files import load_catalog
from feature_platform.adapters.feature_set_store.feature_sets import ObjectFeatureSetStore
from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.core.layout import PARQUET
from feature_platform.errors import NotFoundError, StorageError
from feature_platform.local.services import SHIPPED_CONTRACTS
from feature_platform.server import metrics
from feature_platform.server.app import ServerApp
from feature_platform.server.log_rows import IDENTITY
from feature_platform.server.metrics import Counts
from feature_platform.server.prove import ProofReport, Prover, log_files
from feature_platform.server.response_log import ResponseLog, stored_at
from feature_platform.training import training_set
from feature_platform.use_cases.serve import published_head
from tests.server.conftest import TYPED, TYPED_IDS, TYPED_VALUES, NoFeast, feature_server, open_stores, parts_of
from tests.support.asgi import AsgiClient
from tests.support.feature_set_samples import PROVENANCE
from tests.support.online import contract_of, table_of
from tests.support.platforms import memory_platform
from tests.support.shipped_features import FEATURE_SET, publish_users, shipped_contract, today, user_rows
from tests.support.valkey_server import ValkeyServer, valkey_server

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

BASE = "s3://bucket/features"
PROJECT = "feature_store_local"
PATH = "/get-online-features"
FEATURES = [f"{FEATURE_SET}:{column.name}" for column in shipped_contract().feature_columns]


@dataclass
class Site:
    """A feature base, a database, and a server whose log lies in memory."""

    objects: MemoryObjectStore
    valkey: ValkeyServer
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def feature_sets(self) -> ObjectFeatureSetStore:
        return ObjectFeatureSetStore(self.objects, feature_base=BASE)

    def publish(self, table: pa.Table, *, rollback: bool = False, days_ago: int = 0) -> str:
        return publish_users(self.objects, BASE, table, as_of=today() - timedelta(days=days_ago), rollback=rollback)

    def load(self, *, name: str = FEATURE_SET, **options: Any) -> None:
        store = RedisOnlineStore(self.valkey.connection_string)
        with published_head(self.feature_sets, name, project=PROJECT) as head:
            store.load(head.load, **options)

    def client(self, *, rate: float = 1.0, **given: Any) -> AsgiClient:
        counts = Counts()
        log = ResponseLog(self.files.__setitem__, rate=rate, counts=counts)
        server = feature_server(self.objects, self.valkey, NoFeast(), log=log, counts=counts, **given)
        return AsgiClient(ServerApp(lambda: parts_of(server)))

    def prove(self) -> ProofReport:
        return Prover(self.feature_sets).prove(iter(self.files.items()))

    def tables(self) -> dict[str, pa.Table]:
        return {name: pq.read_table(io.BytesIO(body)) for name, body in self.files.items()}

    def replace(self, name: str, table: pa.Table) -> None:
        sink = io.BytesIO()
        pq.write_table(table, sink, write_page_checksum=True)
        self.files[name] = sink.getvalue()


@pytest.fixture(scope="module")
def database() -> Iterator[ValkeyServer]:
    with valkey_server() as server:
        yield server


@pytest.fixture
def site(database: ValkeyServer) -> Site:
    with database.client() as client:
        client.flushall()
    objects = MemoryObjectStore()
    open_stores(objects, database, (shipped_contract(), TYPED))
    return Site(objects, database)


def ask(client: AsgiClient, ids: list[int], features: list[str] = FEATURES) -> None:
    assert client.post(PATH, {"features": features, "entities": {"user_id": ids}}).status == 200


def test_answers_over_promotes_rollbacks_and_loads_under_way_are_all_proven(site: Site) -> None:
    first = site.publish(user_rows(range(500), as_of=today()))
    site.load()
    with site.client(cache_bytes=1 << 20) as client:
        for turn in range(1, 4):
            ask(client, [*range(0, 500, 7), 100_000 + turn])
            table = user_rows(range(turn, 500 + turn), as_of=today(), shift=turn)
            site.publish(table)
            site.load(progress=lambda *_: ask(client, list(range(0, 500, 11))))
            ask(client, list(range(0, 600, 5)), FEATURES[:2])
        site.feature_sets.rollback(FEATURE_SET, first, actor="test", reason="test")
        site.load()
        ask(client, list(range(0, 500, 3)))
    report = site.prove()
    assert report.faults == []
    assert report.rows["proven"] == report.rows.total() > 500
    assert report.is_whole
    states = set(pc.unique(pa.concat_tables(site.tables().values(), promote_options="default").column("@state")).to_pylist())
    assert states == {"online", "loading"}


def finite(values: list[Any]) -> list[Any]:
    """What a version may hold: no infinities."""
    if isinstance(values, list):
        return [finite(value) for value in values]
    return 0.3 if isinstance(values, float) and math.isinf(values) else values


def test_every_type_is_proven_to_the_bit(site: Site) -> None:
    from feature_platform.core.versions.feature_table import FeatureTable

    rows = table_of(TYPED, {"user_id": sorted(TYPED_IDS), **{name: finite(values) for name, (_, values) in TYPED_VALUES.items()}})
    done = site.feature_sets.commit(
        FeatureTable.from_arrow(rows),
        contract=TYPED,
        template=load_catalog(SHIPPED_CONTRACTS).templates[FEATURE_SET],
        as_of=today(),
        provenance=PROVENANCE,
        idempotency_key="typed",
        actor="test",
    )
    site.feature_sets.promote("typed", done.version, actor="test")
    site.load(name="typed")
    with site.client() as client:
        ask(client, [*TYPED_IDS, 5], [f"typed:{name}" for name in TYPED_VALUES])
    report = site.prove()
    assert (report.faults, report.rows["proven"]) == ([], 5)


def test_values_that_were_withheld_for_age_are_proven_too(site: Site) -> None:
    site.publish(user_rows(range(10), as_of=today() - timedelta(days=9)), days_ago=9)
    site.load()
    with site.client() as client:
        ask(client, [1, 2, 99])
    assert set(next(iter(site.tables().values())).column("@late").to_pylist()) == {True, False}
    report = site.prove()
    assert (report.faults, report.rows["proven"]) == ([], 3)


def logged(site: Site) -> tuple[str, pa.Table]:
    """The one file of a log of four rows, by its name."""
    site.publish(user_rows(range(1, 50), as_of=today()))
    site.load()
    with site.client() as client:
        ask(client, [1, 3, 5, 7])
    ((name, table),) = site.tables().items()
    return name, table


def changed(table: pa.Table, name: str, value: Any) -> pa.Table:
    values = table.column(name).to_pylist()
    values[2] = value
    place = table.column_names.index(name)
    return table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))


CHANGES = [("f_purchases_1d", 77), ("f_last_country", "Atlantis"), ("user_id", 4), ("f_avg_session_sec_7d", 0.7142857142857144)]


@pytest.mark.parametrize(("column", "value"), CHANGES)
def test_a_changed_log_is_named_with_its_row(site: Site, column: str, value: Any) -> None:
    name, table = logged(site)
    site.replace(name, changed(table, column, value))
    report = site.prove()
    assert report.rows == {"proven": 3, "wrong": 1}
    (fault,) = report.faults
    assert (fault.file, fault.row) == (name, 2)
    assert repr(value) in fault.said


@pytest.mark.parametrize(("column", "value"), [("@state", None), ("@versions", None), ("@versions", [None]), ("@late", None)])
def test_a_row_that_does_not_say_how_it_was_served_is_refused(site: Site, column: str, value: Any) -> None:
    name, table = logged(site)
    site.replace(name, changed(changed(table, "f_purchases_1d", 77), column, value))
    report = site.prove()
    assert not report.is_whole
    assert f"found nulls in {column}" in report.faults[0].said


def test_a_state_of_several_versions_that_names_none_proves_nothing(site: Site) -> None:
    name, table = logged(site)
    site.replace(name, changed(changed(table, "@state", "changed"), "@versions", []))
    assert site.prove().rows == {"proven": 3, "wrong": 1}


def test_a_feature_that_the_registry_has_before_the_version_is_proven_as_null(site: Site) -> None:
    site.publish(user_rows(range(1, 50), as_of=today()))
    site.load()
    with site.client() as client:
        ask(client, [1, 3])
    ((name, table),) = site.tables().items()
    identity = json.loads(table.schema.metadata[IDENTITY.encode()])
    identity["features"].append(["f_new", "int64"])
    for values, rows in (([None, None], {"proven": 2, "wrong": 0}), ([None, 1], {"proven": 1, "wrong": 1})):
        wider = table.append_column("f_new", pa.array(values, pa.int64()))
        site.replace(name, wider.replace_schema_metadata({IDENTITY: json.dumps(identity)}))
        assert site.prove().rows == rows


def test_what_proves_no_row_is_looked_for_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    version = site.publish(user_rows(range(1, 100), as_of=today()))
    site.load()
    with site.client() as client:
        ask(client, list(range(1, 100)))
    asked: list[str] = []

    def expired(_store: ObjectFeatureSetStore, _view: str, version: str) -> Any:
        asked.append(version)
        raise NotFoundError(f"{version} was expired")

    monkeypatch.setattr(ObjectFeatureSetStore, "readable", expired)
    report = site.prove()
    assert (asked, report.rows, [fault.said for fault in report.faults]) == (
        [version],
        {"proven": 0, "wrong": 99},
        [f"{version} was expired"],
    )


def test_a_row_that_claims_another_version_is_named(site: Site) -> None:
    first = site.publish(user_rows(range(1, 50), as_of=today()))
    second = site.publish(user_rows(range(1, 50), as_of=today(), shift=1))
    site.load()
    with site.client() as client:
        ask(client, [1, 3, 5, 7])
    ((name, table),) = site.tables().items()
    assert table.column("@versions").to_pylist() == [[second]] * 4
    site.replace(name, changed(table, "@versions", [first]))
    assert site.prove().rows == {"proven": 3, "wrong": 1}


def test_a_flipped_bit_in_the_log_is_named(site: Site) -> None:
    site.publish(user_rows(range(1, 50), as_of=today()))
    site.load()
    with site.client() as client:
        ask(client, [1, 3, 5, 7])
    ((name, body),) = site.files.items()
    named = 0
    for place in random.sample(range(4, len(body)), 200):
        site.files[name] = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        report = site.prove()
        named += bool(report.faults)
        assert all(fault.file == name for fault in report.faults)
        # What does not change a value, such as a statistic, need not be found.
        assert report.faults or report.rows["proven"] == 4
    assert named > 50


def test_a_changed_published_file_is_named(site: Site) -> None:
    version = site.publish(user_rows(range(1, 50), as_of=today()))
    site.load()
    with site.client() as client:
        ask(client, [1, 3])
    uri = site.feature_sets.layout(FEATURE_SET).version_file(version, PARQUET)
    stored = site.objects.get(uri)
    assert stored is not None
    site.objects.put(uri, stored.body + b"\0", write_id="x", sha256=None, condition=None)
    report = site.prove()
    assert report.rows["wrong"] == 2
    assert f"{PARQUET} of {FEATURE_SET} {version} is not the file that was committed" in report.faults[0].said


def test_the_same_entities_are_sampled_in_every_answer(site: Site) -> None:
    site.publish(user_rows(range(1, 2_000), as_of=today()))
    site.load()
    with site.client(rate=0.1) as client:
        for _ in range(2):
            ask(client, list(range(1, 1_000)))
    ((_, table),) = site.tables().items()
    ids = table.column("user_id").to_pylist()
    assert 100 < len(ids) < 300
    assert sorted(ids) == sorted([*set(ids)] * 2)
    assert site.prove().is_whole


def test_a_log_that_cannot_be_written_fails_no_request(site: Site) -> None:
    def refuse(_name: str, _body: bytes) -> None:
        raise StorageError("The bucket is gone.")

    site.publish(user_rows(range(1, 50), as_of=today()))
    site.load()
    counts = Counts()
    server = feature_server(site.objects, site.valkey, NoFeast(), log=ResponseLog(refuse, rate=1.0, counts=counts), counts=counts)
    with AsgiClient(ServerApp(lambda: parts_of(server))) as client:
        ask(client, [1, 2])
    assert counts.value(metrics.LOGGED, "failed") == 2


def test_an_answer_that_cannot_be_logged_ends_no_log(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from feature_platform.server import log_rows

    site.publish(user_rows(range(1, 50), as_of=today()))
    site.load()
    counts, files = Counts(), dict[str, bytes]()
    server = feature_server(
        site.objects, site.valkey, NoFeast(), log=ResponseLog(files.__setitem__, rate=1.0, counts=counts), counts=counts
    )
    real, moments = log_rows._moment, iter([ValueError("no event timestamp")])

    def refused_once(raw: bytes | None) -> Any:
        for error in moments:
            raise error
        return real(raw)

    monkeypatch.setattr(log_rows, "_moment", refused_once)
    with AsgiClient(ServerApp(lambda: parts_of(server))) as client:
        ask(client, [1, 2])
        ask(client, [3])
    assert (counts.value(metrics.LOGGED, "failed"), counts.value(metrics.LOGGED, "written")) == (2, 1)


def test_a_contract_with_other_keys_has_a_file_of_its_own(site: Site) -> None:
    """Answers by the old and by the new registry lie in one log."""
    counts, files = Counts(), dict[str, bytes]()
    log = ResponseLog(files.__setitem__, rate=1.0, counts=counts)
    for keys in ({"user_id": "int64"}, {"shop_id": "int64", "user_id": "int64"}):
        objects = MemoryObjectStore()
        contract = contract_of({**keys, "f_count": "int64"}, name="counted", ttl="36500d", keys=tuple(keys))
        open_stores(objects, site.valkey, (contract,)).close()
        server = feature_server(objects, site.valkey, NoFeast(), log=log, counts=counts)
        with AsgiClient(ServerApp(lambda server=server: parts_of(server))) as client:  # type: ignore[misc]
            body = {"features": ["counted:f_count"], "entities": {name: [1] for name in keys}}
            assert client.post(PATH, body).status == 200
            server._log = None  # it is closed with the second
    log.close()
    assert sorted(pq.read_table(io.BytesIO(body)).num_columns for body in files.values()) == [8, 9]


def test_logs_lie_in_directories_and_on_s3_alike(tmp_path: Any, site: Site) -> None:
    stored_at(str(tmp_path), site.objects)("view/dt=2026-01-15/a.parquet", b"body")
    assert dict(log_files(str(tmp_path), site.objects)) == {str(tmp_path / "view/dt=2026-01-15/a.parquet"): b"body"}
    site.objects.put("s3://bucket/log/view/a.parquet", b"body", write_id="x", sha256=None, condition=None)
    assert dict(log_files("s3://bucket/log", site.objects)) == {"s3://bucket/log/view/a.parquet": b"body"}
    with pytest.raises(NotFoundError, match="no response log"):
        next(log_files(str(tmp_path / "nothing"), site.objects))


def test_a_training_set_at_the_moments_of_logged_answers_has_their_values(site: Site, tmp_path: Path) -> None:
    """The circle closes: what was answered over promotions, a correction and a rollback is what training would have been given then."""
    versions = []
    with site.client() as client:
        for turn in range(3):
            versions.append(site.publish(user_rows(range(turn, 200 + turn), as_of=today(), shift=turn)))
            site.load()
            ask(client, list(range(0, 210, 3)))
        site.feature_sets.rollback(FEATURE_SET, versions[0], actor="test", reason="test")
        site.load()
        ask(client, list(range(0, 210, 3)))
    answered = pa.concat_tables(site.tables().values())
    platform = memory_platform(tmp_path, store=site.objects, feature_base=BASE)
    made = training_set(answered.select(["user_id", "@at", "@versions"]), FEATURES, timestamp="@at", platform=platform)
    trained = made.to_arrow()
    assert answered.num_rows == trained.num_rows == 4 * 70
    names = [name.split(":")[1] for name in FEATURES]
    assert trained.select(names).equals(answered.select(names))
    assert set(trained.column("user_features__version").to_pylist()) == set(versions)
