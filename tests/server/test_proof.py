"""What an answer says about itself: the version it is of, before, during and after loads; pins; and rows that are kept but never stale."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from feature_platform.adapters.object_store.memory import MemoryObjectStore
from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.core.online.marker import encode_marker, marker_key
from feature_platform.server import metrics
from feature_platform.server.app import ServerApp
from feature_platform.server.feature_server import FeatureServer
from feature_platform.server.plans import Refusal
from feature_platform.server.requests import header_pins
from feature_platform.server.row_cache import RowCache
from tests.server.conftest import NoFeast, feature_server, open_stores, parts_of
from tests.support.asgi import AsgiAnswer, AsgiClient
from tests.support.online import Publications, contract_of, table_of
from tests.support.valkey_server import ValkeyServer, valkey_server

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

PROJECT = "feature_store_local"
VISITS = contract_of({"user_id": "int64", "f_count": "int64", "f_name": "string"}, name="visits", ttl="36500d")
OTHER = contract_of({"user_id": "int64", "f_sum": "int64"}, name="other", ttl="36500d")
A, B = "v_20260115T000000", "v_20260116T000000"
PATH = "/get-online-features"


@dataclass
class Shop:
    """A server with a cache, one without, and the versions that can be loaded under them."""

    cached: AsgiClient
    plain: AsgiClient
    cached_server: FeatureServer
    valkey: ValkeyServer
    log: Publications

    def load(self, request: Any, **options: Any) -> None:
        RedisOnlineStore(self.valkey.connection_string).load(request, **options)

    def set_marker(self, raw: bytes | None) -> None:
        with self.valkey.client() as client:
            key = marker_key(PROJECT, "visits")
            if raw is None:
                client.delete(key)
            else:
                client.set(key, raw)

    def clients(self) -> tuple[AsgiClient, AsgiClient]:
        return self.cached, self.plain


def rows(ids: range, *, shift: int) -> Any:
    return table_of(
        VISITS, {"user_id": list(ids), "f_count": [user + shift for user in ids], "f_name": [f"{user} {shift}" for user in ids]}
    )


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[MemoryObjectStore, ValkeyServer]]:
    from feast import FeatureService

    objects = MemoryObjectStore()
    with valkey_server() as server:
        readers = open_stores(objects, server, (VISITS, OTHER))
        view = readers.stock.get_feature_view("visits")
        service = FeatureService(name="pinned_visits", features=[view[["f_count"]]], tags={"pinned_version": A})
        readers.ours.apply([service], partial=True)
        yield objects, server


@pytest.fixture
def shop(served: tuple[MemoryObjectStore, ValkeyServer]) -> Iterator[Shop]:
    objects, server = served
    with server.client() as client:
        client.flushall()
    kept = feature_server(objects, server, NoFeast(), cache_bytes=1 << 20)
    fresh = feature_server(objects, server, NoFeast())
    with AsgiClient(ServerApp(lambda: parts_of(kept))) as cached, AsgiClient(ServerApp(lambda: parts_of(fresh))) as plain:
        log = Publications(contract=VISITS, project=PROJECT)
        yield Shop(cached, plain, kept, server, log)


def ask(client: AsgiClient, ids: list[int], **more: Any) -> AsgiAnswer:
    headers = more.pop("headers", None)
    return client.post(PATH, {"features": ["visits:f_count", "visits:f_name"], "entities": {"user_id": ids}, **more}, headers=headers)


def values(answer: AsgiAnswer, name: str = "f_count") -> list[Any]:
    document = answer.document
    return list(document["results"][document["metadata"]["feature_names"].index(name)]["values"])


def test_every_answer_names_version_record_and_contract(shop: Shop) -> None:
    shop.load(shop.log.publish(A, rows(range(10), shift=0)))
    for client in shop.clients():
        answer = ask(client, [1, 2])
        assert values(answer) == [1, 2]
        said = f'visits;state=online;version={A};sequence=1;schema="{VISITS.schema_hash}"'
        assert answer.headers["feature-version"] == said


def test_several_views_are_named_one_by_one(shop: Shop) -> None:
    shop.load(shop.log.publish(A, rows(range(10), shift=0)))
    answer = shop.plain.post(PATH, {"features": ["visits:f_count", "other:f_sum"], "entities": {"user_id": [1]}})
    first, second = answer.headers["feature-version"].split(", ")
    assert first.startswith(f"visits;state=online;version={A};")
    assert second == "other;state=unknown"


def test_values_that_something_else_wrote_are_of_unknown_origin(shop: Shop) -> None:
    shop.load(shop.log.publish(A, rows(range(10), shift=0)))
    shop.set_marker(None)
    assert ask(shop.plain, [1]).headers["feature-version"] == "visits;state=unknown"
    shop.set_marker(b'{"format": 99}')
    assert ask(shop.plain, [1]).headers["feature-version"] == "visits;state=unknown"


def test_during_a_load_both_versions_are_named_and_every_row_is_of_one_of_them(shop: Shop) -> None:
    ids = range(2_000)
    shop.load(shop.log.publish(A, rows(ids, shift=0)))
    request = shop.log.publish(B, rows(ids, shift=7))
    seen: list[tuple[str, list[int], list[str]]] = []

    def midway(done: int, _total: int) -> None:
        for client in shop.clients():
            answer = ask(client, list(ids)[:900:30])
            seen.append((answer.headers["feature-version"], values(answer), values(answer, "f_name")))

    for client in shop.clients():
        ask(client, list(ids)[:900:30])
    shop.load(request, progress=midway)
    assert seen
    for said, counts, names in seen:
        assert said == f'visits;state=loading;versions="{A} {B}"'
        for user, count, name in zip(range(0, 900, 30), counts, names, strict=True):
            assert (count, name) in {(user, f"{user} 0"), (user + 7, f"{user} 7")}
    for client in shop.clients():
        assert f"version={B}" in ask(client, [1]).headers["feature-version"]
        assert values(ask(client, [1, 900])) == [8, 907]


def test_kept_rows_are_used_and_leave_with_their_version(shop: Shop) -> None:
    shop.load(shop.log.publish(A, rows(range(100), shift=0)))
    counts = shop.cached_server.counts
    for _ in range(3):
        assert values(ask(shop.cached, [1, 2, 3, 2, 999])) == [1, 2, 3, 2, None]
    dump = metrics.added_up([counts.dump()])
    assert dump.value(metrics.CACHE_HITS, "visits") == 10
    assert dump.value(metrics.CACHE_MISSES, "visits") == 5
    shop.load(shop.log.publish(B, rows(range(2, 100), shift=5)))
    assert values(ask(shop.cached, [1, 2, 3, 4])) == [None, 7, 8, 9]
    shop.load(shop.log.promote(A))
    assert values(ask(shop.cached, [1, 2, 3, 4])) == [1, 2, 3, 4]


def test_kept_rows_are_not_found_by_values_that_only_look_equal(shop: Shop) -> None:
    """True is 1 to a dictionary; to Feast it is no number."""
    shop.load(shop.log.publish(A, rows(range(10), shift=0)))
    assert values(ask(shop.cached, [1])) == [1]
    for strange in (True, 1.0):
        assert ask(shop.cached, [strange]).status == 503  # Feast would have been asked


def test_kept_rows_stay_within_their_budget(shop: Shop) -> None:
    shop.load(shop.log.publish(A, rows(range(20_000), shift=0)))
    for start in range(0, 20_000, 500):
        assert values(ask(shop.cached, list(range(start, start + 500)))) == list(range(start, start + 500))
    for start in range(19_500, -500, -500):  # from the newest, since kept rows give way to older ones that are read again
        ask(shop.cached, list(range(start, start + 500)))
    assert 1_000 < shop.cached_server.counts.value(metrics.CACHE_HITS, "visits") < 5_000


def test_wide_rows_that_are_asked_for_again_stay_within_the_budget(shop: Shop) -> None:
    """What moves from the old rows to the young ones counts with its text, and drops the old ones when it is too much."""
    cache = shop.cached_server._source
    assert isinstance(cache, RowCache)
    texts = table_of(VISITS, {"user_id": list(range(1_000)), "f_count": [1] * 1_000, "f_name": ["x" * 5_000] * 1_000})
    shop.load(shop.log.publish(A, texts))
    for start in (start for end in range(100, 1_000, 100) for start in range(0, end, 10)):  # all who were ever seen ask again
        assert values(ask(shop.cached, list(range(start, start + 10)))) == [1] * 10
        kept = [row for item in cache._known.values() for rows in (item.young, item.old) for row in rows.values()]
        assert sum(len(row[1]) for row in kept) < 1 << 20


def test_a_pinned_version_that_is_online_answers_and_another_gets_what_is(shop: Shop) -> None:
    shop.load(shop.log.publish(A, rows(range(10), shift=0)))
    for pin in (A, f"visits={A}"):
        assert ask(shop.plain, [1], headers={"feature-pin": pin}).status == 200
    assert ask(shop.plain, [1], pinned_versions={"visits": A}).status == 200
    for more in ({"headers": {"feature-pin": B}}, {"pinned_versions": {"*": B}}):
        answer = ask(shop.plain, [1], **more)
        assert answer.status == 409
        assert answer.document["detail"] == f"visits: {B} was asked for, {A} is online"
        assert answer.document["online"]["visits"]["version"] == A
    assert ask(shop.plain, [1], pinned_versions={"other": A}).status == 422


@pytest.mark.parametrize("pin", ["", f"{A},", "visits=", f"={A}", f"visits={A}, visits={B}"])
def test_a_malformed_pin_is_refused(shop: Shop, pin: str) -> None:
    shop.load(shop.log.publish(A, rows(range(10), shift=0)))
    with pytest.raises(Refusal) as refusal:
        header_pins([(b"feature-pin", pin.encode())])
    assert refusal.value.status == 422
    assert pin == "" or ask(shop.plain, [1], headers={"feature-pin": pin}).status == 422


@pytest.mark.parametrize("pins", [A, {"visits": None}, {"visits": ""}, {"*": ""}, [A]])
def test_malformed_pins_in_a_body_are_refused(shop: Shop, pins: object) -> None:
    shop.load(shop.log.publish(A, rows(range(10), shift=0)))
    answer = ask(shop.plain, [1], pinned_versions=pins)
    assert answer.status == 422
    assert answer.document["detail"][0]["loc"][1] == "pinned_versions"
    assert ask(shop.plain, [1], pinned_versions=None).status == 200


def test_no_pin_is_lost_by_the_form_of_a_request(shop: Shop) -> None:
    """A second header, a body that only Feast's model takes, another content type that means JSON."""
    assert header_pins([(b"feature-pin", b"visits=v_1"), (b"feature-pin", b"other=v_2")]) == {"visits": "v_1", "other": "v_2"}
    shop.load(shop.log.publish(A, rows(range(10), shift=0)))
    for content_type in ("application/json", "Application/JSON", "application/vnd.features+json"):
        for pin, status in ((A, 200), (B, 409)):
            pinned = {"pinned_versions": {"visits": pin}, "full_feature_names": "false", "headers": {"content-type": content_type}}
            assert ask(shop.plain, [1], **pinned).status == status


def test_a_service_with_a_pin_serves_that_version_or_nothing(shop: Shop) -> None:
    """Whoever asks, and even where Feast would answer; a request's own pin comes first."""
    ask_service = {"feature_service": "pinned_visits", "entities": {"user_id": [1]}}
    shop.load(shop.log.publish(A, rows(range(10), shift=0)))
    assert shop.plain.post(PATH, ask_service).status == 200
    shop.load(shop.log.publish(B, rows(range(10), shift=1)))
    assert shop.plain.post(PATH, ask_service).status == 409
    assert shop.plain.post(PATH, {**ask_service, "entities": {"user_id": ["1"]}}).status == 409
    assert shop.plain.post(PATH, ask_service, headers={"feature-pin": B}).status == 200


def test_a_pin_is_refused_while_its_view_is_loading(shop: Shop) -> None:
    shop.load(shop.log.publish(A, rows(range(2_000), shift=0)))
    statuses = set()
    shop.load(
        shop.log.publish(B, rows(range(2_000), shift=1)),
        progress=lambda *_: statuses.add(ask(shop.plain, [1], headers={"feature-pin": A}).status),
    )
    assert statuses == {409}


def test_what_every_view_is_served_from_can_be_asked(shop: Shop) -> None:
    shop.load(shop.log.publish(A, rows(range(10), shift=0)))
    found = shop.plain.get("/feature-version").document
    assert found["other"] == {"state": "unknown", "versions": []}
    assert (
        found["visits"].items() >= {"state": "online", "version": A, "sequence": 1, "rows": 10, "schema_hash": VISITS.schema_hash}.items()
    )


def test_it_is_ready_when_every_view_is_online_and_fresh(shop: Shop) -> None:
    shop.load(shop.log.publish(A, rows(range(10), shift=0)))
    answer = shop.plain.get("/ready")
    assert (answer.status, answer.document["faults"]) == (503, {"view other": "the online store has no marker of it: load it"})
    others = Publications(contract=OTHER, project=PROJECT)
    shop.load(others.publish(A, table_of(OTHER, {"user_id": [1], "f_sum": [1]})))
    assert shop.plain.get("/ready").status == 200
    ready: set[int] = set()
    shop.load(shop.log.publish(B, rows(range(2_000), shift=1)), progress=lambda *_: ready.add(shop.plain.get("/ready").status))
    assert ready == {200}, "a view that is being loaded is served"


def test_two_loads_between_the_readings_of_a_marker_are_said() -> None:
    """Both say online, of different versions: nothing may be claimed but where the rows can be from."""
    from feature_platform.core.online.load import finished, online_version
    from feature_platform.core.online.marker import Basis, Marker
    from feature_platform.server.proof import proof_of

    log = Publications(contract=VISITS, project=PROJECT)
    from feature_platform.core.online.layout import view_layout

    layout = view_layout(VISITS, project=PROJECT)
    raws = []
    for version in (A, B):
        target = online_version(log.publish(version, rows(range(3), shift=0)), layout, row_count=3)
        raws.append(
            encode_marker(
                finished(
                    Marker("loading", target, "2026-01-15T00:00:00+00:00", "1"), since="2026-01-15T00:00:01+00:00", basis=Basis((), 0, None)
                )
            )
        )
    proof = proof_of("visits", *raws)
    assert proof.item.decode() == f'visits;state=changed;versions="{A} {B}"'
    assert not proof.is_exact
